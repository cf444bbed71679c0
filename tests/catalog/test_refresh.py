"""The law: a provider's new prices are published whole and alone, or its last good ones stay; a
crash, a second process and another provider's trouble change nothing of that."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from broker.catalog import Catalog, write
from broker.catalog.refresh import Job, refresh, to_rows
from broker.catalog.rows import Row, Source
from broker.cli.pricing import Broken
from broker.errors import AuthError, BrokerError, UsageError
from broker.model import Market, Offer, Price, Resources
from providers.fake_prices import FakePrices

OLD = Source("test list", "2026-01-01")
TODAY = "2026-11-21"


def row(name: str, region: str = "r1", micros: int | None = 1_000_000) -> Row:
    return Row(region, None, name, "on-demand", 2.0, 8.0, None, 0, micros, OLD)


def offer(name: str, region: str = "r1", usd: str | None = "1.0", currency: str = "USD") -> Offer:
    price = Price(Decimal(usd), TODAY, "live list", currency) if usd else None
    return Offer("p", region, None, name, Market.ON_DEMAND, 2.0, 8.0, price=price)


def names(count: int) -> list[str]:
    return [f"m{number}" for number in range(count)]


@pytest.fixture
def catalog(make_catalog, tmp_path: Path) -> Catalog:
    """Two providers with ten machines in each of two regions."""
    rows = [row(name, region) for region in ("r1", "r2") for name in names(10)]
    return make_catalog(tmp_path / "catalog.db", {"aws": rows, "azure": rows})


def live(count: int = 10, regions: tuple[str, ...] = ("r1", "r2"), **more) -> list[Offer]:
    return [offer(name, region, **more) for region in regions for name in names(count)]


def one(catalog: Catalog, offers: list[Offer], *, accept_shrink: bool = False, **more):
    job = Job("aws", FakePrices("aws", offers, **more))
    (found,) = refresh(catalog, [job], accept_shrink=accept_shrink)
    return found


def held(catalog: Catalog, provider: str = "aws") -> set[Row]:
    return set(catalog.rows(provider))


def test_new_prices_are_published_with_their_date_source_and_currency(catalog) -> None:
    found = one(catalog, [*live(9, usd="2"), offer("m9", usd="0.5"), offer("x", "r2")])
    assert found.published
    assert (found.offers, found.unpriced, found.as_of) == (20, 0, TODAY)
    change = found.change
    assert (change.dearer, change.cheaper, change.added, change.gone) == (18, 1, 1, 1)
    status = {one.provider: one for one in catalog.status().providers}["aws"]
    assert (status.origin, status.as_of, status.sources) == ("live", TODAY, ("live list",))
    cheapest = catalog.search(Resources(cloud="aws"), limit=1)[0]
    assert cheapest.price == Price(Decimal("0.5"), TODAY, "live list")


def test_a_price_that_nobody_says_stays_an_offer_of_unknown_price(catalog) -> None:
    found = one(catalog, [*live(), offer("mystery", usd=None), offer("free", usd="0")])
    assert (found.published, found.offers, found.unpriced) == (True, 22, 2)
    unknown = [offer for offer in catalog.search(Resources(cloud="aws")) if not offer.price]
    assert {offer.instance_type for offer in unknown} == {"mystery", "free"}


def test_a_sentinel_is_not_a_price(catalog) -> None:
    tpu = replace(offer("tpu-v2-8", usd="700"), accelerator="tpu-v2-8", accelerator_count=1)
    assert one(catalog, [*live(), tpu]).unpriced == 1


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ([], "an empty list"),
        ([offer("m1", usd=None)], "no price among them"),
        ([offer("m1", usd="0")], "no offer with a price"),
        (live(4), "lost 60% of its offers since 2026-01-01"),
        (live(10, ("r1",)), None),
        (live(30, ("r1",)), None),
        (live(10, currency="EUR"), "prices in EUR"),
        ([*live(), offer("m1", currency="CNY")], "prices in CNY"),
        (live(10, usd="100"), "half of the prices are 100 or more times"),
        (live(10, usd="0.01"), "half of the prices are a 100th"),
    ],
)
def test_what_cannot_be_believed_is_not_published(offers, words, catalog) -> None:
    before = held(catalog)
    found = one(catalog, offers)
    if words is None:
        assert found.published, "control: half of the offers or regions is enough"
        return
    assert found.error is not None
    assert words in found.error.message
    assert found.error.message.startswith("aws")
    assert (held(catalog), found.as_of) == (before, "2026-01-01")


def test_a_lost_region_is_named(catalog) -> None:
    assert one(catalog, live(10, ("r1",))).change.regions_lost == ("r2",)


def test_losing_most_regions_is_refused_however_many_offers_there_are(
    make_catalog, tmp_path
) -> None:
    rows = [row(name, region) for region in ("r1", "r2", "r3") for name in names(10)]
    catalog = make_catalog(tmp_path / "three.db", {"aws": rows})
    found = one(catalog, live(90, ("r1",)))
    assert found.error is not None
    assert "lost 2 of its 3 regions" in found.error.message


def test_a_shrunken_list_is_published_when_the_user_says_so(catalog) -> None:
    refused = one(catalog, live(1))
    assert refused.error is not None
    assert "--accept-shrink" in (refused.error.hint or "")
    assert one(catalog, live(1), accept_shrink=True).published
    assert len(held(catalog)) == 2


@pytest.mark.parametrize("offers", [[], [offer("m1", currency="EUR")]])
def test_nobody_can_ask_for_an_empty_or_incomparable_list(offers, catalog) -> None:
    before = held(catalog)
    assert not one(catalog, offers, accept_shrink=True).published
    assert held(catalog) == before


@pytest.mark.parametrize("good_for", [0, 7, 20])
@pytest.mark.parametrize("fault", [BrokerError("HTTP 503: tired"), KeyError("colour")])
def test_a_list_that_breaks_off_anywhere_changes_nothing(fault, good_for, catalog) -> None:
    before = held(catalog)
    found = one(catalog, live(usd="3"), fault=fault, good_for=good_for)
    assert found.error is not None
    assert ("tired" if isinstance(fault, BrokerError) else "KeyError") in found.error.message
    assert held(catalog) == before
    assert one(catalog, live(usd="3")).published, "control: without the fault it is published"


def test_one_providers_trouble_leaves_the_others_alone(catalog) -> None:
    jobs = [
        Job("aws", FakePrices("aws", fault=AuthError("who are you?"))),
        Job("azure", FakePrices("azure", live(usd="2"))),
        Job("gcp", FakePrices("gcp", live(3))),
    ]
    before = held(catalog)
    found = {one.provider: one for one in refresh(catalog, jobs)}
    assert [one.published for one in found.values()] == [False, True, True]
    assert (held(catalog), found["aws"].as_of) == (before, "2026-01-01")
    assert {row.micros for row in held(catalog, "azure")} == {2_000_000}
    assert len(held(catalog, "gcp")) == 6, "a provider without a last good one begins with this"


def test_a_source_that_could_not_be_made_says_why_and_the_others_go_on(catalog) -> None:
    broken = Broken("aws", UsageError("prices of aws need boto3, which is not installed"))
    jobs = [Job("aws", broken), Job("azure", FakePrices("azure", live(usd="2")))]
    missing, good = refresh(catalog, jobs)
    assert missing.error is broken.error
    assert good.published


def test_a_provider_that_does_not_answer_is_given_up(catalog) -> None:
    stuck = threading.Event()

    class Hanging:
        name = "aws"

        def offers(self):
            stuck.wait(30)
            yield offer("late")

    before = held(catalog)
    jobs = [Job("aws", Hanging()), Job("azure", FakePrices("azure", live(usd="2")))]
    late, good = refresh(catalog, jobs, limit_s=0.5)
    stuck.set()
    assert late.error is not None
    assert "no whole list of prices within 0.5 s" in late.error.message
    assert good.published
    assert held(catalog) == before


def test_only_the_regions_that_were_asked_for_are_replaced(catalog) -> None:
    source = FakePrices("aws", [*live(10, ("r1",), usd="2"), offer("stray", "r9")])
    (found,) = refresh(catalog, [Job("aws", source, frozenset({"r1"}))])
    assert found.published
    by_region = {
        where: {r.micros for r in held(catalog) if r.region == where} for where in ["r1", "r2"]
    }
    assert by_region == {"r1": {2_000_000}, "r2": {1_000_000}}
    assert {row.region for row in held(catalog)} == {"r1", "r2"}
    assert found.change.before == 10, "compared with the same regions only"
    (status,) = [one for one in catalog.status().providers if one.provider == "aws"]
    assert (status.as_of, status.newest) == ("2026-01-01", TODAY)


def test_a_named_region_without_prices_is_refused(catalog) -> None:
    source = FakePrices("aws", live(10, ("r1",)))
    (found,) = refresh(catalog, [Job("aws", source, frozenset({"r1", "r2"}))])
    assert found.error is not None
    assert "no priced offer in r2" in found.error.message


def test_a_provider_killed_in_the_middle_of_publishing_leaves_the_last_good(catalog) -> None:
    """Every step of the write, one process each: killed there, not told to stop."""
    before = held(catalog)
    code = """
