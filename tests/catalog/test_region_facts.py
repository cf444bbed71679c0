"""The law: every region that an SDK knows has a row that says where it lies, under whose law it
falls, who runs it, who owns that company and how clean its power is, each with its source; what
nobody publishes is unknown, listed here with the reason, and never guessed. A bloc is a bloc of
law: neither the United Kingdom nor Switzerland is in the EU or the EEA."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.catalog import country_sites, site
from broker.catalog.regions import UNKNOWN, known, place, sites
from broker.model import Site

ROOT = Path(__file__).parents[2]
DATA = ROOT / "broker" / "catalog" / "data"
ISO_CODES = Path("/usr/share/zoneinfo/iso3166.tab")
PROVIDERS = ("aws", "azure", "gcp")
FACTS = {field.name for field in fields(Site)} - {"blocs"}

NO_SUBDIVISIONS = "ISO 3166-2 has none under its own code"
COUNTRY_ONLY = "the operator names the country only"
SECRET = "a region of a secret partition"
ANNOUNCED = "Google names an endpoint there, not the place"

# What is published nowhere, by reason: (provider, region) -> the facts that are unknown.
PLACE = {"country", "subdivision"}
GRID = {"carbon_g_per_kwh", "carbon_convention", "source"}
UNPUBLISHED = {
    NO_SUBDIVISIONS: {
        ("aws", "ap-east-1"): {"subdivision"},
        ("azure", "eastasia"): {"subdivision"},
        ("gcp", "asia-east2"): {"subdivision"},
    },
    COUNTRY_ONLY: {
        ("aws", "ap-southeast-1"): {"subdivision"},
        ("aws", "ap-southeast-5"): {"subdivision"},
        ("aws", "me-central-1"): {"subdivision"},
        ("aws", "me-south-1"): {"subdivision"},
        ("aws", "me-west-1"): {"subdivision"},
        ("aws", "sa-west-1"): {"subdivision"},
        ("azure", "israelcentral"): {"subdivision"},
        ("azure", "southeastasia"): {"subdivision"},
        ("gcp", "us-central6"): {"subdivision"},
    },
    SECRET: {
        ("aws", "eu-isoe-west-1"): PLACE | GRID,
        ("aws", "us-iso-east-1"): {"subdivision"},
        ("aws", "us-iso-west-1"): {"subdivision"},
        ("aws", "us-isob-west-1"): {"subdivision"},
        ("aws", "us-isof-east-1"): {"subdivision"},
        ("aws", "us-isof-south-1"): {"subdivision"},
    },
    ANNOUNCED: {
        ("gcp", "asia-southeast4"): PLACE | GRID,
        ("gcp", "europe-north3"): PLACE | GRID,
        ("gcp", "europe-west15"): PLACE | GRID,
        ("gcp", "europe-west5"): PLACE,
    },
}
ALLOWED = {key: names for rows in UNPUBLISHED.values() for key, names in rows.items()}


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not installed")
    return Path(found.origin).parent


def libcloud_prices() -> dict:
    return json.loads((package("libcloud") / "data" / "pricing.json").read_text())["compute"]


def regions_of_aws() -> set[str]:
    """All partitions. `aws-cn-global` is no place, and `us-west-2-lax-1` a zone outside its region."""
    data = package("botocore") / "data"
    partitions = [
        *json.loads((data / "partitions.json").read_text())["partitions"],
        *json.loads((data / "endpoints.json").read_text())["partitions"],
    ]
    found = {region for partition in partitions for region in partition["regions"]}
    found |= {region for by in libcloud_prices()["ec2_linux"].values() for region in by}
    return {
        name
        for name in found
        if not name.endswith("-global") and not re.search("-[a-z]{3}-1$", name)
    }


def regions_of_azure() -> set[str]:
    identity = pytest.importorskip("azure.identity")
    from libcloud.compute.drivers.azure_arm import AzureNodeDriver

    asked = "tryautodetect"
    found = {str(region.value) for region in identity._enums.RegionalAuthority} - {asked}
    found |= set(AzureNodeDriver._location_to_country)
    return found | {region for by in libcloud_prices()["azure_linux"].values() for region in by}


def regions_of_gcp() -> set[str]:
    """Those with regional endpoints of any of Google's services, and those with prices."""
    folder = package("googleapiclient") / "discovery_cache" / "documents"
    endpoint = re.compile(rb'"endpointUrl":[^}]*?"location":\s*"([a-z0-9-]+)"')
    found = {
        name.decode()
        for path in folder.glob("*.json")
        for name in endpoint.findall(path.read_bytes())
    }
    for family in libcloud_prices()["gce_instances"].values():
        found |= set(family.get("cpu", {}).get("on_demand", {}))
    return found


