"""The law: every offer is counted exactly once, the cheapest allowed one is chosen, and the same
offers in any order give the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import (
    AtLeast,
    Decision,
    Demand,
    Kind,
    Location,
    Market,
    Offer,
    Plan,
    Price,
    Reason,
    Resources,
    Site,
)
from broker.place.choose import FALLBACKS, place
from broker.place.tally import ranking


def anything(offer: Offer) -> Decision:
    return Decision(offer)


def rules(plan: Plan) -> dict[tuple[Kind, str], int]:
    return {(line.reason.kind, line.reason.rule): line.count for line in plan.refusals}


def chosen(plan: Plan) -> str:
    return plan.placements[0].offer.instance_type


def test_the_cheapest_offer_that_fits_is_chosen_and_the_next_are_fallbacks(
    an_offer, a_demand
) -> None:
    offers = [an_offer(str(usd), instance_type=f"m{usd}") for usd in (3, 1, 2)]
    plan = place(a_demand(), offers, anything)
    (placement,) = plan.placements
    assert placement.offer.instance_type == "m1"
    assert [offer.instance_type for offer in placement.fallbacks] == ["m2", "m3"]
    assert (plan.considered, plan.allowed, plan.refusals) == (3, 3, ())


def test_at_most_49_fallbacks_are_kept(an_offer, a_demand) -> None:
    offers = [an_offer(str(usd), instance_type=f"m{usd}") for usd in range(1, 101)]
    plan = place(a_demand(), offers, anything)
    assert len(plan.placements[0].fallbacks) == FALLBACKS == 49
    assert plan.allowed == 100


def test_costs_are_of_all_nodes_and_expected_only_with_a_duration(an_offer, a_demand) -> None:
    offers = [an_offer("1.5")]
    (placement,) = place(a_demand(nodes=3), offers, anything).placements
    assert (placement.usd_per_hour, placement.usd_expected) == (Decimal("4.5"), None)
    (placement,) = place(a_demand(nodes=3, duration_h=Decimal(2)), offers, anything).placements
    assert placement.usd_expected == Decimal(9)


@pytest.mark.parametrize(
    ("hours", "budget", "most"),
    [(None, None, None), ("2", None, "18"), (None, "7", "7"), ("2", "19", "18")],
)
def test_the_most_is_what_the_dearest_candidate_takes_but_never_more_than_the_budget(
    hours, budget, most, an_offer, a_demand
) -> None:
    demand = a_demand(
        nodes=3,
        duration_h=None if hours is None else Decimal(hours),
        budget_usd=None if budget is None else Decimal(budget),
    )
    offers = [an_offer("1.5"), an_offer("3", instance_type="dear")]
    (placement,) = place(demand, offers, anything).placements
    assert placement.usd_most == (None if most is None else Decimal(most))


def test_a_budget_that_some_candidates_keep_bounds_the_most(an_offer, a_demand) -> None:
    demand = a_demand(nodes=3, duration_h=Decimal(2), budget_usd=Decimal(17))
    (placement,) = place(demand, [an_offer("1.5"), an_offer("3")], anything).placements
    assert (placement.usd_expected, placement.usd_most) == (9, 9)


def test_fewer_machines_left_than_nodes_is_no_capacity(an_offer, a_demand) -> None:
    offers = [an_offer("1", left=1), an_offer("2", left=2, instance_type="two")]
    plan = place(a_demand(nodes=2), offers, anything)
    assert chosen(plan) == "two"
    (line,) = plan.refusals
    assert (line.reason.kind, line.reason.saw, line.reason.wanted) == (
        Kind.CAPACITY,
        "1 left",
        "2 machines",
    )


def test_a_price_in_another_currency_is_not_compared(an_offer, a_demand) -> None:
    foreign = replace(an_offer(), price=Price(Decimal("0.1"), "2026-01-01", "test", "CNY"))
    plan = place(a_demand(), [foreign, an_offer("1", instance_type="known")], anything)
    assert chosen(plan) == "known"
    (line,) = plan.refusals
    assert (line.reason.rule, line.reason.saw) == ("price", "price in CNY only")


def test_a_weight_moves_an_offer_down_the_ranking_and_is_never_paid(an_offer, a_demand) -> None:
    def judge(offer: Offer) -> Decision:
        dirty = offer.instance_type == "dirty"
        weight = Decimal("0.6") if dirty else Decimal(0)
        return Decision(offer, preference=int(not dirty), weight_usd_per_hour=weight)

    offers = [an_offer("1", instance_type="dirty"), an_offer("1.5", instance_type="clean")]
    (placement,) = place(a_demand(), offers, judge).placements
    assert (placement.offer.instance_type, placement.usd_per_hour) == ("clean", Decimal("1.5"))


def test_each_offer_is_counted_under_the_first_check_that_refuses_it(an_offer, a_demand) -> None:
    def judge(offer: Offer) -> Decision:
        no = Reason(Kind.POLICY, "eu-only", "US", "EU")
        return Decision(offer, (no,) if offer.region == "us-east-1" else ())

    demand = a_demand(
        Resources(cpus=AtLeast(2, or_more=True), max_usd_per_hour=Decimal(2)),
        budget_usd=Decimal(15),
        duration_h=Decimal(10),
    )
    bad = {"cloud": "gcp", "available": False, "region": "us-east-1"}
    offers = [
        an_offer(None, vcpus=1, **bad),
        an_offer(None, **bad),
        an_offer(None, **{**bad, "cloud": "aws"}),
        an_offer(None, region="us-east-1"),
        an_offer("9", region="us-east-1"),
        an_offer("9"),
        an_offer("1.6"),
        an_offer("1.5"),
    ]
    plan = place(demand, offers, judge, locked={"gcp": "no credentials found"})
    assert rules(plan) == {
        (Kind.REQUEST, "cpus"): 1,
        (Kind.CREDENTIAL, "gcp"): 1,
        (Kind.CAPACITY, "capacity"): 1,
        (Kind.PRICE, "price"): 1,
        (Kind.POLICY, "eu-only"): 1,
        (Kind.PRICE, "max_hourly_cost"): 1,
        (Kind.BUDGET, "budget"): 1,
    }
    assert (plan.considered, plan.allowed) == (8, 1)
    credential = next(line for line in plan.refusals if line.reason.kind is Kind.CREDENTIAL)
    assert credential.reason.saw == "no credentials found"


def test_an_unknown_price_is_never_chosen(an_offer, a_demand) -> None:
    plan = place(a_demand(), [an_offer(None)], anything)
    assert plan.placements == ()
    assert rules(plan) == {(Kind.PRICE, "price"): 1}
    assert plan.refusals[0].cheapest is not None


def test_an_owned_machine_at_no_cost_is_cheaper_than_any_other(an_offer, a_demand) -> None:
    owned = an_offer("0", cloud="edge", market=Market.OWNED, instance_type="node", node_id="nd_1")
    assert chosen(place(a_demand(), [an_offer("0.01"), owned], anything)) == "node"


def test_a_preference_then_carbon_then_the_name_decide_only_between_equal_prices(
    an_offer, a_demand
) -> None:
    def judge(offer: Offer) -> Decision:
        return Decision(offer, preference=int(offer.region == "preferred"))

    clean, dirty = Site(carbon_g_per_kwh=30), Site(carbon_g_per_kwh=600)
    offers = [
        an_offer("1", instance_type="unknown-carbon"),
        an_offer("1", instance_type="dirty", site=dirty),
        an_offer("1", instance_type="clean1", site=clean),
        an_offer("1", instance_type="clean2", site=clean),
        an_offer("1", instance_type="preferred", region="preferred", site=dirty),
        an_offer("0.9", instance_type="cheaper"),
    ]
    (placement,) = place(a_demand(), offers, judge).placements
    tried = [offer.instance_type for offer in (placement.offer, *placement.fallbacks)]
    assert tried == ["cheaper", "preferred", "clean1", "clean2", "dirty", "unknown-carbon"]


def test_one_line_of_refusals_shows_the_cheapest_offer_it_refused(an_offer, a_demand) -> None:
    offers = [an_offer("3", vcpus=1), an_offer("2", vcpus=1.5), an_offer(None, vcpus=1)]
    (line,) = place(a_demand(Resources(cpus=AtLeast(4))), offers, anything).refusals
    assert line.count == 3
    assert line.cheapest.price.usd_per_hour == 2
    assert line.reason.saw == "1.5"


def test_one_rule_is_one_line_whatever_it_saw_and_who_said_so(an_offer, a_demand) -> None:
    def judge(offer: Offer) -> Decision:
        no = Reason(Kind.POLICY, "eu", offer.region, "EU", source=f"table of {offer.region}")
        return Decision(offer, (no,))

    offers = [an_offer("2", region="us-east-1"), an_offer("1", region="ap-south-1")]
    (line,) = place(a_demand(), offers, judge).refusals
    assert (line.count, line.reason.saw) == (2, "ap-south-1")
    assert line.reason.source == "table of ap-south-1"


def test_the_most_frequent_refusal_comes_first(an_offer, a_demand) -> None:
    offers = [an_offer(vcpus=1), an_offer(None), an_offer(None)]
    plan = place(a_demand(Resources(cpus=AtLeast(2))), offers, anything)
    assert [line.count for line in plan.refusals] == [2, 1]


def test_the_loosest_cap_of_the_alternatives_that_fit_counts(an_offer, a_demand) -> None:
    at = Location("task.yaml", 4, 5)
    tight = Resources(max_usd_per_hour=Decimal(1))
    loose = Resources(
        cpus=AtLeast(2), max_usd_per_hour=Decimal(2), locations={"max_hourly_cost": at}
    )
    free = Resources(cpus=AtLeast(64))
    plan = place(a_demand(tight, loose, free), [an_offer("2"), an_offer("2.01")], anything)
    assert plan.allowed == 1
    (line,) = plan.refusals
    assert (line.reason.kind, line.reason.rule) == (Kind.PRICE, "max_hourly_cost")
    assert (line.reason.saw, line.reason.wanted) == ("2.01 $/h", "2 $/h")
    assert line.reason.location == at
    assert place(a_demand(tight, Resources()), [an_offer("2.01")], anything).allowed == 1


def test_an_alternative_that_does_not_fit_lends_no_cap(an_offer, a_demand) -> None:
    tight = Resources(max_usd_per_hour=Decimal(1))
    free = Resources(cpus=AtLeast(64))
    assert place(a_demand(free, tight), [an_offer("2")], anything).allowed == 0


def test_a_demand_without_alternatives_has_no_cap(an_offer) -> None:
    assert place(Demand("any", ()), [an_offer("2")], anything).allowed == 1


@pytest.mark.parametrize(("budget", "allowed"), [("12", 1), ("11.99", 0)])
def test_a_budget_bounds_nodes_times_price_times_hours(budget, allowed, an_offer, a_demand) -> None:
    where = Location("task.yaml", 2, 1)
    demand = a_demand(
        nodes=2,
        duration_h=Decimal(3),
        budget_usd=Decimal(budget),
        locations={"budget": where},
    )
    plan = place(demand, [an_offer("2")], anything)
    assert plan.allowed == allowed
    assert plan.warnings == ()
    for line in plan.refusals:
        assert (line.reason.saw, line.reason.wanted) == ("12 $", f"{budget} $")
        assert line.reason.location == where


def test_a_budget_that_cannot_be_checked_is_said_so(an_offer, a_demand) -> None:
    plan = place(a_demand(budget_usd=Decimal(1)), [an_offer("2")], anything)
    assert plan.allowed == 1
    assert plan.warnings == ("budget of 1 $ not checked: train gives no duration",)


def test_no_offers_at_all_is_an_empty_plan(a_demand) -> None:
    plan = place(a_demand(), [], anything)
    assert (plan.placements, plan.refusals, plan.considered) == ((), (), 0)


prices = st.none() | st.sampled_from([Decimal(cents) / 100 for cents in (1, 2, 3, 50, 100)])
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
    price=prices.map(lambda usd: None if usd is None else Price(usd, "2026-01-01", "test")),
    site=st.builds(Site, carbon_g_per_kwh=st.sampled_from([None, 20.0, 400.0])),
    available=st.booleans(),
)
amounts = st.none() | st.builds(AtLeast, st.sampled_from([1.0, 4.0]), st.booleans())
anything_asked = st.builds(
    Resources,
    accelerator=st.sampled_from([None, "L4"]),
    accelerator_count=st.sampled_from([0.0, 1.0]),
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


def judge_by_region(offer: Offer) -> Decision:
    no = Reason(Kind.POLICY, "region", offer.region, "r1")
    refused = (no,) if offer.region == "r2" and offer.market is Market.SPOT else ()
    return Decision(offer, refused, preference=int(offer.cloud == "gcp"))


@given(demands, st.lists(offers_of_any_kind, max_size=30), st.randoms())
def test_counts_add_up_and_the_order_of_offers_does_not_matter(demand, offers, random) -> None:
    locked = {"local": "asleep"}
    plan = place(demand, offers, judge_by_region, locked)
    assert plan.considered == len(offers)
    assert plan.allowed + sum(line.count for line in plan.refusals) == len(offers)
    assert bool(plan.placements) == bool(plan.allowed)
    random.shuffle(offers)
    assert shown(place(demand, offers, judge_by_region, locked)) == shown(plan)


@given(demands, st.lists(offers_of_any_kind, max_size=30))
def test_each_refused_offer_is_refused_alone_too_and_each_candidate_is_allowed(
    demand, offers
) -> None:
    plan = place(demand, offers, judge_by_region)
    for line in plan.refusals:
        (alone,) = place(demand, [line.cheapest], judge_by_region).refusals
        assert alone.reason == line.reason
    for placement in plan.placements:
        tried = [placement.offer, *placement.fallbacks]
        assert all(place(demand, [offer], judge_by_region).allowed for offer in tried)
        assert tried == sorted(tried, key=lambda offer: ranking(judge_by_region(offer)))


def shown(plan: Plan) -> tuple[object, ...]:
    """What a plan says; offers with one name and price are one to its reader."""
    return (
        [[_price(offer) for offer in _tried(placement)] for placement in plan.placements],
        [(line.reason.rule, line.count, line.reason.wanted) for line in plan.refusals],
        plan.considered,
        plan.allowed,
    )


def _tried(placement) -> Iterable[Offer]:
    return (placement.offer, *placement.fallbacks)


def _price(offer: Offer) -> tuple[object, ...]:
    return (offer.key, offer.price.usd_per_hour, offer.site.carbon_g_per_kwh)