import os, signal, sys
from broker.catalog import Catalog, write
from broker.catalog.refresh import Job, refresh
from providers.fake_prices import FakePrices
from decimal import Decimal
from broker.model import Market, Offer, Price
step = int(sys.argv[2])
done = 0
def mortal(function):
    def inner(*args, **kwargs):
        global done
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return function(*args, **kwargs)
    return inner
for name in ("remove", "ranked", "_store_sources", "_store_pool"):
    setattr(write, name, mortal(getattr(write, name)))
price = Price(Decimal(3), "2026-11-21", "live list")
offers = [
    Offer("aws", r, None, f"m{n}", Market.ON_DEMAND, 2.0, 8.0, price=price)
    for r in ("r1", "r2") for n in range(10)
]
refresh(Catalog(sys.argv[1]), [Job("aws", FakePrices("aws", offers))])
"""
    for step in (0, 1, 2, 3, 4, 99):
        argv = [sys.executable, "-c", code, str(catalog.path), str(step)]
        done = subprocess.run(argv, check=False, timeout=60)
        if step < 99:
            assert done.returncode == -signal.SIGKILL
            assert held(catalog) == before
    assert {row.micros for row in held(catalog)} == {3_000_000}, "control: not killed, published"


def test_two_processes_publish_one_after_the_other_and_each_whole(catalog) -> None:
    code = """
