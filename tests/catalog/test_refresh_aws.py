"""AWS's prices by the real SDK over HTTP, from a server that keeps to botocore's service model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from broker.errors import AuthError, BrokerError
from broker.model import Market, Offer
from providers import aws_prices
from providers.price_registry import build
from tests.stands.aws_prices import AwsPrices, machine, product, spot
from tests.stands.price_faults import PriceServer, serving

NORTH, EAST = "eu-north-1", "us-east-1"
T4 = {"Name": "T4", "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": 16384}}
A100 = {"Name": "A100", "Count": 8, "MemoryInfo": {"SizeInMiB": 81920}}


def world() -> AwsPrices:
    return AwsPrices(
        products=[
            product("m5.large", NORTH, "0.1020000000"),
            product("m5.large", EAST, "0.0960000000"),
            product("g4dn.xlarge", NORTH, "0.5580000000", vcpu="4", memory="16 GiB", gpu="1"),
            product("p4de.24xlarge", NORTH, "0.0000000000", vcpu="96", memory="1,152 GiB", gpu="8"),
            product("p9.huge", NORTH, "99.5", gpu="8", memory="2,000 GiB"),
            product("u-1.metal", NORTH, "12.5", vcpu="448", memory="12,288 GiB"),
            product("m5.large", NORTH, "0.0100000000", marketoption="CapacityBlock"),
            product("m5.large", NORTH, "7.5", operatingSystem="Windows"),
            product("m5.large", NORTH, "7.5", tenancy="Host"),
        ],
        spot={
            NORTH: [
                spot("m5.large", f"{NORTH}a", "0.040000", day=1),
                spot("m5.large", f"{NORTH}a", "0.031500", day=20),
                spot("m5.large", f"{NORTH}b", "0.033000", day=3),
                spot("m5.large", f"{NORTH}a", "0.050000", day=2),
            ]
        },
        zones={NORTH: {"m5.large": [f"{NORTH}a", f"{NORTH}b"], "g4dn.xlarge": [f"{NORTH}c"]}},
        machines=[
            machine("m5.large", 2, 8),
            machine("g4dn.xlarge", 4, 16, T4),
            machine("p4de.24xlarge", 96, 1152, A100),
        ],
        regions=(NORTH, EAST),
    )


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def stand() -> Iterator[PriceServer]:
    with serving(world().server()) as server:
        yield server


@pytest.fixture
def ask(stand: PriceServer) -> Callable[..., list[Offer]]:
    def offers(**settings) -> list[Offer]:
        given = {
            "name": "aws",
            "now": datetime(2026, 11, 21, 12, tzinfo=UTC),
            "endpoint": stand.url,
            "regions": (NORTH,),
            "timeout_s": 5.0,
            "tries": 1,
            **settings,
        }
        return list(build("aws", given).offers())

    return offers


def only(offers: list[Offer], name: str, market: Market = Market.ON_DEMAND) -> list[Offer]:
    return [one for one in offers if one.instance_type == name and one.market is market]


def test_an_on_demand_price_stands_in_every_zone_that_has_the_type(ask) -> None:
    found = only(ask(), "m5.large")
    assert [one.zone for one in found] == [f"{NORTH}a", f"{NORTH}b"]
    first = found[0]
    assert first.price is not None
    assert first.price.usd_per_hour == Decimal("0.1020000000")
    assert (first.price.as_of, first.price.source) == ("2026-11-21", "AWS Price List API")
    assert (first.vcpus, first.memory_gib, first.accelerator) == (2.0, 8.0, None)


def test_a_spot_price_is_the_latest_of_its_zone(ask) -> None:
    prices = {one.zone: one.price for one in only(ask(), "m5.large", Market.SPOT)}
    said = {zone: price.usd_per_hour for zone, price in prices.items()}
    assert said == {f"{NORTH}a": Decimal("0.031500"), f"{NORTH}b": Decimal("0.033000")}
    assert {price.source for price in prices.values()} == {"AWS EC2 spot price history"}


def test_accelerators_come_from_ec2_under_the_catalogs_names(ask) -> None:
    found = ask()
    assert {(one.accelerator, one.accelerator_count) for one in only(found, "g4dn.xlarge")} == {
        ("T4", 1.0)
    }
    (whole,) = only(found, "p4de.24xlarge")
    assert (whole.accelerator, whole.accelerator_count) == ("A100-80GB", 8.0)


def test_a_price_of_nothing_is_unknown(ask) -> None:
    (found,) = only(ask(), "p4de.24xlarge")
    assert found.price is None


def test_a_machine_without_accelerators_is_taken_from_the_price_lists_words(ask) -> None:
    (found,) = only(ask(), "u-1.metal")
    assert (found.vcpus, found.memory_gib, found.zone) == (448.0, 12288.0, None)


def test_a_machine_whose_accelerators_nobody_names_is_left_out(ask) -> None:
    assert only(ask(), "p9.huge") == []


def test_without_regions_all_that_the_account_may_use_are_asked(ask) -> None:
    assert {one.region for one in ask(regions=())} == {NORTH, EAST}


def test_every_page_is_read(ask, stand) -> None:
    ask()
    pages = [name for name in stand.asked if name.startswith("GetProducts")]
    assert len(pages) == 3


def test_a_price_in_another_currency_keeps_its_currency(ask, stand) -> None:
    stand.respond.__self__.products[:] = [product("m5.large", NORTH, "1.5", currency="CNY")]
    assert {one.price.currency for one in only(ask(), "m5.large")} == {"CNY"}


def test_the_snapshots_machines_are_described_in_the_same_words() -> None:
    """Control: facts from EC2's own form give the names and counts that the bundled catalog has."""
    import gzip
    import importlib.util
    import json
    from pathlib import Path

    from broker.catalog import snapshot
    from providers.aws_devices import described

    spec = importlib.util.find_spec("moto")
    path = Path(spec.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
    machines = json.loads(gzip.decompress(path.read_bytes()))
    bundled = {row.instance_type: row for row in snapshot.load()["aws"]}
    assert len(bundled) > 1000
    for name, row in bundled.items():
        found = described(machines[name])
        assert found[2:] == row[6:8], name
        assert found[:2] == pytest.approx(row[4:6], rel=1e-5), name


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fail_page": 2, "fail_status": 400}, "prices in eu-north-1"),
        ({"fail_page": 2, "fail_status": 503}, "prices in eu-north-1"),
        ({"truncate": True}, "eu-north-1"),
        ({"rubbish": b"<html>busy</html>"}, "price list of eu-north-1"),
        ({"rubbish": b"{}"}, "price list of eu-north-1: a reply without PriceList"),
        ({"endless": True}, "more than 9 pages"),
        ({"hang": True}, "[Tt]imed? ?out"),
    ],
)
def test_a_list_that_is_not_whole_is_none(fault, words, ask, stand, monkeypatch) -> None:
    assert ask(), "control: without the fault there are offers"
    monkeypatch.setattr(aws_prices, "MAX_PAGES", 9)
    for name, value in fault.items():
        setattr(stand.faults, name, value)
    with pytest.raises(BrokerError, match=words):
        ask(timeout_s=0.3 if "hang" in fault else 5.0)


