"""GCP: the families of gcp_families.csv at libcloud's core and memory rates where it has them,
gcp_accelerators.csv, the accelerators of gcp_attached.csv joined with N1 hosts as an import does it,
and the TPU slices of gcp_tpus.csv.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from snapshot_inputs import Line, prices, table

from broker.catalog import gcp
from broker.catalog.listing import Listing
from broker.catalog.rows import price_micros, tpu_chips

# An accelerator without a price makes a machine without one: its hosts are listed in one class only.
_HOSTS_OF_UNPRICED = "n1-standard-"


def lines() -> Iterator[Line]:
    hosts = []
    for machine, source in _machines():
        hosts.append(machine)
        yield Line("gcp", machine, _zones_of(machine), source)
    for source, listings in (
        ("gcp-list", _built_in()),
        ("gcp-attached", _attached(hosts)),
        ("gcp-tpus", _slices()),
    ):
        for listing, zones in _gathered(listings):
            yield Line("gcp", listing, zones, source)


def _machines() -> Iterator[tuple[Listing, str]]:
    for row in table("gcp_families.csv"):
        rates = prices()["gce_instances"].get(row["family"])
        for region in _regions(row["regions"], rates):
            for size in row["sizes"].split():
                vcpus = int(size)
                memory = vcpus * float(row["gib_per_vcpu"])
                machine = Listing(
                    region,
                    None,
                    f"{row['family']}-{row['class']}-{size}",
                    vcpus,
                    memory,
                    None,
                    0,
                    _rated(rates, "on_demand", region, vcpus, memory),
                    _rated(rates, "preemptible", region, vcpus, memory),
                )
                yield machine, "gcp-shapes" if machine.on_demand is None else "libcloud-gcp"


def _regions(text: str, rates: Mapping[str, Any] | None) -> Iterator[str]:
    """`open`: wherever machines are sold; `priced`: where libcloud has a rate; and by name."""
    words = text.split()
    priced = rates["cpu"]["on_demand"] if rates and "priced" in words else {}
    for row in table("gcp_zones.csv"):
        if "open" in words or row["region"] in words or row["rates_of"] in priced:
            yield row["region"]


def _rated(
    rates: Mapping[str, Any] | None, market: str, region: str, vcpus: float, memory: float
) -> int | None:
    """Cores and memory at their rates; unknown when either is."""
    if rates is None:
        return None
    where = _rates_of()[region]
    cpu = rates["cpu"][market].get(where, {}).get("price")
    ram = rates["ram"][market].get(where, {}).get("price")
    if not cpu or not ram:
        return None
    usd = Decimal(str(cpu)) * Decimal(str(vcpus)) + Decimal(str(ram)) * Decimal(str(memory))
    return price_micros(str(usd))


def _built_in() -> Iterator[Listing]:
    """One per machine and zone; priced only in the regions for which the table vouches."""
    for row in table("gcp_accelerators.csv"):
        count = float(row["accelerator_count"])
        for zone in row["zones"].split():
            region = zone.rpartition("-")[0]
            price = row["usd_per_hour"] if region in row["priced_regions"].split() else ""
            yield Listing(
                region,
                zone,
                row["instance_type"],
                float(row["vcpus"]),
                float(row["memory_gib"]),
                row["accelerator"],
                count,
                price_micros(price, row["accelerator"], count),
                None,
            )


def _slices() -> Iterator[Listing]:
    for row in table("gcp_tpus.csv"):
        for size in row["sizes"].split():
            name = f"{row['family']}-{size}"
            price = str(Decimal(row["usd_per_chip_hour"] or 0) * (tpu_chips(name) or 0))
            for zone in row["zones"].split():
                region = zone.rpartition("-")[0]
                micros = price_micros(price, name)
                yield Listing(region, zone, name, None, None, name, 1, micros, None)


def _attached(hosts: Iterable[Listing]) -> list[Listing]:
    """Accelerators in every N1 machine that they may be attached to."""
    zoned = [host._replace(zone=zone) for host in hosts for zone in _zones_of(host)]
    return [
        whole
        for whole in gcp.join([*zoned, *_parts()])
        if whole.accelerator
        and (whole.on_demand is not None or whole.instance_type.startswith(_HOSTS_OF_UNPRICED))
    ]


def _parts() -> Iterator[Listing]:
    for row in table("gcp_attached.csv"):
        for count in map(int, row["counts"].split()):
            micros = price_micros(str(Decimal(row["usd_per_hour"]) * count))
            for zone in row["zones"].split():
                region = zone.rpartition("-")[0]
                yield Listing(region, zone, "", None, None, row["accelerator"], count, micros, None)


def _gathered(listings: Iterable[Listing]) -> Iterator[tuple[Listing, tuple[str, ...]]]:
    zones: dict[Listing, list[str]] = defaultdict(list)
    for listing in listings:
        assert listing.zone
        zones[listing._replace(zone=None)].append(listing.zone)
    for listing, names in zones.items():
        yield listing, tuple(sorted(names))


def _zones_of(machine: Listing) -> tuple[str, ...]:
    """All of the region's; none for a family of which we do not know in which zones it is."""
    everywhere = machine.instance_type.partition("-")[0] in {"n1", "e2", "n2", "n2d", "c2"}
    return _zones()[machine.region] if everywhere else ()


@cache
def _rates_of() -> dict[str, str]:
    """Google sells some regions under one price; libcloud names one of them."""
    return {row["region"]: row["rates_of"] for row in table("gcp_zones.csv")}


@cache
def _zones() -> dict[str, tuple[str, ...]]:
    """Regions that sell machines -> their zones."""
    return {
        row["region"]: tuple(f"{row['region']}-{letter}" for letter in row["zones"].split())
        for row in table("gcp_zones.csv")
    }
