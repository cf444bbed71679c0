"""Each real source through its real client into the catalog: whatever its server does wrong, the
last good offers stay and the result says why; without the fault the new ones are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from broker.catalog import Catalog
from broker.catalog.refresh import Job, refresh
from broker.catalog.rows import Row, Source
from providers import aws_prices, azure_prices, gcp_prices
from providers.price_registry import Shape, build
from tests.stands.aws_prices import AwsPrices, machine, product, spot
from tests.stands.azure_retail import AzureRetail, meter
from tests.stands.gcp_billing import GcpBilling, sku
from tests.stands.price_faults import serving

REGIONS = ("r1", "r2")
NAMES = {
    "aws": [f"m{number}.large" for number in range(8)],
    "azure": [f"Standard_D{number}" for number in range(8)],
    "gcp": [f"n1-standard-{number}" for number in range(1, 9)],
}


def aws(regions: tuple[str, ...], currency: str) -> AwsPrices:
    names = NAMES["aws"]
    return AwsPrices(
        [product(name, where, "0.1", currency=currency) for where in regions for name in names],
        spot={where: [spot(name, f"{where}a", "0.04") for name in names] for where in regions},
        zones={where: {name: [f"{where}a"] for name in names} for where in regions},
        machines=[machine(name, 2, 8) for name in names],
        regions=REGIONS,
        page=3,
    )


def azure(regions: tuple[str, ...], currency: str) -> AzureRetail:
    names = NAMES["azure"]
    return AzureRetail(
        [meter(name, where, 0.1, currencyCode=currency) for where in regions for name in names],
        page=3,
    )


def gcp(regions: tuple[str, ...], currency: str) -> GcpBilling:
    parts = [f"N1 Predefined Instance {part} running in" for part in ("Core", "Ram")]
    others = [f"Licence {number}" for number in range(4)]
    return GcpBilling(
        [
            sku(f"{words} {where}", "0.02", where, currency=currency)
            for words in [*parts, *others]
            for where in regions
        ]
    )


WORLDS: dict[str, Callable] = {"aws": aws, "azure": azure, "gcp": gcp}
MODULES = {"aws": aws_prices, "azure": azure_prices, "gcp": gcp_prices}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


@pytest.fixture
def refreshed(make_catalog, tmp_path, monkeypatch, stack: ExitStack) -> Callable:
    """Ask a provider's stand, with faults, over a catalog that has two regions of it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

    def run(provider: str, *, regions=REGIONS, currency="USD", named=(), timeout_s=5.0, **faults):
        old = Source("old list", "2026-01-01")
        rows = [
            Row(where, None, name, market, 2.0, 8.0, None, 0, 90_000, old)
            for where in REGIONS
            for name in NAMES[provider]
            for market in ("on-demand", "spot")
        ]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        catalog: Catalog = make_catalog(path, {provider: rows})
        server = stack.enter_context(serving(WORLDS[provider](regions, currency).server()))
        for name, value in faults.items():
            setattr(server.faults, name, value)
        shapes = tuple(
            Shape(name, 2.0, 8.0, None, 0, dict.fromkeys(REGIONS, ())) for name in NAMES[provider]
        )
        source = build(
            provider,
            {
                "name": provider,
                "now": datetime(2026, 11, 21, tzinfo=UTC),
                "endpoint": server.url,
                "shapes": shapes,
                "regions": named,
                "timeout_s": timeout_s,
                "tries": 1,
            },
        )
        monkeypatch.setattr(MODULES[provider], "MAX_PAGES", 20)
        before = set(catalog.rows(provider))
        (found,) = refresh(catalog, [Job(provider, source, frozenset(named))])
        return found, set(catalog.rows(provider)) == before

    return run


@pytest.mark.parametrize("provider", WORLDS)
def test_control_without_a_fault_the_prices_are_published(provider, refreshed) -> None:
    found, same = refreshed(provider)
    assert found.published, found.error
    assert not same
    assert found.as_of == "2026-11-21"


@pytest.mark.parametrize("provider", WORLDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"fail_page": 2},
        {"fail_page": 1, "fail_status": 403},
        {"truncate": True},
        {"rubbish": b"\x00\x01 no such thing"},
        {"rubbish": b"{}"},
        {"empty": True},
        {"hang": True, "timeout_s": 0.2},
        {"endless": True},
        {"currency": "EUR"},
        {"regions": ("r1",), "named": REGIONS},
        {"regions": ("r9",)},
    ],
    ids=lambda fault: "-".join(map(str, fault)),
)
def test_whatever_goes_wrong_the_last_good_is_kept_and_it_is_said(
    fault, provider, refreshed
) -> None:
    found, same = refreshed(provider, **fault)
    assert same
    assert found.error is not None
    assert found.error.message.startswith(f"{provider}: ")
    assert len(found.error.message) > len(provider) + 10
    assert (found.as_of, found.offers) == ("2026-01-01", 32)
