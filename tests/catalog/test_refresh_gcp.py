"""GCP's prices by the real SDK over HTTP, from a server behind Google's own discovery document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from broker.errors import AuthError, BrokerError
from broker.model import Market, Offer
from providers import gcp_prices
from providers.gcp_skus import Priced, family, priced, tpu_slice
from providers.price_registry import Shape, build
from tests.stands.gcp_billing import GcpBilling, contract, flaws, sku
from tests.stands.price_faults import serving

IOWA, WARSAW = "us-central1", "europe-central2"
N1 = Shape("n1-standard-4", 4.0, 15.0, None, 0, {IOWA: (f"{IOWA}-a", f"{IOWA}-b")})
N1_T4 = Shape("n1-standard-4", 4.0, 15.0, "T4", 2.0, {IOWA: (f"{IOWA}-a",)})
A100 = Shape("a2-highgpu-1g", 12.0, 85.0, "A100", 1.0, {IOWA: (f"{IOWA}-c",)})
H100 = Shape("a3-megagpu-8g", 208.0, 1872.0, "H100-MEGA", 8.0, {IOWA: (f"{IOWA}-b",)})
TPU = Shape("tpu-v5p-8", None, None, "tpu-v5p-8", 1.0, {IOWA: (f"{IOWA}-a",)})
TPU2 = Shape("tpu-v2-8", None, None, "tpu-v2-8", 1.0, {IOWA: (f"{IOWA}-b",)})
SHAPES = (N1, N1_T4, A100, H100, TPU, TPU2)


def world() -> GcpBilling:
    return GcpBilling(
        [
            sku("N1 Predefined Instance Core running in Americas", "0.031611", IOWA, "us-east1"),
            sku("N1 Predefined Instance Ram running in Americas", "0.004237", IOWA, "us-east1"),
            sku("N1 Predefined Instance Core running in Warsaw", "0.040000", WARSAW),
            sku("Spot Preemptible N1 Predefined Instance Core running in Americas", "0.006", IOWA),
            sku("Spot Preemptible N1 Predefined Instance Ram running in Americas", "0.0008", IOWA),
            sku("Nvidia Tesla T4 GPU running in Americas", "0.35", IOWA, group="GPU"),
            sku(
                "Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas",
                "0.11",
                IOWA,
            ),
            sku("A2 Instance Core running in Americas", "0.031611", IOWA),
            sku("A2 Instance Ram running in Americas", "0.004237", IOWA, free_tier=True),
            sku("Nvidia Tesla A100 GPU running in Americas", "2.933908", IOWA),
            sku("Nvidia Tesla A100 80GB GPU running in Americas", "3.93", IOWA),
            sku("TpuV5p running in Iowa", "4.2", IOWA, group="TPU"),
            sku("N1 Predefined Instance Core running in Americas", "9", IOWA, usage="Commit1Yr"),
            sku("Custom Instance Core running in Americas", "0.05", IOWA),
            sku("N1 Sole Tenancy Instance Core running in Americas", "0.05", IOWA),
            sku("N1 Predefined Instance Ram running in Americas", "77", IOWA, unit="GiBy.mo"),
        ]
    )


@pytest.fixture
def billing() -> Iterator[GcpBilling]:
    stand = world()
    with serving(stand.server()):
        yield stand


@pytest.fixture
def ask(billing: GcpBilling) -> Callable[..., list[Offer]]:
    def offers(**settings) -> list[Offer]:
        given = {
            "name": "gcp",
            "now": datetime(2026, 11, 21, 12, tzinfo=UTC),
            "endpoint": billing.http.url,
            "shapes": SHAPES,
            "timeout_s": 5.0,
            "tries": 1,
            **settings,
        }
        return list(build("gcp", given).offers())

    return offers


def usd(
    offers: list[Offer], shape: Shape, market: Market = Market.ON_DEMAND
) -> set[Decimal | None]:
    return {
        one.price and one.price.usd_per_hour
        for one in offers
        if one.region == IOWA
        and (one.instance_type, one.accelerator) == (shape.instance_type, shape.accelerator)
        and one.market is market
    }


def test_a_machine_is_its_cores_its_memory_and_its_accelerators_to_the_last_digit(ask) -> None:
    found = ask()
    host = 4 * Decimal("0.031611") + 15 * Decimal("0.004237")
    assert usd(found, N1) == {host}
    assert usd(found, N1_T4) == {host + 2 * Decimal("0.35")}
    assert usd(found, A100) == {
        12 * Decimal("0.031611") + 85 * Decimal("0.004237") + Decimal("2.933908")
    }


def test_spot_rates_make_spot_prices_and_never_stand_in_for_others(ask) -> None:
    found = ask()
    host = 4 * Decimal("0.006") + 15 * Decimal("0.0008")
    assert usd(found, N1, Market.SPOT) == {host}
    assert usd(found, N1_T4, Market.SPOT) == {host + 2 * Decimal("0.11")}
    assert usd(found, A100, Market.SPOT) == {None}, "no spot rate for its cores"


def test_a_tpu_is_priced_by_its_chips(ask) -> None:
    found = ask()
    assert usd(found, TPU) == {4 * Decimal("4.2")}
    assert usd(found, TPU2) == {None}, "a generation that is not priced by the chip"


def test_a_machine_stands_in_its_zones_and_in_regions_that_have_all_its_rates(ask) -> None:
    places = {(one.region, one.zone) for one in ask() if one.instance_type == "n1-standard-4"}
    assert places == {(IOWA, f"{IOWA}-a"), (IOWA, f"{IOWA}-b"), ("us-east1", None)}


def test_a_machine_of_which_a_part_has_no_rate_is_of_unknown_price(ask) -> None:
    assert usd(ask(), H100) == {None}


def test_named_regions_are_all_that_is_offered(ask) -> None:
    assert {one.region for one in ask(regions=("us-east1",))} == {"us-east1"}


def test_every_price_has_source_date_and_currency(ask) -> None:
    said = {(o.price.source, o.price.as_of, o.price.currency) for o in ask() if o.price}
    assert said == {("GCP Cloud Billing catalog", "2026-11-21", "USD")}


def test_a_currency_that_was_not_asked_for_is_kept_with_the_price(ask, billing) -> None:
    billing.skus[:] = [
        sku(f"N1 Predefined Instance {part} running in Americas", "1", IOWA, currency="EUR")
        for part in ("Core", "Ram")
    ]
    assert {one.price.currency for one in ask() if one.price} == {"EUR"}


def test_every_page_is_read(ask, billing) -> None:
    ask()
    assert len(billing.http.asked) == 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fail_page": 2}, "503.*backend is tired"),
        ({"fail_page": 2, "fail_status": 400}, "400"),
        ({"truncate": True}, "list SKUs"),
        ({"rubbish": b"<html>busy</html>"}, "list SKUs"),
        ({"rubbish": b"[]"}, "list SKUs|no SKU"),
        ({"empty": True}, "no SKU"),
        ({"endless": True}, "no end"),
        ({"hang": True}, "list SKUs"),
    ],
)
def test_a_list_that_is_not_whole_is_none(fault, words, ask, billing, monkeypatch) -> None:
    assert ask(), "control: without the fault there are offers"
    monkeypatch.setattr(gcp_prices, "MAX_PAGES", 9)
    for name, value in fault.items():
        setattr(billing.http.faults, name, value)
    with pytest.raises(BrokerError, match=words):
        ask(timeout_s=0.3 if "hang" in fault else 5.0)


def test_a_refusal_of_who_we_are_names_the_command(ask, billing) -> None:
    billing.http.faults.fail_page, billing.http.faults.fail_status = 1, 403
    with pytest.raises(AuthError) as caught:
        ask()
    assert "gcloud auth application-default login" in (caught.value.hint or "")


def test_without_credentials_nothing_is_sent_and_the_command_is_named(ask, monkeypatch) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def nobody(**_):
        raise DefaultCredentialsError("no credentials here")

    monkeypatch.setattr(google.auth, "default", nobody)
    with pytest.raises(AuthError, match="no credentials here") as caught:
        ask(endpoint=None)
    assert "gcloud auth" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("description", "what"),
    [
        ("N2D AMD Instance Ram running in Zurich", Priced("n2d", "ram")),
        ("Spot Preemptible A3Plus Instance Ram running in Tokyo", Priced("a3-megagpu", "ram")),
        ("Compute optimized Core running in Japan", Priced("c2", "core")),
        ("Nvidia H100 80GB Mega GPU running in Tokyo", Priced("H100-MEGA", "chip")),
        ("TpuV6e attached to Spot Preemptible VMs running in Columbus", Priced("v6e", "chip")),
        ("Commitment v1: N2 Cpu in Americas for 1 Year", None),
        ("Capacity Optimized TpuV6e running in Columbus", None),
        ("DWS Defined Duration V6e running in Columbus", None),
        ("N2 Custom Instance Core running in Japan", None),
        ("N1 Predefined Instance Core", None),
    ],
)
def test_a_description_says_what_is_priced_or_nothing(description, what) -> None:
    assert priced(description) == what


def test_a_machine_type_names_the_family_of_its_rates() -> None:
    names = ["n1-standard-4", "a2-ultragpu-1g", "a3-megagpu-8g", "a3-highgpu-8g", "a4-highgpu-8g"]
    assert [family(name) for name in names] == ["n1", "a2", "a3-megagpu", "a3-highgpu", "a4"]


def test_a_tpus_chips_are_those_that_the_catalog_counts() -> None:
    from broker.catalog.rows import tpu_chips

    for name in ("tpu-v5p-8", "tpu-v5p-1024", "tpu-v5litepod-16", "tpu-v6e-8"):
        found = tpu_slice(name)
        assert found is not None
        assert found[1] == tpu_chips(name)


def test_the_stand_knows_the_contract_and_sees_what_breaks_it(billing) -> None:
    """Control: an answer that is not in Google's document, and a method that has no behaviour."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    assert contract()["name"] == "cloudbilling"
    assert flaws({"skus": [{"colour": "blue"}]}, {"$ref": "ListSkusResponse"})
    assert flaws({"skus": [], "nextPageToken": 5}, {"$ref": "ListSkusResponse"})
    for path in ("/v1/services", "/v1/services/x/skus?colour=blue"):
        with pytest.raises(HTTPError):
            urlopen(billing.http.url + path)
    assert len(billing.http.violations) == 2
    billing.http.violations.clear()
