"""What of Flower is on this machine, and the environment its processes get.

Flower 1.41 alone: its parts behind the documented commands change every month. Nothing of flwr is
imported here. Three switches keep its processes off the internet: telemetry, the update check,
and the installation of an app's dependencies at run time.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import broker
from broker.errors import RequestError

TESTED = "1.41."
_OFF = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
_INHERITED = (
    *("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "HOME"),
    "BROKER_MACHINE",  # by which the machine that we run in, if it is one of processes, is cleaned
)
TASK_POLL_S = 0.25  # faster costs more CPU than it saves time
# One thread for each process: several ClientApps share a small machine in most trials.
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def version() -> str | None:
    """Of the installed flwr; None when there is none."""
    try:
        return importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        return None


def require() -> None:
    """RequestError unless the tested Flower is installed beside this program."""
    found = version()
    if found is None or not found.startswith(TESTED):
        raise RequestError(
            f"Flower {TESTED}* is needed on this node, found {found or 'none'}",
            hint="pip install 'fedbroker[fed]'",
        )


def require_tested() -> None:
    """ImportError unless the installed flwr is the tested one, whose private parts are known."""
    if not (version() or "").startswith(TESTED):
        raise ImportError(f"flwr {TESTED}* was tested, {version()} is installed")


def command(name: str) -> str:
    """Path of one of Flower's commands: the one that belongs to this Python, else from PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise RequestError(f"`{name}` is not on this node", hint="pip install 'fedbroker[fed]'")
    return found


def environment(home: Path, extra: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """For Flower's processes: named variables of `base` only, so that no secret is passed on."""
    kept = {name: base[name] for name in _INHERITED if name in base}
    path = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    return {
        **_THREADS,
        **kept,
        **_OFF,
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(TASK_POLL_S),
        "FLWR_HOME": str(home),
        "PATH": path,
        "PYTHONPATH": str(Path(broker.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }
