"""Where a provider's region lies, which blocs' law holds there, and how clean its power is.

The tables are `data/regions.csv` and, for machines of no cloud, `data/countries.csv`, both made by
`tools/build_regions.py`. Carbon is location-based
(grid average of the region or, failing that, the country), never market-based; `source` says which
figure of which year it is. A region that is not in the table has no facts: nothing is guessed.
"""

from __future__ import annotations

import csv
import zlib
from functools import cache
from importlib import resources

from broker.model import Site

UNKNOWN = Site()


@cache
def sites() -> dict[tuple[str, str], Site]:
    """(provider, region) -> facts."""
    return {(row["provider"], row["region"]): _site(row) for row in _table("regions.csv")}


@cache
def country_sites() -> dict[str, Site]:
    """ISO 3166-1 alpha-2 code -> facts of the country as a whole."""
    return {row["country"]: _site(row) for row in _table("countries.csv")}


def site(provider: str, region: str) -> Site:
    return sites().get((provider, region), UNKNOWN)


def digest() -> str:
    """Changes with the table of regions."""
    return f"{zlib.crc32(_data('regions.csv')):08x}"


def _table(name: str) -> csv.DictReader[str]:
    return csv.DictReader(_data(name).decode().splitlines())


@cache
def _data(name: str) -> bytes:
    return resources.files("broker.catalog").joinpath(f"data/{name}").read_bytes()


def _site(row: dict[str, str]) -> Site:
    carbon = row["carbon_g_per_kwh"]
    return Site(
        country=row["country"] or None,
        blocs=frozenset(row["blocs"].split()),
        carbon_g_per_kwh=float(carbon) if carbon else None,
        source=f"{row['source']}, {row['carbon_year']}".strip(", "),
    )
