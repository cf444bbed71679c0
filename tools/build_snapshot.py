"""Makes broker/catalog/data/snapshot.csv.gz from price and instance data of installed packages.

- AWS: on-demand prices of apache-libcloud's pricing.json, machines and zones of moto. No spot.
- Azure: list prices of pricing.json for the size families whose shape follows from the name, and
  data/azure_accelerators.csv. No spot: Azure's "low priority" prices are those of Batch.
- GCP: core and memory rates of pricing.json, data/gcp_accelerators.csv. T4, V100 and P100 are
  joined with N1 hosts as an import does it.

0.0 in pricing.json means unknown. What we are not sure of stays unknown. The output depends on
nothing but its inputs: the same packages give the same bytes.

    .venv/bin/python tools/build_snapshot.py
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from broker.catalog import gcp  # noqa: E402 - a script beside the package
from broker.catalog.listing import Listing  # noqa: E402
from broker.catalog.rows import MICRO, price_micros  # noqa: E402
from broker.catalog.snapshot import COLUMNS  # noqa: E402

TARGET = HERE.parent / "broker" / "catalog" / "data"

ACCELERATORS = {
    ("A100", 81920): "A100-80GB",
    ("V100", 32768): "V100-32GB",
    ("RTX PRO Server 6000", 98304): "RTXPRO6000",
    ("RTX PRO 4500", 32768): "RTX-PRO-4500",
    ("Qualcomm AI100", 16000): "AI100",
}

GCP_FAMILIES: dict[str, dict[str, tuple[float, tuple[int, ...]]]] = {
    # family -> class -> (GiB per vCPU, sizes)
    "n1": {
        "standard": (3.75, (1, 2, 4, 8, 16, 32, 64, 96)),
        "highmem": (6.5, (2, 4, 8, 16, 32, 64, 96)),
        "highcpu": (0.9, (2, 4, 8, 16, 32, 64, 96)),
    },
    "e2": {
        "standard": (4, (2, 4, 8, 16, 32)),
        "highmem": (8, (2, 4, 8, 16)),
        "highcpu": (1, (2, 4, 8, 16, 32)),
    },
    "n2": {
        "standard": (4, (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)),
        "highmem": (8, (2, 4, 8, 16, 32, 48, 64, 80, 96)),
        "highcpu": (1, (2, 4, 8, 16, 32, 48, 64, 80, 96)),
    },
    "n2d": {
        "standard": (4, (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224)),
        "highmem": (8, (2, 4, 8, 16, 32, 48, 64, 80, 96)),
        "highcpu": (1, (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224)),
    },
    "c2": {"standard": (4, (4, 8, 16, 30, 60))},
}
GCP_ZONES = {"us-central1": "abcf", "us-east1": "bcd", "europe-west1": "bcd"}

# GiB per vCPU of Azure's families, as named in pricing.json, and where the rule fails
AZURE_RATIOS = {"d": Decimal(4), "e": Decimal(8), "f": Decimal(2)}
AZURE_MEMORY = {("e", 64, 3): 432, ("e", 64, 4): 504, ("e", 96, 4): 672, ("f", 72, 2): 144}
AZURE_SIZE = re.compile(r"standard([def])(\d+)(a?d?s?)v([234])")
AZURE_BURST = {
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


class Line(NamedTuple):
    """One line of the snapshot: a listing in all its zones."""

    provider: str
    listing: Listing
    zones: tuple[str, ...]
    source: str


def main() -> None:
    lines = [*aws(), *azure(), *google()]
    TARGET.mkdir(exist_ok=True)
    (TARGET / "snapshot.csv.gz").write_bytes(packed(lines))
    shutil.copyfile(HERE / "data" / "price_sources.csv", TARGET / "sources.csv")
    size = (TARGET / "snapshot.csv.gz").stat().st_size
    print(f"snapshot.csv.gz: {len(lines)} lines, {size} bytes")


def packed(lines: Iterable[Line]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(_cells(line) for line in lines))
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def aws() -> Iterator[Line]:
    prices = _prices()["ec2_linux"]
    for region, machines in _aws_zones().items():
        for name, zones in machines.items():
            machine = _aws_machines().get(name)
            if machine is None or name.startswith("mac"):
                continue
            price = price_micros(str(prices.get(name, {}).get(region, "")))
            listing = _aws_listing(machine, region)._replace(on_demand=price)
            yield Line("aws", listing, tuple(sorted(zones)), "libcloud-aws")


def azure() -> Iterator[Line]:
    prices = _prices()["azure_linux"]
    for key in prices:
        shape = _azure_shape(key)
        for region, price in prices[key].items() if shape else ():
            assert shape
            machine = Listing(region, None, *shape, None, 0, None, None)
            yield _azure_line(machine, str(price), "libcloud-azure")
    for row in _table("azure_accelerators.csv"):
        listed = dict.fromkeys(row["regions"].split(), row["usd_per_hour"])
        source = "azure-list" if listed else "libcloud-azure"
        for region, price in (listed or prices[row["key"]]).items():
            yield _azure_line(_listing(row, region), str(price), source)


def google() -> Iterator[Line]:
    """Machines of the families, then whole accelerator machines, then what attaches to N1."""
    hosts = list(_gcp_machines())
    for host in hosts:
        yield Line("gcp", host, _gcp_zones(host.region), "libcloud-gcp")
    whole, parts = [], []
    for row in _table("gcp_accelerators.csv"):
        (whole if row["instance_type"] else parts).extend(_gcp_listings(row))
    for listing, zones in _zoned([*whole, *_attached(parts, hosts)]):
        yield Line("gcp", listing, zones, "gcp-list")


def _cells(line: Line) -> tuple[str, ...]:
    listing = line.listing
    return (
        line.provider,
        listing.region,
        " ".join(line.zones),
        listing.instance_type,
        _plain(listing.vcpus),
        _plain(listing.memory_gib),
        listing.accelerator or "",
        _plain(listing.accelerator_count or None),
        _usd(listing.on_demand),
        _usd(listing.spot),
        line.source,
    )


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def _usd(micros: int | None) -> str:
    return "" if micros is None else f"{(Decimal(micros) / MICRO).normalize():f}"


def _aws_listing(machine: Mapping[str, Any], region: str) -> Listing:
    accelerator, count = _aws_accelerator(machine)
    return Listing(
        region,
        None,
        machine["InstanceType"],
        float(machine["VCpuInfo"]["DefaultVCpus"]),
        machine["MemoryInfo"]["SizeInMiB"] / 1024,
        accelerator,
        count,
        None,
        None,
    )


def _aws_accelerator(machine: Mapping[str, Any]) -> tuple[str | None, float]:
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


def _azure_shape(key: str) -> tuple[str, float, float] | None:
    """Azure's name, vCPUs and GiB of a size as pricing.json spells it; None for other families."""
    burst = AZURE_BURST.get(key.removeprefix("standardb"))
    if burst and key.startswith("standardb"):
        return f"Standard_B{key.removeprefix('standardb')}", burst[0], burst[1]
    match = AZURE_SIZE.fullmatch(key)
    if match is None:
        return None
    family, vcpus, suffix, generation = match[1], int(match[2]), match[3], int(match[4])
    if (generation == 2) != (family == "f"):
        return None
    memory = AZURE_MEMORY.get((family, vcpus, generation), AZURE_RATIOS[family] * vcpus)
    return f"Standard_{family.upper()}{vcpus}{suffix}_v{generation}", vcpus, float(memory)


