"""The law: a plan that places nothing names the check that stood last between the task and an
offer, as the error that tells the caller what to do next."""

from __future__ import annotations

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
from broker.model import AtLeast, Decision, Kind, Location, Plan, Reason, Refusal, Resources
from broker.place.choose import place
from broker.place.explain import failure, nearest


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
