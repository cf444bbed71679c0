"""The law: listing through the catalog's file gives what looking at every offer as an object gives."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import pool
from broker.catalog import write
from broker.catalog.browse import Filter, Order, Stock, by_price, by_word, groups, page
from broker.catalog.rows import Row, Source
from broker.model import Market, Offer, Price
from broker.place.tally import cheapness

SOURCE = Source("a list", "2026-01-01")
REGIONS = {"aws": ("eu-north-1", "us-east-1", "nowhere-1"), "gcp": ("europe-west4", "us-central1")}
CLOUDS = (None, {"aws": None, "gcp": None}, {"aws": None, "aws@lab": frozenset({"us-east-1"})})
ORDERS = {
    "price": lambda _: by_price(),
    "price, most first": lambda _: by_price(descending=True),
    "price each": lambda _: Order(
        "micros", lambda one: 1 / one.accelerator_count if one.accelerator else None
    ),
    "carbon": lambda _: Order("1", lambda one: one.site.carbon_g_per_kwh),
    "memory, most first": lambda _: Order("memory_gib", lambda _: 1.0, descending=True),
    "region": lambda among: by_word(lambda one: one.region, among, descending=False),
    "country, last first": lambda among: by_word(
        lambda one: one.site.country, among, descending=True
    ),
}
EDGE = Offer(
    "edge",
    "oslo",
    None,
    "",
    Market.OWNED,
    8.0,
    32.0,
    "L4",
    1.0,
    Price(Decimal(0), "2026-01-01", ""),
)


def rows_of(provider: str, random: Random) -> list[Row]:
    found = {}
    for _ in range(random.randint(0, 60)):
        region = random.choice(REGIONS[provider])
        accelerator = random.choice([(None, 0.0), ("L4", 1.0), ("A100", 8.0)])
        row = Row(
            region,
            random.choice([None, f"{region}a"]),
            f"s{random.randint(0, 12)}",
            random.choice(["spot", "on-demand"]),
            random.choice([None, 2.0, 4.0]),
            random.choice([None, 4.0, 32.0]),
            *accelerator,
            random.choice([None, *(tenths * 100_000 for tenths in range(1, 5))]),
            SOURCE,
        )
        found[write.name(row)] = row
    return list(found.values())


def a_filter(random: Random) -> Filter:
    def some(*choices):
        return random.choice(choices) if random.random() < 0.4 else None

    return Filter(
        accelerators=some((("L4", 0.0),), (("a100", 8.0), ("L4", 1.0))) or (),
        accelerator_memory_gib=some(24.0, 60.0),
        cpus=some(2.0, 3.0),
        memory_gib=some(8.0),
        instance_types=some(frozenset({"s1", "s2", "s3"})) or frozenset(),
        clouds=some(frozenset({"aws"}), frozenset({"aws@lab", "edge"})) or frozenset(),
        regions=some(frozenset({"us-east-1"})) or frozenset(),
        countries=some(frozenset({"US", "SE"})) or frozenset(),
        blocs=some(frozenset({"EU"})) or frozenset(),
        markets=some(frozenset({Market.SPOT})) or frozenset(),
        max_usd_per_hour=some(Decimal("0.2"), Decimal("0.25")),
        max_carbon_g_per_kwh=some(100.0),
    )


@pytest.mark.parametrize("name", sorted(ORDERS))
@given(seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_a_page_is_the_head_of_all_offers_filtered_and_sorted(name, seed, make_catalog):
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = {provider: rows_of(provider, random) for provider in REGIONS}
        catalog = make_catalog(Path(folder) / "catalog.db", rows)
        clouds, wanted, limit = random.choice(CLOUDS), a_filter(random), random.choice([1, 5, None])
        everything = list(pool.offers(pool.snapshot(catalog, clouds, [EDGE])))
        kept = [one for one in everything if wanted.suits(one) and wanted.fits(one)]
        by = ORDERS[name](everything)
        with catalog.open() as conn:
            found = page(conn, Stock(catalog.pools(clouds), [EDGE]), wanted, ORDERS[name], limit)
    expected = sorted(kept, key=lambda one: (by.key(one), *cheapness(one)))[:limit]
    assert found.total == len(kept)
    if name.startswith(("region", "country")):  # ranks among what is left: the same order
        by = ORDERS[name](kept)
        expected = sorted(kept, key=lambda one: (by.key(one), *cheapness(one)))[:limit]
    assert [one.key for one in found.offers] == [one.key for one in expected]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_groups_count_every_wanted_offer_once(seed, make_catalog):
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = {provider: rows_of(provider, random) for provider in REGIONS}
        catalog = make_catalog(Path(folder) / "catalog.db", rows)
        clouds, wanted = random.choice(CLOUDS), a_filter(random)
        everything = list(pool.offers(pool.snapshot(catalog, clouds, [EDGE])))
        with catalog.open() as conn:
            found = groups(conn, Stock(catalog.pools(clouds), [EDGE]), wanted, by_cloud)
    naive = defaultdict(list)
    for one in everything:
        if wanted.suits(one) and wanted.fits(one):
            naive[by_cloud(one)].append(one.price.usd_per_hour if one.price else None)
    assert {one.facts: one.offers for one in found} == {k: len(v) for k, v in naive.items()}
    for one in found:
        prices = [usd for usd in naive[one.facts] if usd is not None]
        assert (one.priced, one.least) == (len(prices), min(prices, default=None))
        assert one.most == max(prices, default=None)


def by_cloud(offer: Offer) -> tuple[str, ...]:
    return (offer.cloud, offer.market.value)


def test_a_filter_that_asks_for_nothing_takes_everything(built):
    with built.open() as conn:
        found = page(conn, Stock(built.pools()), Filter(), lambda _: by_price(), 3)
    assert found.total == built.status().offers
    assert len(found.offers) == 3


def test_what_is_not_known_is_not_taken_for_good(an_unknown):
    assert not Filter(cpus=1).fits(an_unknown)
    assert not Filter(max_usd_per_hour=Decimal(9)).fits(an_unknown)
    assert not Filter(max_carbon_g_per_kwh=9999).suits(an_unknown)
    assert not Filter(accelerator_memory_gib=1).suits(an_unknown)
    assert Filter().suits(an_unknown)
    assert Filter().fits(an_unknown)


@pytest.fixture
def an_unknown() -> Offer:
    return replace(EDGE, vcpus=None, memory_gib=None, price=None)
