"""Azure: list prices of libcloud for the families whose shape follows from the name, then
azure_families.csv and azure_accelerators.csv. No spot: "low priority" prices are those of Batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from snapshot_inputs import Line, open_regions, prices, table

from broker.catalog.listing import Listing
from broker.catalog.rows import price_micros

# GiB per vCPU of the families, as named in pricing.json, and where the rule fails
RATIOS = {"d": Decimal(4), "e": Decimal(8), "f": Decimal(2)}
MEMORY = {("e", 64, 3): 432, ("e", 64, 4): 504, ("e", 96, 4): 672, ("f", 72, 2): 144}
SIZE = re.compile(r"standard([def])(\d+)(a?d?s?)v([234])")
BURST = {
    "1s": (1, 1),
    "1ms": (1, 2),
    "2s": (2, 4),
    "2ms": (2, 8),
    "4ms": (4, 16),
    "8ms": (8, 32),
    "12ms": (12, 48),
    "16ms": (16, 64),
    "20ms": (20, 80),
}


def lines() -> Iterator[Line]:
    listed = list(_listed())
    yield from listed
    here = {(line.listing.region, line.listing.instance_type) for line in listed}
    for machine in _families():
        if (machine.region, machine.instance_type) not in here:
            yield Line("azure", machine, (), "azure-shapes")
    for row in table("azure_accelerators.csv"):
        yield from _accelerated(row)


def _listed() -> Iterator[Line]:
    for key, by_region in prices()["azure_linux"].items():
        shape = _shape(key)
        for region, price in by_region.items() if shape else ():
            if region in open_regions("azure"):
                assert shape
                micros = price_micros(str(price))
                machine = Listing(region, None, *shape, None, 0, micros, None)
                yield Line("azure", machine, (), "libcloud-azure")


def _shape(key: str) -> tuple[str, float, float] | None:
    """Azure's name, vCPUs and GiB of a size as pricing.json spells it; None for other families."""
    burst = BURST.get(key.removeprefix("standardb"))
    if burst and key.startswith("standardb"):
        return f"Standard_B{key.removeprefix('standardb')}", burst[0], burst[1]
    match = SIZE.fullmatch(key)
    if match is None:
        return None
    family, vcpus, suffix, generation = match[1], int(match[2]), match[3], int(match[4])
    if (generation == 2) != (family == "f"):
        return None
    memory = MEMORY.get((family, vcpus, generation), RATIOS[family] * vcpus)
    return f"Standard_{family.upper()}{vcpus}{suffix}_v{generation}", vcpus, float(memory)


def _families() -> Iterator[Listing]:
    """Shapes that libcloud's file is too old for, without prices."""
    for row in table("azure_families.csv"):
        named = row["regions"].split()
        other = dict(pair.split(":") for pair in row["other_memory"].split())
        for region in open_regions("azure") if named == ["open"] else named:
            for size in row["sizes"].split():
                name = row["instance_type"].format(size)
                memory = float(other.get(size) or int(size) * float(row["gib_per_vcpu"]))
                yield Listing(region, None, name, float(size), memory, None, 0, None, None)


def _accelerated(row: Mapping[str, str]) -> Iterator[Line]:
    """Libcloud's prices under the key, else the table's where it vouches, unknown elsewhere."""
    listed = dict.fromkeys(row["priced_regions"].split(), row["usd_per_hour"])
    known = prices()["azure_linux"].get(row["key"], {})
    for region in sorted({*known, *listed, *row["regions"].split()}):
        price = str(known.get(region) or listed.get(region, ""))
        count = float(row["accelerator_count"])
        machine = Listing(
            region,
            None,
            row["instance_type"],
            float(row["vcpus"]),
            float(row["memory_gib"]),
            row["accelerator"],
            count,
            price_micros(price, row["accelerator"], count),
            None,
        )
        yield Line("azure", machine, (), "libcloud-azure" if region in known else "azure-list")