@pytest.mark.parametrize(
    ("provider", "of_packages", "at_least"),
    [("aws", regions_of_aws, 46), ("azure", regions_of_azure, 50), ("gcp", regions_of_gcp, 50)],
)
def test_every_region_that_an_installed_package_knows_is_in_the_table(
    provider, of_packages, at_least
) -> None:
    found = of_packages()
    assert len(found) >= at_least
    assert {(provider, region) for region in found} <= set(sites())


def test_every_region_has_every_fact_that_is_published() -> None:
    for (provider, region), facts in sites().items():
        if region not in known(provider):
            continue
        unknown = {name for name in FACTS if not getattr(facts, name)}
        assert unknown == ALLOWED.get((provider, region), set()), (provider, region)


def test_a_place_of_storage_alone_is_no_region_and_lies_in_one_country_or_bloc() -> None:
    stores = {(p, region) for p, region in sites() if region not in known(p)}
    assert ("gcp", "eu") in stores
    for key in stores:
        assert sites()[key].country or sites()[key].blocs
        assert sites()[key].carbon_g_per_kwh
        assert sites()[key].operator_country
    assert site("gcp", "eu").country is None
    assert site("gcp", "eu").blocs == {"EU", "EEA"}


@pytest.mark.parametrize("which", ["built", "sample"])
def test_every_region_that_is_offered_has_country_and_carbon(which: str, request) -> None:
    regions = {(pool.provider, pool.region) for _, pool in request.getfixturevalue(which).pools()}
    assert regions
    for provider, region in regions:
        facts = site(provider, region)
        assert facts.country, (provider, region)
        assert facts.carbon_g_per_kwh, (provider, region)
        assert facts.source, (provider, region)


@pytest.mark.parametrize(
    ("provider", "region", "country", "subdivision", "blocs"),
    [
        ("aws", "eu-north-1", "SE", "SE-AB", {"EU", "EEA"}),
        ("aws", "eu-central-2", "CH", "CH-ZH", {"EFTA"}),
        ("aws", "eu-west-2", "GB", "GB-ENG", set()),
        ("aws", "us-east-1", "US", "US-VA", set()),
        ("aws", "us-gov-west-1", "US", "US-OR", set()),
        ("aws", "cn-northwest-1", "CN", "CN-NX", set()),
        ("aws", "eusc-de-east-1", "DE", "DE-BB", {"EU", "EEA"}),
        ("azure", "norwayeast", "NO", "NO-03", {"EEA", "EFTA"}),
        ("azure", "westeurope", "NL", "NL-NH", {"EU", "EEA"}),
        ("azure", "chinaeast2", "CN", "CN-SH", set()),
        ("azure", "usgovtexas", "US", "US-TX", set()),
        ("gcp", "europe-west6", "CH", "CH-ZH", {"EFTA"}),
        ("gcp", "europe-west3", "DE", "DE-HE", {"EU", "EEA"}),
        ("gcp", "me-central1", "QA", "QA-DA", set()),
        ("gcp", "us-central2", "US", "US-OK", set()),
    ],
)
def test_a_region_lies_where_it_lies(provider, region, country, subdivision, blocs) -> None:
    found = site(provider, region)
    assert (found.country, found.subdivision, found.blocs) == (country, subdivision, blocs)


@pytest.mark.parametrize(
    ("provider", "region", "operator", "country"),
    [
        ("aws", "eu-central-1", "Amazon Web Services, Inc.", "US"),
        ("aws", "eusc-de-east-1", "AWS European Sovereign Cloud GmbH", "US"),
        ("aws", "cn-north-1", "Beijing Sinnet Technology Co., Ltd.", "CN"),
        ("aws", "cn-northwest-1", "Ningxia Western Cloud Data Technology Co., Ltd.", "CN"),
        ("azure", "westeurope", "Microsoft Corporation", "US"),
        ("azure", "chinanorth3", "Shanghai Blue Cloud Technology Co., Ltd. (21Vianet)", "CN"),
        ("gcp", "europe-west9", "Google LLC", "US"),
    ],
)
def test_an_operator_belongs_to_the_country_of_its_ultimate_owner(
    provider, region, operator, country
) -> None:
    found = site(provider, region)
    assert (found.operator, found.operator_country) == (operator, country)


