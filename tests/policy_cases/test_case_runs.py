"""Law: a case passes exactly when the rules say what it wants, by the judge that plans use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Market, Verdict
from broker.policy import Judge, Policy, Verb
from broker.policy.cases import Ask, run_case, standing
from broker.policy.rules import BlastRadius, Budget, Carbon, Disruption, Window

COUNTRIES = ("NO", "SE", "US")
WORDS = st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=3, unique=True).map(tuple)
NIGHT = datetime(2026, 11, 20, 23, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEKDAYS = frozenset(range(5))


@given(wanted=WORDS, denied=WORDS, country=st.sampled_from(COUNTRIES), allow=st.booleans())
def test_a_case_passes_exactly_when_the_judge_agrees(
    a_rule: Callable,
    a_case: Callable,
    an_offer: Callable,
    wanted: tuple[str, ...],
    denied: tuple[str, ...],
    country: str,
    allow: bool,
) -> None:
    rules = (a_rule("a", require={"country": wanted}), a_rule("b", deny={"country": denied}))
    policy, case = Policy(rules), a_case(allowed=allow, offer=an_offer(country=country))
    outcome = run_case(policy, case)
    decision = Judge(policy, case.demand)(case.offer)
    assert outcome.passed is (decision.allowed is allow)
    assert outcome.refused_by == {reason.rule for reason in decision.reasons}
    assert {one.rule for one in outcome.findings} >= {"a", "b"}


@given(
    wanted=WORDS,
    country=st.sampled_from(COUNTRIES),
    by=st.frozensets(st.sampled_from(["a", "b"])),
)
def test_by_names_exactly_the_rules_that_refuse(
    a_rule: Callable,
    a_case: Callable,
    an_offer: Callable,
    wanted: tuple[str, ...],
    country: str,
    by: frozenset[str],
) -> None:
    rules = (a_rule("a", require={"country": wanted}), a_rule("b", deny={"country": ("US",)}))
    case = a_case(allowed=False, by=by, offer=an_offer(country=country))
    outcome = run_case(Policy(rules), case)
    refusing = {"a"} if country not in wanted else set()
    refusing |= {"b"} if country == "US" else set()
    assert outcome.passed is bool(refusing and by == refusing)


def test_a_failure_says_what_was_expected_and_found(a_rule: Callable, a_case: Callable) -> None:
    policy = Policy((a_rule("a", deny={"country": ("NO",)}),))
    assert run_case(policy, a_case(allowed=True)).failures == ("expected allow, got deny by [a]",)
    assert run_case(policy, a_case(allowed=False, by={"b"})).failures == (
        "expected to be refused by [b], got [a]",
    )
    assert run_case(Policy(), a_case(allowed=False)).failures == ("expected deny, got allow",)
    assert run_case(Policy(), a_case(prefers={"c"})).failures == (
        "expected to be preferred by [c], got []",
    )


def test_preferences_are_compared_as_a_set(a_rule: Callable, a_case: Callable) -> None:
    policy = Policy(
        (a_rule("a", prefer={"country": ("NO",)}), a_rule("b", prefer={"country": ("SE",)}))
    )
    assert run_case(policy, a_case(prefers={"a"})).passed
    assert not run_case(policy, a_case(prefers=set())).passed
    assert not run_case(policy, a_case(prefers={"a", "b"})).passed


def test_a_weight_is_compared_in_the_digits_given(a_rule: Callable, a_case: Callable) -> None:
    policy = Policy((a_rule("a", Verb.CARBON, terms=Carbon(usd_per_kg=Decimal(1))),))
    weight = run_case(policy, a_case()).weight
    assert weight > 0
    assert run_case(policy, a_case(weighs=round(weight, 4))).passed
    assert run_case(policy, a_case(weighs=weight)).passed
    (failure,) = run_case(policy, a_case(weighs=weight + 1)).failures
    assert failure.startswith("expected a weight of")


@given(spent=st.integers(0, 600), cost=st.integers(1, 600))
def test_what_was_spent_counts_against_the_budget(
    a_rule: Callable, a_case: Callable, an_offer: Callable, spent: int, cost: int
) -> None:
    terms = Budget(Decimal(500))
    policy = Policy((a_rule("a", Verb.BUDGET, terms=terms),))
    fits = spent + cost <= 500
    case = a_case(
        allowed=fits,
        spent={"a": Decimal(spent)},
        offer=an_offer(str(cost)),
        duration_h=Decimal(1),
    )
    assert run_case(policy, case).passed
    assert not run_case(
        policy, replace(case, expected=replace(case.expected, allowed=not fits))
    ).passed


@given(machines=st.integers(0, 6), rate=st.integers(0, 12))
def test_what_is_open_counts_against_the_blast_radius(
    a_rule: Callable, a_case: Callable, machines: int, rate: int
) -> None:
    terms = BlastRadius(max_machines=4, max_usd_per_hour=Decimal(10))
    policy = Policy((a_rule("a", Verb.BLAST_RADIUS, terms=terms),))
    opened = {"machines": {"a": Decimal(machines)}, "usd_per_hour": {"a": Decimal(rate)}}
    case = a_case(allowed=machines < 4 and rate < 10, **opened)
    assert run_case(policy, case).passed


def test_accounts_are_those_of_the_cases_project(a_rule: Callable, a_case: Callable) -> None:
    policy = Policy((a_rule("a", Verb.BUDGET, terms=Budget(Decimal(500))),))
    found = standing(policy, a_case(spent={"a": Decimal(450)}, project="research"))
    assert found.left_usd == {"a/research/2026-11/usd": Decimal(50)}
    assert (found.machines, found.now) == ({}, NOON)


@pytest.mark.parametrize(("at", "allowed"), [(NIGHT, True), (NOON, False)])
def test_work_is_interrupted_only_in_the_hours_of_every_rule(
    a_rule: Callable, a_case: Callable, at: datetime, allowed: bool
) -> None:
    nights = Disruption((Window(WEEKDAYS, 1320, 360),))
    rules = (
        a_rule("nights", Verb.DISRUPTION, terms=nights),
        a_rule("calm", Verb.DISRUPTION, terms=Disruption(max_at_once=1)),
        a_rule("theirs", Verb.DISRUPTION, terms=nights, when={"project": ("other",)}),
        a_rule("place", require={"country": ("NO",)}),
    )
    case = a_case(Ask.DISRUPT, now=at, allowed=allowed, by=None if allowed else {"nights"})
    outcome = run_case(Policy(rules), case)
    assert outcome.passed, outcome.failures
    verdicts = {one.rule: one.verdict for one in outcome.findings}
    assert verdicts["theirs"] is Verdict.IDLE
    assert verdicts["calm"] is Verdict.PASSES
    busy = run_case(Policy(rules), a_case(Ask.DISRUPT, now=at, disrupted=1))
    assert busy.refused_by == ({"calm"} if allowed else {"calm", "nights"})


@pytest.mark.parametrize(
    ("within", "start"),
    [(Decimal(12), NOON + timedelta(hours=10)), (Decimal(8), NOON), (None, NOON)],
)
def test_a_start_is_shifted_only_as_far_as_the_demand_can_wait(
    a_rule: Callable, a_case: Callable, within: Decimal | None, start: datetime
) -> None:
    terms = Carbon(shift_within_h=Decimal(24), shift_hours=((1320, 360),))
    rules = (
        a_rule("nights", Verb.CARBON, terms=terms),
        a_rule("cap", Verb.CARBON, terms=Carbon(max_kg=Decimal(1))),
    )
    outcome = run_case(Policy(rules), a_case(Ask.SHIFT, start=start, start_within_h=within))
    assert outcome.passed, outcome.failures
    assert [one.rule for one in outcome.findings] == ["nights"]
    shifted = outcome.findings[0].verdict is Verdict.REFUSES
    assert shifted is (start != NOON)
    wrong = a_case(Ask.SHIFT, start=start + timedelta(1), start_within_h=within)
    (failure,) = run_case(Policy(rules), wrong).failures
    assert failure.startswith("expected a start at 2026-11-2")


def test_an_offer_has_no_start(a_case: Callable) -> None:
    (failure,) = run_case(Policy(), a_case(start=NOON)).failures
    assert failure == "expected a start at 2026-11-20T12:00:00Z, got none"


def test_a_market_is_no_country(a_rule: Callable, a_case: Callable, an_offer: Callable) -> None:
    """Control: the cases above fail for the reason they name."""
    policy = Policy((a_rule("a", deny={"market": ("spot",)}),))
    assert run_case(policy, a_case(allowed=True)).passed
    spot = a_case(allowed=False, by={"a"}, offer=an_offer(market=Market.SPOT))
    assert run_case(policy, spot).passed
