"""Azure's prices over plain HTTP, from a server that keeps to the API's public page (level D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from broker.errors import AuthError, BrokerError, RequestError
from broker.model import Market, Offer
from providers import azure_prices, price_http
from providers.price_registry import Shape, build
from tests.stands.azure_retail import AzureRetail, meter
from tests.stands.price_faults import serving

WEST, NORTH = "westeurope", "northeurope"
D2 = Shape("Standard_D2s_v5", 2.0, 8.0, None, 0, {})
T4 = Shape("Standard_NC4as_T4_v3", 4.0, 28.0, "T4", 1.0, {})


def world() -> AzureRetail:
    d2, nc, m8 = D2.instance_type, T4.instance_type, "Standard_M8ms"
    return AzureRetail(
        [
            meter(d2, WEST, 0.115),
            meter(d2, WEST, 0.0231, kind="Spot"),
            meter(d2, WEST, 0.023, kind="Low Priority"),
            meter(d2, WEST, 0.207, productName="Virtual Machines Dsv5 Series Windows"),
            meter(d2, WEST, 990.0, type="Reservation", reservationTerm="1 Year"),
            meter(d2, WEST, 80.0, unitOfMeasure="1/Month"),
            meter(d2, WEST, 0.05, isPrimaryMeterRegion=False),
            meter(d2, NORTH, 0.107),
            meter(nc, WEST, 0.61),
            meter(nc, WEST, 0.55, effectiveStartDate="2024-01-01T00:00:00Z"),
            meter(nc, WEST, 0.70, effectiveStartDate="2099-01-01T00:00:00Z"),
            meter(m8, WEST, 2.305),
            meter("Dsv3_Type1", WEST, 4.0),
            meter("Standard_F1", WEST, 0.0),
        ],
        page=4,
    )


@pytest.fixture
def retail() -> Iterator[AzureRetail]:
    stand = world()
    with serving(stand.server()):
        yield stand


@pytest.fixture
def ask(retail: AzureRetail) -> Callable[..., list[Offer]]:
    def offers(**settings) -> list[Offer]:
        given = {
            "name": "azure",
            "now": datetime(2026, 11, 21, 12, tzinfo=UTC),
            "endpoint": retail.http.url,
            "shapes": (D2, T4),
            "timeout_s": 5.0,
            "tries": 1,
            **settings,
        }
        return list(build("azure", given).offers())

    return offers


def prices(offers: list[Offer]) -> dict[tuple[str, str, Market], Decimal | None]:
    return {
        (one.instance_type, one.region, one.market): one.price and one.price.usd_per_hour
        for one in offers
    }


def test_only_hourly_prices_of_linux_machines_become_offers(ask) -> None:
    spot, on_demand = Market.SPOT, Market.ON_DEMAND
    assert prices(ask()) == {
        ("Standard_D2s_v5", WEST, on_demand): Decimal("0.115"),
        ("Standard_D2s_v5", WEST, spot): Decimal("0.0231"),
        ("Standard_D2s_v5", NORTH, on_demand): Decimal("0.107"),
        ("Standard_NC4as_T4_v3", WEST, on_demand): Decimal("0.61"),
        ("Standard_M8ms", WEST, on_demand): Decimal("2.305"),
        ("Standard_F1", WEST, on_demand): None,
    }


def test_an_offer_has_the_shape_that_the_catalog_knows_and_none_that_it_does_not(ask) -> None:
    found = {one.instance_type: one for one in ask()}
    gpu, unknown = found["Standard_NC4as_T4_v3"], found["Standard_M8ms"]
    assert (gpu.vcpus, gpu.memory_gib, gpu.accelerator, gpu.accelerator_count) == (4, 28, "T4", 1)
    assert (unknown.vcpus, unknown.memory_gib, unknown.accelerator) == (None, None, None)
    assert gpu.price is not None
    assert (gpu.price.as_of, gpu.price.source) == ("2026-11-21", "Azure Retail Prices API")


def test_named_regions_are_all_that_is_asked_for(ask) -> None:
    assert {one.region for one in ask(regions=(NORTH,))} == {NORTH}


def test_every_page_is_read(ask, retail) -> None:
    ask()
    assert sorted(retail.http.asked) == ["page 1", "page 2", "page 3", "page 4"]


def test_a_currency_that_was_not_asked_for_is_kept_with_the_price(ask, retail) -> None:
    retail.items[:] = [meter("Standard_D2s_v5", WEST, 1.0, currencyCode="EUR")]
    assert {one.price.currency for one in ask()} == {"EUR"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fail_page": 2}, "HTTP 503"),
        ({"fail_page": 2, "fail_status": 400}, "HTTP 400 .*backend is tired"),
        ({"truncate": True}, "no JSON: Unterminated"),
        ({"rubbish": b"<html>busy</html>"}, "no JSON.*busy"),
        ({"rubbish": b"[1, 2]"}, "without Items"),
        ({"rubbish": b'{"Items": [{"meterName": 5}]}'}, "cannot be read"),
        ({"endless": True}, "no end"),
        ({"hang": True}, "timed out"),
    ],
)
def test_a_list_that_is_not_whole_is_none(fault, words, ask, retail, monkeypatch) -> None:
    assert ask(), "control: without the fault there are offers"
    monkeypatch.setattr(azure_prices, "MAX_PAGES", 9)
    for name, value in fault.items():
        setattr(retail.http.faults, name, value)
    with pytest.raises(BrokerError, match=words):
        ask(timeout_s=0.3 if "hang" in fault else 5.0)


def test_a_passing_failure_is_tried_again(ask, retail, monkeypatch) -> None:
    monkeypatch.setattr(price_http, "PAUSE_S", 0.0)
    retail.http.faults.fail_page = 2
    with pytest.raises(BrokerError):
        ask(tries=3)
    assert retail.http.asked["page 2"] == 3


def test_the_pause_is_what_the_server_asks_for_up_to_a_bound(ask, retail, monkeypatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(price_http.time, "sleep", pauses.append)
    retail.http.faults.fail_page, retail.http.faults.fail_status = 1, 429
    for after in ("7", "9999", "soon"):
        retail.http.faults.fail_headers = (("Retry-After", after),)
        with pytest.raises(BrokerError, match="HTTP 429"):
            ask(tries=2)
    assert pauses == [7.0, 60.0, 0.5]


@pytest.mark.parametrize(
    "link",
    [
        "http://prices.example.com/api/retail/prices?$skip=4",
        "https://127.0.0.1/api/retail/prices?$skip=4",
        "http://127.0.0.1:1/api/retail/prices",
        "file:///etc/passwd",
    ],
)
def test_a_link_to_another_host_is_not_followed(link, ask, retail) -> None:
    retail.link = link
    with pytest.raises(RequestError, match="leads away") as caught:
        ask()
    assert caught.value.code == "CAT015"


def test_a_redirect_is_not_followed(ask, retail) -> None:
    retail.redirect = "http://prices.example.com/"
    with pytest.raises(RequestError, match="HTTP 302"):
        ask()


def test_a_link_that_comes_back_is_an_endless_list(ask, retail) -> None:
    retail.link = f"{retail.http.url}/api/retail/prices?$skip=4"
    with pytest.raises(RequestError, match="no end"):
        ask()


def test_a_reply_without_bounds_is_cut(ask, monkeypatch) -> None:
    monkeypatch.setattr(price_http, "MAX_BYTES", 1000)
    with pytest.raises(BrokerError, match="more than 1000 bytes"):
        ask()


def test_a_refusal_of_who_we_are_is_said_so(ask, retail) -> None:
    retail.http.faults.fail_page, retail.http.faults.fail_status = 1, 403
    with pytest.raises(AuthError):
        ask()


def test_the_stand_refuses_a_filter_beyond_the_documented(retail) -> None:
    """Control: a request that the page does not allow fails the test that made it."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    with pytest.raises(HTTPError):
        urlopen(f"{retail.http.url}/api/retail/prices?$filter=colour%20eq%20'blue'")
    assert "cannot filter by colour" in retail.http.violations[0]
    retail.http.violations.clear()