def test_carbon_is_location_based_and_dated() -> None:
    for facts in [*sites().values(), *country_sites().values()]:
        assert facts.carbon_convention == ("location-based" if facts.carbon_g_per_kwh else "")
        assert re.search(r", 20\d\d$", facts.source) or facts.carbon_g_per_kwh is None


def test_who_says_where_a_region_lies_is_dated() -> None:
    for facts in [*sites().values(), *country_sites().values()]:
        assert re.search(r", 20\d\d-\d\d-\d\d$", facts.place_source)


def test_an_unknown_region_has_no_facts() -> None:
    assert site("aws", "moon-1") == UNKNOWN == Site()
    assert known("nobody") == frozenset()


@given(st.sampled_from(sorted(sites())), st.sampled_from(["", "@lab", "@a-b", "@"]))
def test_a_place_is_found_under_any_account_of_its_provider(key, account) -> None:
    provider, region = key
    assert place(f"{provider}{account}/{region}") == place(f" {provider}/{region} ") == sites()[key]


@given(st.sampled_from(sorted(country_sites())))
def test_a_country_is_a_place(code) -> None:
    assert place(code) == country_sites()[code]
    assert place(code).country == code


@given(st.text(max_size=20))
def test_a_place_that_nobody_knows_has_no_facts(text) -> None:
    names = {f"{provider}/{region}" for provider, region in sites()} | set(country_sites())
    if text.strip() not in names:
        assert place(text) == Site()


@pytest.mark.parametrize(
    "text", ["", "/", "aws", "aws/", "aws/eu-north-1a", "no", "NO/", "moon/eu-north-1", "gcp@/x"]
)
def test_half_a_place_has_no_facts(text: str) -> None:
    assert place(text) == Site()


def test_a_country_as_a_whole_has_facts_too() -> None:
    assert country_sites()["NO"].blocs == {"EEA", "EFTA"}
    assert country_sites()["LI"].carbon_g_per_kwh is None
    assert (country_sites()["DE"].carbon_g_per_kwh or 0) > (
        country_sites()["SE"].carbon_g_per_kwh or 0
    )


def test_the_blocs_have_their_members() -> None:
    def members(bloc: str) -> set[str]:
        return {code for code, facts in country_sites().items() if bloc in facts.blocs}

    outermost = {"AX", "GF", "GP", "MF", "MQ", "RE", "YT"}  # of Finland and France, in the EU
    assert len(members("EU") - outermost) == 27
    assert members("EU") >= outermost
    assert members("EFTA") == {"CH", "IS", "LI", "NO"}
    assert members("EEA") == members("EU") | {"IS", "LI", "NO"}


def test_every_country_of_iso_3166_is_in_the_table() -> None:
    codes = set(country_sites())
    assert len(codes) == 249
    if not ISO_CODES.exists():
        pytest.skip("this machine has no list of countries to compare with")
    lines = ISO_CODES.read_text(encoding="utf-8").splitlines()
    assert codes == {line[:2] for line in lines if line and not line.startswith("#")}


def test_codes_are_well_formed_and_each_figure_names_its_source() -> None:
    with (DATA / "regions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["provider"], row["region"]) for row in rows}) == len(rows)
    assert {row["provider"] for row in rows} == set(PROVIDERS)
    for row in rows:
        assert row["country"] in country_sites() or not row["country"]
        assert not row["subdivision"] or row["subdivision"].startswith(f"{row['country']}-")
        assert row["operator_country"] in country_sites()
        assert bool(row["carbon_g_per_kwh"]) == bool(row["source"]) == bool(row["carbon_year"])


def test_the_tool_makes_the_same_bytes_again() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "build_regions.py"))
    for name, text in tool["tables"]().items():
        assert text.encode() == (DATA / name).read_bytes()
