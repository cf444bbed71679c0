"""AWS: machines and zones of moto, the types of regions that moto has not from cfn-lint, prices of
libcloud. China's have no price and nothing has a spot price: neither is in any package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from snapshot_inputs import Line, aws_machines, aws_zones, prices

from broker.catalog.listing import Listing
from broker.catalog.rows import price_micros

ACCELERATORS = {
    ("A100", 81920): "A100-80GB",
    ("V100", 32768): "V100-32GB",
    ("RTX PRO Server 6000", 98304): "RTXPRO6000",
    ("RTX PRO 4500", 32768): "RTX-PRO-4500",
    ("Qualcomm AI100", 16000): "AI100",
}


def lines() -> Iterator[Line]:
    listed = prices()["ec2_linux"]
    for region, machines in aws_zones().items():
        for name, zones in machines.items():
            machine = aws_machines().get(name)
            if machine is None or name.startswith("mac"):
                continue
            price = price_micros(str(listed.get(name, {}).get(region, "")))
            listing = _listing(machine, region)._replace(on_demand=price)
            yield Line("aws", listing, zones, "libcloud-aws")


def _listing(machine: Mapping[str, Any], region: str) -> Listing:
    name, count = accelerator(machine)
    return Listing(
        region,
        None,
        machine["InstanceType"],
        float(machine["VCpuInfo"]["DefaultVCpus"]),
        machine["MemoryInfo"]["SizeInMiB"] / 1024,
        name,
        count,
        None,
        None,
    )


def accelerator(machine: Mapping[str, Any]) -> tuple[str | None, float]:
    """GPUs, Inferentia, Trainium; a slice of a GPU counts as its fraction. FPGAs are left out."""
    devices = (
        machine.get("GpuInfo", {}).get("Gpus")
        or machine.get("NeuronInfo", {}).get("NeuronDevices")
        or machine.get("InferenceAcceleratorInfo", {}).get("Accelerators")
    )
    if not devices:
        return None, 0
    device = devices[0]
    name = ACCELERATORS.get((device["Name"], device["MemoryInfo"]["SizeInMiB"]), device["Name"])
    return name, float(device["Count"] or device["GpuPartitionSize"])