def _azure_line(machine: Listing, price: str, source: str) -> Line:
    micros = price_micros(price, machine.accelerator, machine.accelerator_count)
    return Line("azure", machine._replace(on_demand=micros), (), source)


def _listing(row: Mapping[str, str], region: str) -> Listing:
    """A line of a hand-kept table, without a price."""
    return Listing(
        region,
        None,
        row["instance_type"],
        float(row["vcpus"]) if row["vcpus"] else None,
        float(row["memory_gib"]) if row["memory_gib"] else None,
        row["accelerator"],
        float(row["accelerator_count"]),
        None,
        None,
    )


def _gcp_machines() -> Iterator[Listing]:
    for family, classes in GCP_FAMILIES.items():
        rates = _prices()["gce_instances"][family]
        for region in rates["cpu"]["on_demand"]:
            for kind, (ratio, sizes) in classes.items():
                for vcpus in sizes:
                    memory = vcpus * ratio
                    yield Listing(
                        region,
                        None,
                        f"{family}-{kind}-{vcpus}",
                        vcpus,
                        memory,
                        None,
                        0,
                        _rated(rates, "on_demand", region, vcpus, memory),
                        _rated(rates, "preemptible", region, vcpus, memory),
                    )


def _rated(
    rates: Mapping[str, Any], market: str, region: str, vcpus: float, memory: float
) -> int | None:
    """Cores and memory at their rates; unknown when either is."""
    cpu = rates["cpu"][market].get(region, {}).get("price")
    ram = rates["ram"][market].get(region, {}).get("price")
    if not cpu or not ram:
        return None
    usd = Decimal(str(cpu)) * Decimal(str(vcpus)) + Decimal(str(ram)) * Decimal(str(memory))
    return price_micros(str(usd))


