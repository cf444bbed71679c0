"""The law: every region that is offered has a country and a carbon figure with its source, and a
bloc is a bloc of law: neither the United Kingdom nor Switzerland is in the EU or the EEA."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from broker.catalog import country_sites, site
from broker.catalog.regions import UNKNOWN, sites

TABLE = Path(__file__).parents[2] / "broker" / "catalog" / "data" / "regions.csv"


@pytest.mark.parametrize("which", ["built", "sample"])
def test_every_region_that_is_offered_has_country_and_carbon(which: str, request) -> None:
    regions = {(pool.provider, pool.region) for _, pool in request.getfixturevalue(which).pools()}
    assert regions
    for provider, region in regions:
        facts = site(provider, region)
        assert facts.country, (provider, region)
        assert facts.carbon_g_per_kwh, (provider, region)
        assert facts.source, (provider, region)


def test_every_region_that_the_aws_sdk_knows_is_in_the_table() -> None:
    session = pytest.importorskip("botocore.session").get_session()
    known = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    }
    assert {("aws", region) for region in known} <= set(sites())


@pytest.mark.parametrize(
    ("provider", "region", "country", "blocs"),
    [
        ("aws", "eu-north-1", "SE", {"EU", "EEA"}),
        ("aws", "eu-central-2", "CH", {"EFTA"}),
        ("aws", "eu-west-2", "GB", set()),
        ("azure", "norwayeast", "NO", {"EEA", "EFTA"}),
        ("azure", "westeurope", "NL", {"EU", "EEA"}),
        ("gcp", "europe-west6", "CH", {"EFTA"}),
        ("gcp", "me-central1", "QA", set()),
        ("aws", "us-east-1", "US", set()),
    ],
)
def test_a_region_lies_where_it_lies(provider, region, country, blocs) -> None:
    found = site(provider, region)
    assert (found.country, found.blocs) == (country, blocs)


def test_an_unknown_region_has_no_facts() -> None:
    assert site("aws", "moon-1") == UNKNOWN
    assert UNKNOWN.country is None


def test_a_country_as_a_whole_has_facts_too() -> None:
    assert country_sites()["NO"].blocs == {"EEA", "EFTA"}
    assert country_sites()["LI"].carbon_g_per_kwh is None
    assert (country_sites()["DE"].carbon_g_per_kwh or 0) > (
        country_sites()["SE"].carbon_g_per_kwh or 0
    )


def test_codes_are_well_formed_and_each_figure_names_its_source() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["provider"], row["region"]) for row in rows}) == len(rows)
    for row in rows:
        assert len(row["country"]) in {0, 2}
        assert not row["subdivision"] or row["subdivision"].startswith(f"{row['country']}-")
        assert bool(row["carbon_g_per_kwh"]) == bool(row["source"])
        assert bool(row["carbon_year"]) or row["provider"] == "gcp" or not row["source"]
