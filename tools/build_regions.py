"""Makes regions.csv and countries.csv in broker/catalog/data from the tables in tools/data.

- `region_places.csv`: every region, where it lies, who runs it and who says so.
- `operators.csv`: the companies that run regions. `country` is the seat of the ultimate owner, not
  of the company itself: the law of that country reaches what the company holds.
- `place_sources.csv`: who says where a region lies, and when that was last looked at.
- `region_carbon.csv`: what a provider publishes about the grid of a region.
- `subdivision_carbon.csv`: EPA eGRID for states of the US, the mix of sources for Canada's
  provinces, as codecarbon 3.3.2 carries them.
- `country_carbon.csv`: every ISO 3166-1 country; averages as codecarbon 3.3.2 carries them, empty
  where it has none or says 0.0, which no grid is.

Carbon is location-based, in grams of CO2 equivalent per kWh. The first that is known counts: the
region's own figure, the state's or province's, the country's, for `gcp/eu` the bloc's. `source`
says which, and figures of different publishers differ by more than their grids do: Google counts
what leaves the chimney, country averages count the whole life of the plant.

The output depends on nothing but the tables: the same tables give the same bytes.

    python tools/build_regions.py
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "broker" / "catalog" / "data"

COUNTRY_COLUMNS = (
    "country",
    "blocs",
    "carbon_g_per_kwh",
    "carbon_year",
    "carbon_convention",
    "source",
    "place_source",
)
REGION_COLUMNS = (
    "provider",
    "region",
    "kind",
    "country",
    "subdivision",
    "blocs",
    "operator",
    "operator_country",
    *COUNTRY_COLUMNS[2:],
)
# Parts of a member state that have an ISO code of their own and are in the EU all the same.
OUTERMOST = frozenset({"AX", "GF", "GP", "MF", "MQ", "RE", "YT"})
EU = OUTERMOST | frozenset(
    {"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"}
    | {"IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}
)
EFTA = frozenset({"CH", "IS", "LI", "NO"})
EEA = EU | EFTA - {"CH"}
MEMBERS = {"EEA": EEA, "EFTA": EFTA, "EU": EU}

CONVENTION = "location-based"
# A multi-region in no single country lies somewhere in this bloc, whose law holds in all of it.
SOMEWHERE_IN = {"eu": "EU"}
BLOC_CARBON = {
    "EU": ("213.0", "2024", "EU average, Ember European Electricity Review, approximate")
}

Row = Mapping[str, str]


def main() -> None:
    for name, text in tables().items():
        (TARGET / name).write_text(text, encoding="utf-8", newline="")
        print(f"{name}: {text.count(chr(10)) - 1} rows")


def tables() -> dict[str, str]:
    """What the files hold, by name."""
    regions = sorted(_table("region_places.csv"), key=lambda row: (row["provider"], row["region"]))
    return {
        "regions.csv": _text(REGION_COLUMNS, map(region, regions)),
        "countries.csv": _text(COUNTRY_COLUMNS, map(country, _table("country_carbon.csv"))),
    }


def region(place: Row) -> dict[str, str]:
    operator = _by("operators.csv", "id")[place["operator"],]
    return {
        **{name: place[name] for name in REGION_COLUMNS if name in place},
        "blocs": _blocs(place),
        "operator": operator["name"],
        "operator_country": operator["country"],
        "place_source": _place_source(place["place"]),
        **_carbon(place),
    }


def country(known: Row) -> dict[str, str]:
    return {
        "country": known["country"],
        "blocs": _blocs(known),
        "place_source": _place_source("iso"),
        **_carbon(known),
    }


def _blocs(place: Row) -> str:
    somewhere = SOMEWHERE_IN.get(place.get("region", ""))
    if somewhere:
        inside = MEMBERS[somewhere]
        return " ".join(name for name, members in MEMBERS.items() if inside <= members)
    return " ".join(name for name, members in MEMBERS.items() if place["country"] in members)


def _carbon(place: Row) -> dict[str, str]:
    figure, year, source = _figure(place)
    return {
        "carbon_g_per_kwh": figure,
        "carbon_year": year,
        "carbon_convention": CONVENTION if figure else "",
        "source": source,
    }


def _figure(place: Row) -> tuple[str, str, str]:
    """Grams, year and source of the closest grid that has a figure; empty where none has."""
    known = (
        _by("region_carbon.csv", "provider", "region").get(
            (place.get("provider", ""), place.get("region", ""))
        )
        or _by("subdivision_carbon.csv", "subdivision").get((place.get("subdivision", ""),))
        or _by("country_carbon.csv", "country").get((place["country"],))
    )
    if known:
        return known["carbon_g_per_kwh"], known["year"], known["source"]
    return BLOC_CARBON.get(SOMEWHERE_IN.get(place.get("region", ""), ""), ("", "", ""))


def _place_source(name: str) -> str:
    source = _by("place_sources.csv", "id")[name,]
    return f"{source['name']}, {source['as_of']}"


def _text(columns: Iterable[str], rows: Iterable[Row]) -> str:
    names = tuple(columns)
    lines = [names, *(tuple(row[name] for name in names) for row in rows)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell


@cache
def _by(table: str, *columns: str) -> dict[tuple[str, ...], Row]:
    return {tuple(row[name] for name in columns): row for row in _table(table)}


@cache
def _table(name: str) -> list[dict[str, str]]:
    with (HERE / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
