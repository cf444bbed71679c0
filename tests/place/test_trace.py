"""The law: a trace tells of everything that was looked at, in order; what refuses in it is what the
offer is refused by, and nothing refuses in the trace of an allowed offer."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import (
    AtLeast,
    Decision,
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
from broker.place.trace import trace


class Telling:
    """A judge who keeps a trace."""

    def __call__(self, offer: Offer) -> Decision:
        no = Reason(Kind.POLICY, "eu-only", offer.region, "EU", source="table")
        return Decision(offer, () if offer.region.startswith("eu") else (no,), preference=2)

    def trace(self, offer: Offer) -> Decision:
        decision = self(offer)
        says = Verdict.PASSES if decision.allowed else Verdict.REFUSES
        idle = Finding("spot", Verdict.IDLE)
        return replace(decision, findings=(idle, Finding("eu-only", says, offer.region, "EU")))


def told(decision: Decision) -> list[tuple[str, Verdict]]:
    return [(one.rule, one.verdict) for one in decision.findings]


def test_of_the_request_what_is_asked_is_told_then_the_offer_the_rules_and_the_limits(
    an_offer, a_demand
) -> None:
    at = Location("task.yaml", 4, 5)
    demand = a_demand(
        Resources(
            accelerator="L4",
            accelerator_count=1,
            region="eu-north-1",
            market=Market.ON_DEMAND,
            instance_type="g6.xlarge",
            cpus=AtLeast(4, or_more=True),
            memory_gib=AtLeast(8),
            max_usd_per_hour=Decimal(2),
            locations={"cpus": at},
        ),
        duration_h=Decimal(2),
        budget_usd=Decimal(3),
    )
    offer = an_offer("1.5", accelerator="L4", accelerator_count=1.0, instance_type="g6.xlarge")
    found = trace(demand, offer, Telling(), {})
    assert told(found) == [
        ("accelerators", Verdict.PASSES),
        ("infra", Verdict.PASSES),
        ("market", Verdict.PASSES),
        ("instance_type", Verdict.PASSES),
        ("cpus", Verdict.REFUSES),
        ("memory", Verdict.PASSES),
        ("capacity", Verdict.PASSES),
        ("price", Verdict.PASSES),
        ("spot", Verdict.IDLE),
        ("eu-only", Verdict.PASSES),
        ("max_hourly_cost", Verdict.PASSES),
        ("budget", Verdict.PASSES),
    ]
    cpus = found.findings[4]
    assert (cpus.saw, cpus.wanted, cpus.location, cpus.kind) == ("2", "4+", at, Kind.REQUEST)
    assert [one.rule for one in found.reasons] == ["cpus"]
    assert found.preference == 2
    assert next(one for one in found.findings if one.rule == "price").source == "test, 2026-01-01"


def test_what_stands_outside_the_policy_refuses_in_the_trace_too(an_offer, a_demand) -> None:
    demand = a_demand(
        Resources(max_usd_per_hour=Decimal(1)),
        nodes=2,
        duration_h=Decimal(2),
        budget_usd=Decimal(3),
    )
    offer = an_offer("1.5", region="us-east-1", left=1)
    found = trace(demand, offer, Telling(), {"aws": "expired"})
    assert told(found) == [
        ("aws", Verdict.REFUSES),
        ("capacity", Verdict.REFUSES),
        ("price", Verdict.PASSES),
        ("spot", Verdict.IDLE),
        ("eu-only", Verdict.REFUSES),
        ("max_hourly_cost", Verdict.REFUSES),
        ("budget", Verdict.REFUSES),
    ]
    assert len(found.reasons) == 5


def test_without_a_duration_a_budget_does_not_apply_and_a_counted_offer_says_what_is_left(
    an_offer, a_demand
) -> None:
    found = trace(a_demand(budget_usd=Decimal(3)), an_offer(left=4), Telling(), {})
    assert told(found)[-1] == ("budget", Verdict.IDLE)
    assert found.findings[0].saw == "4 left"


def test_an_unknown_price_is_compared_with_nothing(an_offer) -> None:
    from broker.model import Demand

    demand = Demand("any", (), budget_usd=Decimal(3), duration_h=Decimal(1))
    found = trace(demand, an_offer(None), Telling(), {})
    assert told(found)[:2] == [("capacity", Verdict.PASSES), ("price", Verdict.REFUSES)]
    assert "budget" not in [rule for rule, _ in told(found)]
    capped = replace(demand, alternatives=(Resources(max_usd_per_hour=Decimal(1)),))
    rules = [rule for rule, _ in told(trace(capped, an_offer(None), Telling(), {}))]
    assert "max_hourly_cost" not in rules


def test_a_judge_who_tells_of_the_budget_is_not_repeated(an_offer, a_demand) -> None:
    class Thrifty(Telling):
        def trace(self, offer: Offer) -> Decision:
            own = Finding("budget", Verdict.PASSES, "1 $", "2 $", Kind.BUDGET)
            return Decision(offer, findings=(own,))

    demand = a_demand(budget_usd=Decimal(3), duration_h=Decimal(1))
    rules = [rule for rule, _ in told(trace(demand, an_offer(), Thrifty(), {}))]
    assert rules.count("budget") == 1


def test_a_judge_who_keeps_no_trace_is_told_of_where_it_refuses(an_offer, a_demand) -> None:
    found = trace(a_demand(), an_offer(region="us-east-1"), Telling().__call__, {})
    assert told(found)[-1] == ("eu-only", Verdict.REFUSES)
    assert found.findings[-1].source == "table"
    assert told(trace(a_demand(), an_offer(), Telling().__call__, {})) == [
        ("capacity", Verdict.PASSES),
        ("price", Verdict.PASSES),
    ]


@pytest.mark.parametrize("judge", [Telling(), Telling().__call__])
@given(
    cpus=st.sampled_from([1, 2, 3]),
    cap=st.sampled_from([None, Decimal(1), Decimal(3)]),
    budget=st.sampled_from([None, Decimal(1), Decimal(9)]),
    usd=st.sampled_from([None, Decimal("0.5"), Decimal(2)]),
    region=st.sampled_from(["eu-north-1", "us-east-1"]),
    left=st.sampled_from([None, 0, 3]),
)
def test_what_refuses_in_the_trace_is_what_the_offer_is_refused_by(
    an_offer, a_demand, judge, cpus, cap, budget, usd, region, left
) -> None:
    asked = Resources(cpus=AtLeast(cpus), max_usd_per_hour=cap)
    demand = a_demand(asked, budget_usd=budget, duration_h=Decimal(1))
    price = None if usd is None else Price(usd, "2026-01-01", "test")
    offer = replace(an_offer(None, region=region, left=left), price=price)
    found = trace(demand, offer, judge, {})
    refusing = {(one.kind, one.rule) for one in found.findings if one.verdict is Verdict.REFUSES}
    assert refusing == {(one.kind, one.rule) for one in found.reasons}
