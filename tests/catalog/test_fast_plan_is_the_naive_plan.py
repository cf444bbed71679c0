"""The law: deciding pool by pool and counting in SQL gives the very plan that looking at every
offer as an object gives, whatever the offers, the request, the judge and the clouds' names."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import pool
from broker.catalog import write
from broker.catalog.rows import Row, Source
from broker.model import (
    AtLeast,
    Decision,
    Demand,
    Finding,
    Kind,
    Location,
    Market,
    Offer,
    Price,
    Reason,
    Resources,
    Verdict,
)
from broker.place.blame import explain
from broker.place.choose import place

SOURCES = (
    Source("old list", "2025-01-01"),
    Source("new list", "2026-01-01"),
    Source("foreign list", "2026-01-01", "EUR"),
)
REGIONS = {
    "aws": ("eu-north-1", "us-east-1", "nowhere-1"),
    "gcp": ("europe-west4", "us-central1"),
}
CAPS = (None, None, Decimal("0.2"), Decimal("0.35"), Decimal("0.1"))
AMOUNTS = (2.0, 4.0, 3.75, 16.0)
LOCKED = ({}, {}, {"aws@lab": "no key"}, {"aws": "expired", "local": "asleep"})


def rows_of(provider: str, random: Random) -> list[Row]:
    """Up to 60 rows in at most five pools, so that pools have several and prices are equal."""
    pools = [pool_facts(provider, random) for _ in range(random.randint(1, 5))]
    rows = [a_row(*random.choice(pools), random) for _ in range(random.randint(0, 60))]
    # offers of one name differ in nothing: which of two equals is shown is not a law
    return list({write.name(row): row for row in rows}.values())


def pool_facts(provider: str, random: Random) -> tuple:
    region = random.choice(REGIONS[provider])
    return (
        region,
        random.choice([None, f"{region}a", f"{region}b"]),
        random.choice(["spot", "on-demand"]),
        random.choice([(None, 0.0), (None, 0.0), ("L4", 1.0), ("L4", 8.0)]),
        random.choice(SOURCES),
    )


def a_row(region, zone, market, accelerator, source, random: Random) -> Row:
    name = random.choice(["", "m", *(f"s{number}" for number in range(20))])
    vcpus = random.choice([None, 2.0, 4.0, 8.0])
    memory = random.choice([None, 4.0, 3.75, 32.0])
    micros = random.choice([None, *(tenths * 100_000 for tenths in range(1, 6))])
    return Row(region, zone, name, market, vcpus, memory, *accelerator, micros, source)


def an_amount(random: Random) -> AtLeast | None:
    return usually_none(random, AtLeast(random.choice(AMOUNTS), random.random() < 0.7))


def usually_none(random: Random, *others):
    return random.choice(others) if random.random() < 0.3 else None


def an_alternative(random: Random) -> Resources:
    line = Location("task.yaml", random.randint(1, 9))
    return Resources(
        accelerator=usually_none(random, "L4"),
        accelerator_count=random.choice([0.0, 1.0, 8.0]),
        cpus=an_amount(random),
        memory_gib=an_amount(random),
        market=usually_none(random, Market.SPOT, Market.ON_DEMAND),
        cloud=usually_none(random, "aws", "aws@lab"),
        region=usually_none(random, "eu-north-1", "europe-west4"),
        zone=usually_none(random, "eu-north-1a"),
        instance_type=usually_none(random, "m", "s1"),
        max_usd_per_hour=random.choice(CAPS),
        locations={"cpus": line, "max_hourly_cost": line},
    )


def a_demand(random: Random) -> Demand:
    return Demand(
        name="train",
        alternatives=tuple(an_alternative(random) for _ in range(random.choice([0, 1, 1, 2, 3]))),
        nodes=random.randint(1, 3),
        duration_h=random.choice([None, Decimal(1), Decimal(3)]),
        budget_usd=random.choice([None, None, Decimal("0.6"), Decimal("0.9")]),
    )


def some_clouds(random: Random) -> dict[str, frozenset[str] | None] | None:
    known = {
        "aws": random.choice([None, frozenset({"eu-north-1"})]),
        "aws@lab": random.choice([None, frozenset({"us-east-1", "nowhere-1"})]),
        "gcp": None,
    }
    named = random.sample(sorted(known), random.randint(0, 3))
    return random.choice([None, {name: known[name] for name in named}])


local = Offer(
    cloud="local",
    region="here",
    zone=None,
    instance_type="process",
    market=Market.OWNED,
    vcpus=2.0,
    memory_gib=4.0,
    price=Price(Decimal("0.2"), "2026-01-01", "owned"),
)
reserved = replace(local, cloud="aws", market=Market.RESERVED, left=2, reservation="cr-1")


class ByPool:
    """Looks at what the offers of a pool share, and says so."""

    facts = frozenset({"site.country", "market", "zone", "price.source"})
    bounds = ()

    def __call__(self, offer: Offer) -> Decision:
        spot_abroad = offer.market is Market.SPOT and offer.site.country != "SE"
        no = Reason(Kind.POLICY, "home", offer.site.country or "unknown", "SE or on-demand")
        old = offer.price is not None and offer.price.source == "old list"
        return Decision(offer, (no,) if spot_abroad else (), 2 * old + ("1b" in (offer.zone or "")))


class ByPrice:
    """Has caps, one of them in one place only, a floor, and a preference for what is cheap."""

    facts = frozenset({"region"})
    bounds = (Decimal("0.45"), Fraction(1, 3), Decimal("0.1"), Decimal("0.2"))

    def __call__(self, offer: Offer) -> Decision:
        if offer.price is None:
            return Decision(offer, (Reason(Kind.PRICE, "cap", "price unknown", "less"),))
        usd = offer.price.usd_per_hour
        cap = Decimal("0.45") if offer.region == "us-east-1" else Fraction(1, 3)
        reasons = [Reason(Kind.PRICE, "cap", f"{usd}", "less")] if usd > cap else []
        if usd <= Decimal("0.1"):
            reasons.append(Reason(Kind.POLICY, "floor", f"{usd}", "more"))
        return Decision(offer, tuple(reasons), int(usd <= Decimal("0.2")))


class ByOffer:
    """Looks at the machine itself, and says so."""

    facts = frozenset({"vcpus", "instance_type"})
    bounds = ()

    def __call__(self, offer: Offer) -> Decision:
        no = Reason(Kind.POLICY, "small", f"{offer.vcpus}", "at most 4", Location("p.yaml", 3))
        return Decision(offer, (no,) if (offer.vcpus or 0) > 4 else (), offer.instance_type == "s")


class ByEveryPrice:
    """Computes with the price itself, so that no bound says when it changes its mind."""

    facts = frozenset({"price", "memory_gib", "region"})
    bounds = (Decimal("0.45"),)

    def __call__(self, offer: Offer) -> Decision:
        tenths = offer.price.usd_per_hour * 10 if offer.price else 0
        odd = Reason(Kind.POLICY, "odd", f"{tenths}", "even")
        big = Reason(Kind.POLICY, "big", f"{offer.memory_gib}", "known and small")
        reasons = [odd] if tenths % 2 else []
        reasons += [big] if (offer.memory_gib or 99) > 8 else []
        weight = Decimal("0.15") if offer.region == "us-east-1" else Decimal(0)
        return Decision(offer, tuple(reasons), weight_usd_per_hour=weight)


def silent(offer: Offer) -> Decision:
    """Does not say what it looks at."""
    return ByPool()(offer)


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=True))
def test_the_fast_plan_is_the_naive_plan(make_catalog, random) -> None:
    rows = {provider: rows_of(provider, random) for provider in REGIONS}
    demand, locked = a_demand(random), random.choice(LOCKED)
    judge = random.choice([ByPool(), ByPrice(), ByOffer(), ByEveryPrice(), silent])
    with tempfile.TemporaryDirectory() as folder:
        catalog = make_catalog(Path(folder) / "catalog.db", rows)
        candidates = pool.snapshot(catalog, some_clouds(random), [local, reserved], locked)
        fast = pool.plan(demand, candidates, judge)
        blames = pool.blame(demand, candidates, judge)
        offers = list(pool.offers(candidates))
    naive = place(demand, offers, judge, locked)
    assert blames == explain(demand, offers, judge, locked)
    assert fast.allowed + sum(one.count for one in blames) == len(offers)
    assert fast == replace(naive, catalog_as_of=candidates.as_of)
    assert fast.considered == len(offers)
    assert fast.allowed + sum(line.count for line in fast.refusals) == len(offers)


def test_more_equal_prices_than_fallbacks_are_cut_by_name(make_catalog, tmp_path) -> None:
    types = [f"m{number:03}" for number in range(120)]
    rows = [
        Row("eu-north-1", zone, name, "spot", 2.0, 4.0, None, 0.0, 10, SOURCES[0])
        for name in types
        for zone in ("a", "b")
    ]
    candidates = pool.snapshot(make_catalog(tmp_path / "catalog.db", {"aws": rows}))
    fast = pool.plan(Demand("any", (Resources(),)), candidates, ByPool())
    naive = place(Demand("any", (Resources(),)), pool.offers(candidates), ByPool())
    assert fast == replace(naive, catalog_as_of="2025-01-01")
    assert len(fast.placements[0].fallbacks) == 49


def test_without_a_catalog_the_extra_offers_are_all_there_is() -> None:
    candidates = pool.snapshot(None, extra_offers=[local])
    assert list(pool.offers(candidates)) == [local]
    found = pool.plan(Demand("any", (Resources(),)), candidates, ByOffer())
    assert found.placements[0].offer == local
    assert found.catalog_as_of is None


def row(name: str, micros: int | None, region: str = "eu-north-1", **facts) -> Row:
    made = Row(region, None, name, "spot", 2.0, 4.0, None, 0.0, micros, SOURCES[0])
    return made._replace(**facts)


SMALL = Demand("any", (Resources(),))
BIG = AtLeast(64.0)


@pytest.mark.parametrize(
    ("rows", "demand", "judge"),
    [
        pytest.param(
            [row("floor", 100_000), row("preferred", 200_000), row("usual", 200_001)],
            SMALL,
            ByPrice(),
            id="a price that is a bound is still below it",
        ),
        pytest.param(
            [row("s", 1), row("m", 2)],
            Demand(
                "any",
                tuple(
                    Resources(cpus=BIG, instance_type=name, locations={"cpus": Location("t", line)})
                    for name, line in (("s", 7), (None, 3))
                ),
            ),
            ByPool(),
            id="of equally deep alternatives the first refuses",
        ),
        pytest.param(
            [row("a", 5, "us-east-1"), row("b", 5, "eu-north-1"), row("c", 5, "nowhere-1")],
            Demand("any", (Resources(cpus=BIG),)),
            ByPool(),
            id="the cheapest example is the cleanest of equal prices",
        ),
    ],
)
def test_the_fast_plan_is_the_naive_plan_at_the_edges(
    rows, demand, judge, make_catalog, tmp_path
) -> None:
    candidates = pool.snapshot(make_catalog(tmp_path / "catalog.db", {"aws": rows}))
    naive = place(demand, pool.offers(candidates), judge)
    assert pool.plan(demand, candidates, judge) == replace(naive, catalog_as_of="2025-01-01")
    blames = explain(demand, pool.offers(candidates), judge)
    assert pool.blame(demand, candidates, judge) == blames


class Telling(ByPrice):
    """Tells what it looked at, as the judge of policies does."""

    def trace(self, offer: Offer) -> Decision:
        return replace(self(offer), findings=(Finding("cap", Verdict.PASSES),))


def test_an_explained_plan_is_the_same_plan_with_all_that_can_be_said_of_it(
    make_catalog, tmp_path
) -> None:
    rows = [row("cheap", 200_000), row("floor", 100_000), row("dear", 500_000), row("odd", None)]
    candidates = pool.snapshot(
        make_catalog(tmp_path / "catalog.db", {"aws": rows}), extra_offers=[local, reserved]
    )
    plain = pool.plan(SMALL, candidates, Telling())
    full = pool.plan(SMALL, candidates, Telling(), explain=True)
    assert replace(full, blames=(), ways_out=(), tolls=(), decisions=()) == plain
    assert sum(one.count for one in full.blames) == full.considered - full.allowed == 3
    assert [way.reasons[0].rule for way in full.ways_out] == ["floor", "cap"]
    assert [(toll.reason.rule, toll.usd_per_hour) for toll in full.tolls] == [
        ("floor", Decimal("0.1"))
    ]
    (placement,) = full.placements
    told = [decision.offer for decision in full.decisions]
    assert told == [placement.offer, *placement.fallbacks]
    assert all("cap" in [one.rule for one in each.findings] for each in full.decisions)


def test_a_plan_without_a_candidate_still_says_what_would_admit_some(
    make_catalog, tmp_path
) -> None:
    made = make_catalog(tmp_path / "catalog.db", {"aws": [row("dear", 500_000)]})
    found = pool.plan(SMALL, pool.snapshot(made), ByPrice(), explain=True)
    assert (found.tolls, found.decisions) == ((), ())
    assert [way.offers for way in found.ways_out] == [1]
