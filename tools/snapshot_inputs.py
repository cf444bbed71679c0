"""What the snapshot is made of: installed packages, the tables in tools/data, and its lines."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from broker.catalog.listing import Listing

DATA = Path(__file__).resolve().parent / "data"


class Line(NamedTuple):
    """One line of the snapshot: a listing in all its zones."""

    provider: str
    listing: Listing
    zones: tuple[str, ...]
    source: str


@cache
def table(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def open_regions(provider: str) -> tuple[str, ...]:
    """Those whose machines can be leased: all but the ones in closed_regions.csv."""
    closed = {(row["provider"], row["region"]) for row in table("closed_regions.csv")}
    return tuple(
        row["region"]
        for row in table("region_places.csv")
        if row["provider"] == provider
        and row["kind"] == "region"
        and (provider, row["region"]) not in closed
    )


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


@cache
def prices() -> dict[str, Any]:
    """Libcloud's pricing.json, where 0 means unknown."""
    loaded: dict[str, Any] = _json(package("libcloud") / "data" / "pricing.json")["compute"]
    return loaded


@cache
def aws_machines() -> dict[str, Any]:
    """Moto's machines, as DescribeInstanceTypes tells them."""
    loaded: dict[str, Any] = _json(package("moto") / "ec2/resources/instance_types.json.gz")
    return loaded


@cache
def aws_zones() -> dict[str, dict[str, tuple[str, ...]]]:
    """Region -> instance type -> zones. None of them where only cfn-lint knows the region."""
    found = {region: dict.fromkeys(names, ()) for region, names in _cfn_types().items()}
    folder = package("moto") / "ec2/resources/instance_type_offerings/availability-zone"
    for path in sorted(folder.glob("*.json.gz")):
        zones: dict[str, set[str]] = {}
        for offering in _json(path):
            zones.setdefault(offering["InstanceType"], set()).add(offering["Location"])
        region = path.name.removesuffix(".json.gz")
        found[region] = {name: tuple(sorted(here)) for name, here in zones.items()}
    return found


def _cfn_types() -> Mapping[str, list[str]]:
    path = package("cfnlint") / "data/schemas/extensions/aws_ec2_instance/instancetype_enum.json"
    regions = {name: known for name, known in _json(path).items() if isinstance(known, dict)}
    return {name: known["enum"] for name, known in regions.items() if name != "all"}


def _json(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
