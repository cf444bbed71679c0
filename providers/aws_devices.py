"""What an AWS instance type is made of, from EC2's description or from the price list's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# How the catalog names a device of this memory in MiB; others keep AWS's name.
NAMES: Final = {
    ("A100", 81920): "A100-80GB",
    ("V100", 32768): "V100-32GB",
    ("RTX PRO Server 6000", 98304): "RTXPRO6000",
    ("RTX PRO 4500", 32768): "RTX-PRO-4500",
    ("Qualcomm AI100", 16000): "AI100",
}
# Families whose accelerators the price list does not count.
UNCOUNTED: Final = re.compile(r"(?:inf|trn|dl|vt|f)\d")

_GIB = re.compile(r"([\d,]+(?:\.\d+)?) GiB")


class Machine(NamedTuple):
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None = None
    accelerator_count: float = 0


def described(item: Mapping[str, Any]) -> Machine:
    """From one item of DescribeInstanceTypes."""
    return Machine(
        float(item["VCpuInfo"]["DefaultVCpus"]),
        item["MemoryInfo"]["SizeInMiB"] / 1024,
        *_device(item),
    )


def worded(attributes: Mapping[str, str]) -> Machine | None:
    """From a product of the price list; None where it says that there is an accelerator, not which.

    A machine that was taken for one without accelerators would look like a bargain for none.
    """
    if attributes.get("gpu", "0") not in ("0", "NA") or UNCOUNTED.match(attributes["instanceType"]):
        return None
    memory = _GIB.fullmatch(attributes.get("memory", ""))
    vcpus = attributes.get("vcpu", "")
    return Machine(
        float(vcpus) if vcpus.isdecimal() else None,
        float(memory[1].replace(",", "")) if memory else None,
    )


def _device(item: Mapping[str, Any]) -> tuple[str | None, float]:
    """GPUs, Inferentia, Trainium; a slice of a GPU counts as its fraction. FPGAs are left out."""
    devices = (
        item.get("GpuInfo", {}).get("Gpus")
        or item.get("NeuronInfo", {}).get("NeuronDevices")
        or item.get("InferenceAcceleratorInfo", {}).get("Accelerators")
    )
    if not devices:
        return None, 0
    device = devices[0]
    size = device.get("MemoryInfo", {}).get("SizeInMiB")
    name = NAMES.get((device["Name"], size), device["Name"])
    return name, float(device.get("Count") or device.get("GpuPartitionSize") or 0)