import sys
from decimal import Decimal
from broker.catalog import Catalog
from broker.catalog.refresh import Job, refresh
from broker.model import Market, Offer, Price
from providers.fake_prices import FakePrices
price = Price(Decimal(sys.argv[2]), "2026-11-21", "live list")
offers = [
    Offer("aws", r, None, f"m{n}", Market.ON_DEMAND, 2.0, 8.0, price=price)
    for r in ("r1", "r2") for n in range(10)
]
for _ in range(5):
    (found,) = refresh(Catalog(sys.argv[1]), [Job("aws", FakePrices("aws", offers))])
    assert found.published, found.error
"""
    argv = [sys.executable, "-c", code, str(catalog.path)]
    started = [subprocess.Popen([*argv, usd]) for usd in ("2", "3")]
    seen = set()
    while any(process.poll() is None for process in started):
        prices = frozenset(row.micros for row in held(catalog))
        seen.add(prices)
        assert len(prices) == 1, "half of one list and half of another"
    assert [process.returncode for process in started] == [0, 0]
    assert len(held(catalog)) == 20


def test_what_was_asked_of_a_provider_outlives_a_new_package(own) -> None:
    from contextlib import closing

    from broker.catalog import schema

    rows = own.rows("azure")
    offers = [
        Offer(
            "azure",
            r.region,
            r.zone,
            r.instance_type,
            Market(r.market),
            r.vcpus,
            r.memory_gib,
            r.accelerator,
            r.accelerator_count,
            price=Price(Decimal(r.micros) / 1_000_000, TODAY, "live list") if r.micros else None,
        )
        for r in rows
    ]
    (found,) = refresh(own, [Job("azure", FakePrices("azure", offers))])
    assert found.published
    before = own.search(Resources(cloud="azure"), limit=50)
    with closing(schema.connect(own.path)) as conn:
        schema.set_note(conn, "build", "of another package")
    own.ensure()
    assert own.search(Resources(cloud="azure"), limit=50) == before
    assert {one.provider: one.origin for one in own.status().providers}["azure"] == "live"


def test_a_catalog_that_cannot_be_written_is_said_and_kept(catalog, monkeypatch) -> None:
    import sqlite3

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    before = held(catalog)
    monkeypatch.setattr(write, "_store_pool", full)
    found = one(catalog, live(usd="2"))
    assert found.error is not None
    assert "disk is full" in found.error.message
    assert held(catalog) == before


def test_too_many_offers_are_refused(monkeypatch) -> None:
    from broker.catalog import refresh as module

    monkeypatch.setattr(module, "MAX_OFFERS", 5)
    assert len(to_rows("aws", iter(live(2)))) == 4
    with pytest.raises(BrokerError, match="more than 5 offers"):
        to_rows("aws", (offer(f"m{number}") for number in iter(int, 1)))


def test_eighty_thousand_offers_are_published_in_seconds(make_catalog, tmp_path) -> None:
    """A bound that only a mistake in the shape of the work would break, not a slow machine."""
    offers = [offer(name, f"r{region}") for region in range(40) for name in names(2000)]
    catalog = make_catalog(tmp_path / "many.db", {"aws": [row("m1")]})
    begun = time.process_time()
    assert one(catalog, offers).offers == 80_000
    assert one(catalog, offers).change.before == 80_000
    assert time.process_time() - begun < 30
