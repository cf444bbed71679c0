"""What this machine has: processors, memory, disk, GPUs. Read from /proc, cgroups and nvidia-smi.

What the agent may use counts, not what the machine is made of: a limit of the container or the
slice that it runs in wins. GPUs are asked of the driver's own command, so that no library of the
driver is needed; without the command there are none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from broker.model import Capacity

GIB = 1024**3
NVIDIA_SMI_S = 10.0
_MEMORY = re.compile(r"(\d+)\s*GB")
_MODEL = re.compile(r"\b(?:RTX\s*)?(?:GB|GH|[A-Z]{1,2})?\d{1,4}[A-Z]{0,2}\b")
# Catalogs name the larger variant of these by its memory; the smaller one has the bare name.
_VARIANTS = {("A100", "80"): "A100-80GB", ("V100", "32"): "V100-32GB"}


def capacity(folder: Path) -> Capacity:
    """Of this machine; `disk_gib` is the size of the file system that holds `folder`."""
    name, count = gpus()
    return Capacity(
        vcpus=vcpus(),
        memory_gib=round(memory_bytes() / GIB, 2),
        disk_gib=round(shutil.disk_usage(folder).total / GIB, 2),
        accelerator=name,
        accelerator_count=count,
    )


def vcpus(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the agent may run on, at most its quota."""
    own = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return min(own, round(int(quota) / int(period), 2))
    return own


def memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int:
    """Main memory, at most the agent's limit; 0 when it cannot be read."""
    total = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text().splitlines()
        total = int(next(line for line in lines if line.startswith("MemTotal:")).split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        return min(total, int((cgroup / "memory.max").read_text()))
    return total


def gpus(command: Sequence[str] = ("nvidia-smi",)) -> tuple[str | None, int]:
    """The name of the first GPU's model and how many there are of it; (None, 0) without any."""
    argv = [*command, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None, 0
    names = [accelerator(line) for line in done.stdout.splitlines() if line.strip()]
    return (names[0], names.count(names[0])) if names else (None, 0)


def accelerator(raw: str) -> str:
    """The catalog's name of a model, e.g. `A100-80GB` for `NVIDIA A100-SXM4-80GB`.

    A model that is not understood keeps its own name without the maker's.
    """
    bare = re.sub(r"\b(NVIDIA|Tesla|GeForce|Quadro)\b", "", raw).strip()
    model = _MODEL.search(bare.replace("-", " "))
    if not model:
        return bare
    name = model.group().replace(" ", "")
    memory = _MEMORY.search(bare)
    return _VARIANTS.get((name, memory.group(1)), name) if memory else name
