"""The law: a plan that places nothing names the check that stood last between the task and an
offer, as the error that tells the caller what to do next."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from broker.errors import (
    AuthError,
    BudgetError,
    CapacityError,
    InfeasibleError,
    PolicyError,
    QuotaError,
)
from broker.model import (
    AtLeast,
    Decision,
    Kind,
    Location,
    Plan,
    Reason,
    Refusal,
    Resources,
    WayOut,
)
from broker.place.blame import explain
from broker.place.choose import place
from broker.place.explain import derivation, failure, nearest, smallest_change, way_words
from broker.place.ways import ways_out


def refuse_all(kind: Kind = Kind.POLICY, why: str = ""):
    where = Location("policies/eu.yaml", 12, 7)
    no = Reason(kind, "phi-stays-in-eu", "US", "EU", where, "policies/eu.yaml", why)
    return lambda offer: Decision(offer, (no,))


def test_a_plan_with_a_placement_has_not_failed(an_offer, a_demand) -> None:
    assert failure(place(a_demand(), [an_offer()], Decision), "train") is None


def test_an_empty_pool_says_what_fills_it(a_demand) -> None:
    error = failure(place(a_demand(), [], Decision), "train")
    assert isinstance(error, InfeasibleError)
    assert "catalog" in error.hint


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.POLICY, PolicyError),
        (Kind.QUOTA, QuotaError),
        (Kind.CREDENTIAL, AuthError),
        (Kind.BUDGET, BudgetError),
    ],
)
def test_the_judges_kind_of_reason_decides_the_error(kind, expected, an_offer, a_demand) -> None:
    error = failure(place(a_demand(), [an_offer()], refuse_all(kind, "law")), "train")
    assert type(error) is expected
    assert error.location.file == "policies/eu.yaml"
    assert error.hint == "law"
    assert "phi-stays-in-eu" in error.message
    assert "saw US" in error.message


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"usd": "9"}, BudgetError),
        ({"usd": None}, InfeasibleError),
        ({"available": False}, CapacityError),
        ({"vcpus": 1}, InfeasibleError),
    ],
)
def test_the_tasks_own_limits_have_their_errors(facts, expected, an_offer, a_demand) -> None:
    demand = a_demand(Resources(cpus=AtLeast(2), max_usd_per_hour=Decimal(1)))
    error = failure(place(demand, [an_offer(**facts)], Decision), "train")
    assert type(error) is expected
    assert error.hint is None


def test_the_check_that_was_reached_last_is_named_however_rare_it_is(an_offer, a_demand) -> None:
    offers = [*[an_offer(vcpus=1)] * 9, an_offer(None), an_offer("3")]
    plan = place(a_demand(Resources(cpus=AtLeast(2))), offers, refuse_all())
    error = failure(plan, "train")
    assert isinstance(error, PolicyError)
    assert "1 of 11" in error.message


def test_the_nearest_offers_are_the_cheapest_of_each_rule(an_offer, a_demand) -> None:
    demand = a_demand(Resources(cpus=AtLeast(2)), Resources(accelerator="L4", cpus=AtLeast(4)))
    offers = [
        an_offer("3", vcpus=1),
        an_offer("5", vcpus=3, accelerator="L4"),
        an_offer("2", region="us-east-1"),
        an_offer(None),
    ]
    rules = [
        (line.reason.rule, line.cheapest.price.usd_per_hour)
        for line in nearest(place(demand, offers, refuse_all()))
    ]
    assert rules == [("phi-stays-in-eu", 2), ("cpus", 3)]


def test_of_several_lines_of_a_rule_the_cheapest_is_nearest_in_any_order(an_offer) -> None:
    lines = [
        Refusal(Reason(Kind.POLICY, "eu", "US", wanted), 1, an_offer(usd))
        for wanted, usd in (("a", "3"), ("b", "2"), ("c", "4"))
    ]
    (line,) = nearest(Plan((), tuple(lines), 3, 0))
    assert line.reason.wanted == "b"


def test_a_line_without_an_example_is_not_near() -> None:
    line = Refusal(Reason(Kind.PRICE, "price", "unknown", "known"), 1, None)
    plan = Plan((), (line,), 1, 0)
    assert nearest(plan) == ()
    assert isinstance(failure(plan, "train"), InfeasibleError)


def explained(demand, offers, judge, locked=None) -> Plan:
    blames = explain(demand, offers, judge, locked)
    return replace(place(demand, offers, judge, locked), blames=blames, ways_out=ways_out(blames))


def test_an_explained_failure_derives_why_and_lists_the_ways_out(an_offer, a_demand) -> None:
    at = Location("task.yaml", 6, 3)
    demand = a_demand(Resources(accelerator="H100", locations={"accelerators": at}))
    offers = [
        an_offer("1"),
        an_offer("31.2", accelerator="H100", instance_type="p5"),
        an_offer("3", available=False),
    ]

    def judge(offer):
        return refuse_all()(offer) if offer.accelerator else Decision(offer)

    error = failure(explained(demand, offers, judge), "train")
    assert isinstance(error, PolicyError)
    assert error.hint.splitlines() == [
        "Because accelerators wants H100 (task.yaml:6:3), which refuses 2 of 3 offers",
        (
            "             and phi-stays-in-eu wants EU (policies/eu.yaml:12:7), which refuses"
            " 1 of 3 offers,"
        ),
        "         no placement exists. Ways out, each enough alone:",
        (
            "           - relax accelerators (task.yaml:6:3): wants H100, saw none -> 1 offer,"
            " from 1 $/h: aws/eu-north-1/m5.large/on-demand"
        ),
        (
            "           - relax phi-stays-in-eu (policies/eu.yaml:12:7): wants EU, saw US -> 1 offer,"
            " from 31.2 $/h: aws/eu-north-1/p5/on-demand"
        ),
    ]


def test_the_rules_own_why_stands_before_the_derivation(an_offer, a_demand) -> None:
    judge = refuse_all(why="Health data stays.")
    error = failure(explained(a_demand(), [an_offer()], judge), "train")
    first, second, *_ = error.hint.splitlines()
    assert first == "Health data stays."
    assert second.startswith("         Because phi-stays-in-eu")
    assert "One way out:" in error.hint


def test_where_nothing_can_be_relaxed_that_is_said(an_offer, a_demand) -> None:
    offers = [an_offer(None), an_offer("1", available=False)]
    found = derivation(explained(a_demand(), offers, Decision))
    assert "1 of 2 offers have no known price" in found
    assert "sold out, which refuses 1 of 2 offers" in found
    assert found.endswith("no placement exists. Nothing that can be relaxed admits an offer.")
    assert derivation(place(a_demand(), offers, Decision)) == ""


def test_each_kind_of_rule_is_relaxed_in_its_own_words(an_offer) -> None:
    reasons = (
        Reason(Kind.CREDENTIAL, "aws", "aws is not enabled", "usable credentials"),
        Reason(Kind.PRICE, "max_hourly_cost", "2 $/h", "1 $/h", Location("t.yaml", 3)),
        Reason(Kind.BUDGET, "month", "20 $", "10 $"),
        Reason(Kind.PRICE, "cap", "2 $/h", "1 $/h"),
        Reason(Kind.POLICY, "cap", "NO", "SE"),
    )
    assert way_words(WayOut(reasons, 2, an_offer(None))) == (
        "enable aws, and raise max_hourly_cost (t.yaml:3:1) to 2 $/h, and raise month to 20 $,"
        " and relax cap: wants 1 $/h, saw 2 $/h -> 2 offers: aws/eu-north-1/m5.large/on-demand"
    )


def test_a_budget_that_nobody_bounds_asks_for_a_bound(an_offer) -> None:
    reason = Reason(Kind.BUDGET, "month", "no duration and no budget", "at most 20 $")
    assert way_words(WayOut((reason,), 1, an_offer(None))).startswith(
        "say how long it runs or what it may cost, for month -> 1 offer"
    )


def test_what_the_broker_itself_asks_for_is_given_not_relaxed(an_offer) -> None:
    reason = Reason(Kind.POLICY, "data-class", "none", "a rule for phi", Location("t.yaml", 4))
    assert way_words(WayOut((reason,), 1, an_offer("1"))).startswith(
        "give a rule for phi (t.yaml:4:1) -> 1 offer"
    )


def test_what_it_takes_to_admit_one_offer() -> None:
    eu = Reason(Kind.POLICY, "eu", "US", "EU")
    clean = Reason(Kind.POLICY, "clean", "400", "250")
    gone = Reason(Kind.CAPACITY, "capacity", "sold out", "available")
    assert smallest_change((eu,)) == "relaxing eu alone admits this offer"
    assert smallest_change((eu, clean, eu)) == (
        "no single change admits this offer; the smallest set is {eu, clean}"
    )
    assert smallest_change((eu, gone)) == (
        "nothing that you can change admits this offer (capacity: sold out)"
    )