def _gcp_listings(row: Mapping[str, str]) -> Iterator[Listing]:
    """One per zone; priced only in the regions for which the table vouches."""
    for zone in row["zones"].split():
        region = zone.rpartition("-")[0]
        price = row["usd_per_hour"] if region in row["priced_regions"].split() else ""
        machine = _listing(row, region)
        micros = price_micros(price, machine.accelerator, machine.accelerator_count)
        yield machine._replace(zone=zone, on_demand=micros)


def _attached(parts: Iterable[Listing], hosts: Iterable[Listing]) -> list[Listing]:
    zoned = [host._replace(zone=zone) for host in hosts for zone in _gcp_zones(host.region)]
    return [whole for whole in gcp.join([*zoned, *parts]) if whole.accelerator]


def _zoned(listings: Iterable[Listing]) -> Iterator[tuple[Listing, tuple[str, ...]]]:
    zones: dict[Listing, list[str]] = defaultdict(list)
    for listing in listings:
        assert listing.zone
        zones[listing._replace(zone=None)].append(listing.zone)
    for listing, names in zones.items():
        yield listing, tuple(sorted(names))


def _gcp_zones(region: str) -> tuple[str, ...]:
    return tuple(f"{region}-{letter}" for letter in GCP_ZONES.get(region, "abc"))


def _table(name: str) -> list[dict[str, str]]:
    with (HERE / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


@cache
def _prices() -> dict[str, Any]:
    path = _package("libcloud") / "data" / "pricing.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["compute"]
    return loaded


@cache
def _aws_machines() -> dict[str, Any]:
    path = _package("moto") / "ec2" / "resources" / "instance_types.json.gz"
    loaded: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return loaded


def _aws_zones() -> dict[str, dict[str, set[str]]]:
    """The zones of each instance type, by region."""
    folder = _package("moto") / "ec2" / "resources" / "instance_type_offerings"
    found: dict[str, dict[str, set[str]]] = {}
    for path in sorted((folder / "availability-zone").glob("*.json.gz")):
        zones: dict[str, set[str]] = defaultdict(set)
        for offering in json.loads(gzip.decompress(path.read_bytes())):
            zones[offering["InstanceType"]].add(offering["Location"])
        found[path.name.removesuffix(".json.gz")] = zones
    return found


if __name__ == "__main__":
    main()
