"""Makes regions.csv and countries.csv in broker/catalog/data from codecarbon's figures.

Carbon is location-based. In order: the cloud region's own figure (GCP), the state's (US) or the
province's mix (Canada), the country's. The column `source` names which, and of which year; the
table that codecarbon carries for GCP names no year, so neither do we.

    .venv/bin/python tools/build_regions.py
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PLACES = HERE / "data" / "region_places.csv"
TARGET = HERE.parent / "broker" / "catalog" / "data"

COLUMNS = (
    "provider",
    "region",
    "country",
    "subdivision",
    "blocs",
    "carbon_g_per_kwh",
    "carbon_year",
    "source",
)
EU = frozenset(
    {"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"}
    | {"IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}
)
EFTA = frozenset({"CH", "IS", "LI", "NO"})
EEA = EU | EFTA - {"CH"}

GRAMS_PER_POUND = 453.59237
MISSPELT = {"me-cenrtal1": "me-central1"}
# names of sources in the mixes -> names in codecarbon's table of factors
MIX = {
    "coal": "coal",
    "petroleum": "petroleum",
    "naturalGas": "natural_gas",
    "nuclear": "nuclear",
    "hydro": "hydroelectricity",
    "wind": "wind",
    "solar": "solar",
    "biomass": "biomass",
}
PROVINCES = {"CA-QC": "quebec", "CA-ON": "ontario", "CA-AB": "alberta"}


class Carbon(NamedTuple):
    g_per_kwh: float
    year: str
    source: str


def main() -> None:
    with PLACES.open(encoding="utf-8", newline="") as file:
        places = [facts(place) for place in csv.DictReader(file)]
    write("regions.csv", sorted(places, key=lambda row: (row["provider"], row["region"])))
    countries = [facts({"country": code}) for code in known_countries()]
    write("countries.csv", countries)


def write(name: str, rows: Sequence[Mapping[str, str]]) -> None:
    TARGET.mkdir(exist_ok=True)
    columns = [column for column in COLUMNS if column in rows[0]]
    with (TARGET / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{name}: {len(rows)} rows")


def facts(place: Mapping[str, str]) -> dict[str, str]:
    carbon = carbon_of(place)
    return {
        **place,
        "blocs": " ".join(blocs(place["country"])),
        "carbon_g_per_kwh": f"{carbon.g_per_kwh:.1f}" if carbon else "",
        "carbon_year": carbon.year if carbon else "",
        "source": carbon.source if carbon else "",
    }


def blocs(country: str) -> list[str]:
    members = {"EEA": EEA, "EFTA": EFTA, "EU": EU}
    return [name for name, countries in members.items() if country in countries]


def carbon_of(place: Mapping[str, str]) -> Carbon | None:
    return (
        (cloud_region(place["region"]) if place.get("provider") == "gcp" else None)
        or state(place.get("subdivision", ""))
        or province(place.get("subdivision", ""))
        or country(place["country"])
    )


def cloud_region(name: str) -> Carbon | None:
    figure = _gcp().get(name)
    if figure is None:
        return None
    return Carbon(figure, "", f"cloud.google.com/sustainability/region-carbon via {package()}")


def state(subdivision: str) -> Carbon | None:
    states = _json("private_infra/2023/usa_emissions.json")
    source = states["_source"]
    for entry in states.values():
        if subdivision.startswith("US-") and entry.get("regionCode") == subdivision[3:]:
            grams = entry["emissions"] * GRAMS_PER_POUND / 1000
            return Carbon(
                grams, str(source["year"]), f"EPA eGRID {subdivision[3:]} via {package()}"
            )
    return None


def province(subdivision: str) -> Carbon | None:
    """The share of each source times its life-cycle factor, over the shares that have a factor."""
    name = PROVINCES.get(subdivision)
    if name is None:
        return None
    shares = _json("private_infra/2023/canada_energy_mix.json")[name]
    factors = _json("private_infra/carbon_intensity_per_source.json")
    known = {ours: shares[theirs] for theirs, ours in MIX.items() if theirs in shares}
    grams = sum(share * factors[source] for source, share in known.items()) / sum(known.values())
    return Carbon(grams, "2023", f"energy mix of {name.title()} via {package()}")


def country(code: str) -> Carbon | None:
    import pycountry  # a dependency of codecarbon

    found = pycountry.countries.get(alpha_2=code) if code else None
    entry = _json("private_infra/global_energy_mix.json").get(found.alpha_3) if found else None
    if entry is None:
        return None
    return Carbon(
        entry["carbon_intensity"], str(entry["year"]), f"country average of {code} via {package()}"
    )


def known_countries() -> list[str]:
    """Those with a figure, and every country of a bloc."""
    import pycountry

    known = _json("private_infra/global_energy_mix.json")
    return sorted({one.alpha_2 for one in pycountry.countries if one.alpha_3 in known} | EEA | EFTA)


@cache
def package() -> str:
    return f"codecarbon {importlib.metadata.version('codecarbon')}"


@cache
def _data() -> Path:
    spec = importlib.util.find_spec("codecarbon")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "data"


@cache
def _json(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((_data() / name).read_text(encoding="utf-8"))
    return loaded


@cache
def _gcp() -> dict[str, float]:
    with (_data() / "cloud" / "impact.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["provider"] == "gcp"]
    return {MISSPELT.get(row["region"], row["region"]): float(row["impact"]) for row in rows}


if __name__ == "__main__":
    main()