@pytest.mark.parametrize("text", ["no json", "{}", '{"product": {"attributes": 5}}', "[]"])
def test_a_product_that_cannot_be_read_is_said_with_its_text(text) -> None:
    with pytest.raises(BrokerError, match="cannot be read") as caught:
        aws_prices._product("aws: the price list of eu-north-1", text, "2026-11-21")
    assert text in caught.value.message


def test_without_credentials_the_error_names_the_command(ask, monkeypatch, tmp_path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AuthError) as caught:
        ask()
    assert "aws " in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("call", "broken"),
    [
        (lambda client: client.describe_vpcs(), "not implemented: ec2 DescribeVpcs"),
        (lambda client: client.describe_instance_types(), "KeyError"),
    ],
)
def test_the_stand_refuses_and_remembers_what_it_does_not_know(call, broken, stand) -> None:
    """Control: a request beyond the contract fails the test that made it."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, proxies={})
    client = boto3.client("ec2", region_name=NORTH, endpoint_url=stand.url, config=config)
    with pytest.raises(Exception, match=r"."):
        call(client)
    assert broken in stand.violations[0]
    stand.violations.clear()


def test_the_stand_sees_a_parameter_that_botocore_does_not_know(stand) -> None:
    form = {"Action": "DescribeRegions", "Version": "2016-11-15", "Colour": "blue"}
    with pytest.raises(AssertionError, match="Colour"):
        stand.respond.__self__._ec2("DescribeRegions", form, NORTH)
