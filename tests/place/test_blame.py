"""The law: an offer is blamed exactly when it is refused, by every rule that speaks against it, and
the counts of all blames and of what is allowed add up to what was considered."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from broker.model import (
    AtLeast,
    Decision,
    Demand,
    Kind,
    Market,
    Offer,
    Price,
    Reason,
    Resources,
    Site,
)
from broker.place.blame import Blames, complete, explain, furthest
from broker.place.choose import place

POLICY = Reason(Kind.POLICY, "eu-only", "US", "EU")
prices = st.none() | st.builds(
    Price,
    st.sampled_from([Decimal(cents) / 100 for cents in (1, 2, 3, 50, 100)]),
    st.just("2026-01-01"),
    st.just("test"),
    st.sampled_from(["USD", "USD", "EUR"]),
)
offers_of_any_kind = st.builds(
    Offer,
    cloud=st.sampled_from(["aws", "gcp", "local"]),
    region=st.sampled_from(["r1", "r2"]),
    zone=st.sampled_from([None, "r1-a"]),
    instance_type=st.sampled_from(["small", "large"]),
    market=st.sampled_from(Market),
    vcpus=st.sampled_from([None, 1.0, 4.0]),
    memory_gib=st.sampled_from([None, 2.0, 16.0]),
    accelerator=st.sampled_from([None, "L4"]),
    accelerator_count=st.sampled_from([0.0, 1.0]),
    price=prices,
    site=st.builds(Site, carbon_g_per_kwh=st.sampled_from([None, 20.0, 400.0])),
    available=st.booleans(),
    left=st.sampled_from([None, 0, 1, 5]),
)
amounts = st.none() | st.builds(AtLeast, st.sampled_from([1.0, 4.0]), st.booleans())
anything_asked = st.builds(
    Resources,
    accelerator=st.sampled_from([None, "L4"]),
    cpus=amounts,
    memory_gib=amounts,
    market=st.none() | st.sampled_from(Market),
    region=st.sampled_from([None, "r1"]),
    instance_type=st.sampled_from([None, "small"]),
    max_usd_per_hour=st.sampled_from([None, Decimal("0.02"), Decimal(1)]),
)
demands = st.builds(
    Demand,
    name=st.just("train"),
    alternatives=st.lists(anything_asked, max_size=3).map(tuple),
    nodes=st.integers(1, 3),
    duration_h=st.sampled_from([None, Decimal(1), Decimal("0.5")]),
    budget_usd=st.sampled_from([None, Decimal("0.04"), Decimal(2)]),
)
LOCKED = {"local": "asleep"}


def judge_by_region(offer: Offer) -> Decision:
    """Refuses by two rules, one of which speaks twice."""
    spot = Reason(Kind.POLICY, "spot", "spot", "on-demand")
    twice = [Reason(Kind.POLICY, "region", offer.region, wanted) for wanted in ("r1", "r3")]
    reasons = [
        *(twice if offer.region == "r2" else []),
        *([spot] if offer.market is Market.SPOT else []),
    ]
    return Decision(offer, tuple(reasons))


@given(demands, st.lists(offers_of_any_kind, max_size=30))
def test_counts_add_up_to_what_was_considered(demand, offers) -> None:
    plan = place(demand, offers, judge_by_region, LOCKED)
    blames = explain(demand, offers, judge_by_region, LOCKED)
    assert plan.allowed + sum(one.count for one in blames) == plan.considered == len(offers)


@given(demands, offers_of_any_kind)
def test_an_offer_is_blamed_exactly_when_it_is_refused_and_the_first_reason_is_among_the_blames(
    demand, offer
) -> None:
    plan = place(demand, [offer], judge_by_region, LOCKED)
    blames = explain(demand, [offer], judge_by_region, LOCKED)
    assert len(blames) == len(plan.refusals) == 1 - plan.allowed
    for one, line in zip(blames, plan.refusals, strict=True):
        kinds = {reason.kind for reason in one.reasons}
        assert line.reason.kind in kinds
        assert tuple((reason.kind, reason.rule) for reason in one.reasons) == one.rules
        assert one.rules == tuple(sorted(set(one.rules)))
        assert one.cheapest == offer


@given(demands, st.lists(offers_of_any_kind, max_size=30), st.randoms())
def test_the_order_of_offers_does_not_matter(demand, offers, random) -> None:
    def shown() -> list[tuple[object, ...]]:
        blames = explain(demand, offers, judge_by_region, LOCKED)
        return [(one.rules, one.count, one.cheapest.key) for one in blames]

    before = shown()
    random.shuffle(offers)
    assert shown() == before


def test_every_rule_that_refuses_is_named_not_only_the_first(an_offer, a_demand) -> None:
    demand = a_demand(
        Resources(cpus=AtLeast(4), memory_gib=AtLeast(4), max_usd_per_hour=Decimal("0.5")),
        nodes=3,
        duration_h=Decimal(1),
        budget_usd=Decimal(1),
    )
    offer = an_offer("1", cloud="local", left=2)
    reasons = complete(demand, offer, lambda one: Decision(one, (POLICY,)), LOCKED)
    assert [(one.kind, one.rule) for one in reasons] == [
        (Kind.REQUEST, "cpus"),
        (Kind.REQUEST, "memory"),
        (Kind.CREDENTIAL, "local"),
        (Kind.CAPACITY, "capacity"),
        (Kind.POLICY, "eu-only"),
        (Kind.PRICE, "max_hourly_cost"),
        (Kind.BUDGET, "budget"),
    ]
    assert (reasons[3].saw, reasons[3].wanted) == ("2 left", "3 machines")


def test_a_price_in_another_currency_is_not_known(an_offer, a_demand) -> None:
    offer = an_offer(None)
    foreign = replace(offer, price=Price(Decimal(3), "2026-01-01", "test", "EUR"))
    for one, saw in ((offer, "price unknown"), (foreign, "price in EUR only")):
        demand = a_demand(Resources(max_usd_per_hour=Decimal(1)), budget_usd=Decimal(1))
        (reason,) = complete(demand, one, Decision, {})
        assert (reason.kind, reason.rule, reason.saw) == (Kind.PRICE, "price", saw)


def test_an_alternative_that_misses_fewer_fields_speaks_then_one_that_can_be_paid(
    an_offer,
) -> None:
    offer = an_offer("2")
    far = Resources(cpus=AtLeast(4), memory_gib=AtLeast(4))
    dear = Resources(cpus=AtLeast(4), max_usd_per_hour=Decimal(1))
    near = Resources(memory_gib=AtLeast(4))
    tight = Resources(max_usd_per_hour=Decimal("0.5"))
    loose = Resources(max_usd_per_hour=Decimal(1))
    assert furthest((far, dear, near), offer) is near
    assert furthest((tight, loose, near), offer) is loose
    assert furthest((), offer) is None


def test_of_offers_refused_alike_the_cheapest_is_the_example_in_any_order(an_offer) -> None:
    dear, cheap, odd = an_offer("3"), an_offer("1"), an_offer(None)
    for order in ((dear, cheap, odd), (cheap, odd, dear)):
        blames = Blames()
        for offer in order:
            blames.add((Reason(Kind.POLICY, "eu", offer.key, "EU"),), offer, 2)
        blames.add((), dear)
        (one,) = blames.all()
        assert (one.count, one.cheapest) == (6, cheap)


def test_all_that_a_rule_saw_and_wanted_is_told_once(an_offer) -> None:
    said = [("US", "EU"), ("log in US", "log: EU"), ("US", "EEA"), ("far", "EU")]
    blames = Blames()
    blames.add(tuple(Reason(Kind.POLICY, "eu", *words) for words in said), an_offer())
    ((reason,),) = [one.reasons for one in blames.all()]
    assert (reason.saw, reason.wanted) == ("US; log in US; far", "EU; log: EU; EEA")


def test_the_largest_groups_come_first_and_of_equals_the_fewest_rules(an_offer) -> None:
    blames = Blames()
    other = Reason(Kind.POLICY, "clean", "dirty", "clean")
    blames.add((POLICY, other), an_offer(), 2)
    blames.add((POLICY,), an_offer(), 2)
    blames.add((other,), an_offer(), 3)
    assert [[rule for _, rule in one.rules] for one in blames.all()] == [
        ["clean"],
        ["eu-only"],
        ["clean", "eu-only"],
    ]
