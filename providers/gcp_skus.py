"""What a SKU of Compute Engine prices: a core, a GiB, a GPU or a TPU chip of a family, by its words.

The list has no field for the machine: it stands in the description. A description must match whole;
what matches none (custom machines, sole tenancy, commitments, licences) prices no offer here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

# The words before "Instance Core running in ..." -> family, as machine types begin. A family whose
# words we are not sure of is missing: its machines are offered at an unknown price.
FAMILIES: Final[Mapping[str, str]] = {
    "N1 Predefined": "n1",
    "N2": "n2",
    "N2D AMD": "n2d",
    "N4": "n4",
    "E2": "e2",
    "C3": "c3",
    "C3D": "c3d",
    "C4": "c4",
    "C4A Arm": "c4a",
    "T2A Arm": "t2a",
    "T2D AMD": "t2d",
    "M3 Memory-optimized": "m3",
    "A2": "a2",
    "A3": "a3-highgpu",
    "A3Plus": "a3-megagpu",
    "A3Ultra": "a3-ultragpu",
    "A4": "a4",
    "G2": "g2",
}
COMPUTE_OPTIMIZED: Final = "c2"  # "Compute optimized Core running in ..."
# The words before "GPU" -> accelerator, as the catalog names it.
GPUS: Final[Mapping[str, str]] = {
    "Nvidia Tesla K80": "K80",
    "Nvidia Tesla P4": "P4",
    "Nvidia Tesla P100": "P100",
    "Nvidia Tesla V100": "V100",
    "Nvidia Tesla T4": "T4",
    "Nvidia Tesla A100": "A100",
    "Nvidia Tesla A100 80GB": "A100-80GB",
    "Nvidia L4": "L4",
    "Nvidia H100 80GB": "H100",
    "Nvidia H100 80GB Mega": "H100-MEGA",
    "Nvidia H100 80GB Plus": "H100-MEGA",
    "Nvidia H200 141GB": "H200",
    "Nvidia B200": "B200",
}
TPUS: Final[Mapping[str, str]] = {"V5e": "v5litepod", "V5p": "v5p", "V6e": "v6e"}

CORE: Final = "core"
RAM: Final = "ram"
CHIP: Final = "chip"  # one GPU, or one TPU chip

_SPOT = r"(?:Spot Preemptible |Preemptible )?"
_ATTACHED = r"(?: attached to (?:Spot )?Preemptible VMs)?"
_INSTANCE = re.compile(rf"{_SPOT}(.+?) Instance (Core|Ram) running in .+")
_OPTIMIZED = re.compile(rf"{_SPOT}Compute optimized (Core|Ram) running in .+")
_GPU = re.compile(rf"(Nvidia .+?) GPU{_ATTACHED} running in .+")
_TPU = re.compile(rf"Tpu(V\d\w*){_ATTACHED} running in .+")
_SLICE = re.compile(r"tpu-(v5litepod|v5p|v6e)-(\d+)")


class Priced(NamedTuple):
    """`of` is a family, an accelerator or a generation of TPU; `part` is core, ram or chip."""

    of: str
    part: str


def priced(description: str) -> Priced | None:
    """What an hour of this SKU is an hour of; None for what no offer is made of."""
    if match := _OPTIMIZED.fullmatch(description):
        return Priced(COMPUTE_OPTIMIZED, match[1].lower())
    for pattern, names in ((_INSTANCE, FAMILIES), (_GPU, GPUS), (_TPU, TPUS)):
        match = pattern.fullmatch(description)
        if match and match[1] in names:
            return Priced(names[match[1]], match[2].lower() if pattern is _INSTANCE else CHIP)
    return None


def family(instance_type: str) -> str:
    """`a3-megagpu-8g` -> `a3-megagpu`, `n1-standard-4` -> `n1`: as the cores are priced."""
    first, _, rest = instance_type.partition("-")
    kind = f"{first}-{rest.partition('-')[0]}"
    return kind if kind in FAMILIES.values() else first


def tpu_slice(accelerator: str) -> tuple[str, int] | None:
    """`tpu-v5p-8` -> (`v5p`, 4 chips); None for no TPU, or one that is not priced by the chip."""
    match = _SLICE.fullmatch(accelerator)
    if match is None:
        return None
    number = int(match[2])
    return match[1], number // 2 if match[1] == "v5p" else number
