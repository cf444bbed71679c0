"""Where a provider's region lies, who runs it, whose law holds there, and how clean its power is.

The tables are `data/regions.csv` and, for machines of no cloud, `data/countries.csv`, both made by
`tools/build_regions.py`. What a table does not say is None or empty: nothing is guessed, and a
region that is in no table has no facts.

Carbon is location-based (the grid of the region or, failing that, of the state or the country),
never market-based; `source` says which figure of which year it is.

`operator` is the company that runs the region. `operator_country` is where the ultimate owner of
that company has its seat, because the law of that country reaches it: a sovereign cloud that is
run by a German company which an American one owns counts as American.

Beside regions the table has the places that storage may be in and machines cannot, such as
`gcp/eu`, somewhere in the EU; `known` leaves them out.
"""

from __future__ import annotations

import csv
import zlib
from functools import cache
from importlib import resources

from broker.model import Site

UNKNOWN = Site()

_REGION = "region"


@cache
def sites() -> dict[tuple[str, str], Site]:
    """(provider, region) -> facts."""
    return {(row["provider"], row["region"]): _site(row) for row in _rows("regions.csv")}


@cache
def country_sites() -> dict[str, Site]:
    """ISO 3166-1 alpha-2 code -> facts of the country as a whole."""
    return {row["country"]: _site(row) for row in _rows("countries.csv")}


def site(provider: str, region: str) -> Site:
    return sites().get((provider, region), UNKNOWN)


def place(text: str) -> Site:
    """Facts of a place as files name it: `gcp/europe-west3`, `aws@lab/eu-north-1` or `NO`.

    What stands behind the `@` tells two accounts of one provider apart, not two places.
    """
    cloud, slash, region = text.strip().partition("/")
    if not slash:
        return country_sites().get(cloud, UNKNOWN)
    return site(cloud.partition("@")[0], region)


@cache
def known(provider: str) -> frozenset[str]:
    """The regions of a provider that the table has facts about."""
    rows = _rows("regions.csv")
    return frozenset(
        row["region"] for row in rows if row["provider"] == provider and row["kind"] == _REGION
    )


def digest() -> str:
    """Changes with the table of regions."""
    return f"{zlib.crc32(_data('regions.csv')):08x}"


def _rows(name: str) -> csv.DictReader[str]:
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
        subdivision=row.get("subdivision") or None,
        operator=row.get("operator") or None,
        operator_country=row.get("operator_country") or None,
        carbon_convention=row["carbon_convention"],
        place_source=row["place_source"],
    )
