"""Law: an account never gives out more than its limit, and what is settled twice is settled once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import (
    Account,
    Data,
    Demand,
    Location,
    Market,
    Offer,
    Placement,
    Plan,
    Price,
)
from broker.policy import accounts
from broker.policy.accounts import Claim, Overdrawn
from broker.policy.rules import (
    EXPR,
    BlastRadius,
    Budget,
    Clause,
    DataClass,
    Level,
    Policy,
    Rule,
    Scope,
    Verb,
)

NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
LINE = Location("rules.yaml", 4)


def offer(usd: str | None = "1", **more: Any) -> Offer:
    price = Price(Decimal(usd), "2026-11-01", "test") if usd is not None else None
    return Offer("aws", "eu-north-1", None, "m5", Market.ON_DEMAND, 2, 8, price=price, **more)


def plan(*offers: Offer, nodes: int = 1, most: str | None = None) -> Plan:
    first, *others = offers
    usd_most = Decimal(most) if most else None
    placed = Placement("train", nodes, first, tuple(others), usd_most=usd_most)
    return Plan((placed,), (), 1, 1)


def demand(**more: Any) -> Demand:
    return replace(Demand("train", (), duration_h=Decimal(10), project="research"), **more)


def budget(usd: str = "100", **more: Any) -> Rule:
    made = Rule("cap", Verb.BUDGET, terms=Budget(Decimal(usd)), location=LINE)
    return replace(made, **more)


def radius(**terms: Any) -> Rule:
    return Rule("radius", Verb.BLAST_RADIUS, terms=BlastRadius(**terms), location=LINE)


def claimed(rule: Rule, asked: Demand, found: Plan, *, policy: Policy | None = None) -> Any:
    """The amounts that one plan claims, by account."""
    policy = policy or Policy((rule,))
    return {one.account.id: one.amount for one in accounts.claims(policy, [(asked, found)], NOW)}


# ------------------------------------------------------------------------------ what a plan claims


def test_a_budget_holds_the_dearest_candidate_for_the_whole_duration() -> None:
    found = plan(offer("1"), offer("3"), offer("2"), nodes=2)
    assert claimed(budget(), demand(), found) == {"cap/research/2026-11/usd": Decimal(60)}


@pytest.mark.parametrize(
    ("more", "most", "amount"),
    [
        ({"budget_usd": Decimal(5)}, None, Decimal(5)),
        ({"budget_usd": Decimal(50)}, None, Decimal(10)),
        ({}, "17.5", Decimal("17.5")),
        ({"budget_usd": Decimal(9)}, "17.5", Decimal(9)),
        ({"duration_h": None, "budget_usd": Decimal(7)}, None, Decimal(7)),
        ({"duration_h": None}, None, None),
    ],
)
def test_the_runs_own_budget_bounds_what_is_held(more: Any, most: Any, amount: Any) -> None:
    assert claimed(budget(), demand(**more), plan(offer(), most=most)) == {
        "cap/research/2026-11/usd": amount
    }


def test_machines_that_cost_nothing_touch_no_budget_however_long_they_run() -> None:
    assert claimed(budget(), demand(duration_h=None), plan(offer("0"))) == {}


def test_a_price_that_nobody_knows_is_bounded_by_nobody() -> None:
    assert claimed(budget(), demand(), plan(offer("1"), offer(None))) == {
        "cap/research/2026-11/usd": None
    }


def test_a_blast_radius_counts_machines_and_their_rate_without_a_month() -> None:
    rule = radius(max_machines=40, max_usd_per_hour=Decimal(120))
    assert claimed(rule, demand(duration_h=None), plan(offer("1"), offer("4"), nodes=3)) == {
        "radius/research/open/machines": Decimal(3),
        "radius/research/open/usd_per_hour": Decimal(12),
    }
    assert claimed(radius(), demand(), plan(offer())) == {}


def test_plans_that_are_admitted_together_claim_together() -> None:
    policy = Policy((budget(),))
    both = [(demand(), plan(offer("1"))), (demand(role="site"), plan(offer("2")))]
    (claim,) = accounts.claims(policy, both, NOW)
    assert claim.amount == Decimal(30)
    unknown = [*both, (demand(duration_h=None), plan(offer("2")))]
    (claim,) = accounts.claims(policy, unknown, NOW)
    assert claim.amount is None


def test_a_claim_shows_the_line_of_the_field_that_bounds_it() -> None:
    exact = Location("rules.yaml", 5)
    (claim,) = accounts.claims(Policy((budget(),)), [(demand(), plan(offer()))], NOW)
    assert claim.location == LINE
    rule = budget(locations={"usd_per_month": exact})
    (claim,) = accounts.claims(Policy((rule,)), [(demand(), plan(offer()))], NOW)
    assert claim.location == exact


WHEN = [
    (Clause("role", ("task",)), True),
    (Clause("role", ("site",)), False),
    (Clause("project", ("research",)), True),
    (Clause("data_class", ("personal",)), True),
    (Clause("data_class", ("other",)), False),
    (Clause(EXPR, "demand.nodes >= 1"), True),
    (Clause(EXPR, "demand.nodes > 1"), False),
    (Clause("cloud", ("aws",)), True),
    (Clause("cloud", ("gcp",)), False),
    (Clause("zone", ("a",)), True),  # not known: counts as yes
    (Clause(EXPR, "offer.vcpus > 1.0"), True),
    (Clause(EXPR, "offer.vcpus > 9.0"), False),
]


@pytest.mark.parametrize(("clause", "applies"), WHEN)
def test_a_rule_binds_by_its_when(clause: Clause, applies: bool) -> None:
    rule = budget(when=(clause,))
    policy = Policy((rule,), classes=(DataClass("phi", ("personal",)),))
    asked = demand(data=Data("phi"))
    assert bool(claimed(rule, asked, plan(offer()), policy=policy)) == applies
    fits = accounts.accounts_of(policy, asked, NOW)
    about_offers = clause.field in {"cloud", "zone"} or "offer" in str(clause.wanted)
    assert bool(fits) == (applies or about_offers), "some offer for it might fall under the rule"


@pytest.mark.parametrize(
    ("scope", "node", "applies"),
    [
        (Scope(), "", True),
        (Scope(Level.PROJECT, ("research",)), "", True),
        (Scope(Level.PROJECT, ("other",)), "", False),
        (Scope(Level.SITE, ("oslo",)), "oslo", True),
        (Scope(Level.SITE, ("oslo",)), "", False),
        (Scope(Level.SITE, ("oslo",), ("ct",)), "", True),
    ],
)
def test_a_rule_binds_in_its_scope(scope: Scope, node: str, applies: bool) -> None:
    asked = demand(data=Data(datasets=("ct",)))
    assert bool(claimed(budget(scope=scope), asked, plan(offer(node=node)))) == applies


def test_one_candidate_under_the_rule_counts_the_whole_placement() -> None:
    rule = budget(when=(Clause("market", ("spot",)),))
    found = plan(offer("2"), offer("1", reservation="x"), nodes=1)
    assert claimed(rule, demand(), found) == {}
    spot = replace(offer("1"), market=Market.SPOT)
    assert list(claimed(rule, demand(), plan(offer("2"), spot)).values()) == [Decimal(20)]


def test_other_verbs_have_no_accounts() -> None:
    rule = Rule("eu", Verb.DENY, (Clause("country", ("US",)),))
    assert claimed(rule, demand(), plan(offer())) == {}
    assert accounts.accounts_of(Policy((rule,)), demand(), NOW) == ()


def test_too_many_nodes_for_one_run_are_counted_over_all_its_plans() -> None:
    policy = Policy((budget(), radius(max_machines=9), radius(max_nodes_per_run=3)))
    fits = [(demand(), plan(offer(), nodes=2)), (demand(), plan(offer()))]
    assert accounts.too_many_nodes(policy, fits, NOW) is None
    broken = accounts.too_many_nodes(policy, [*fits, (demand(), plan(offer()))], NOW)
    assert broken is not None
    assert broken[1:] == (3, 4)


# ---------------------------------------------------------------------------------- how they move


def account(**more: Any) -> Account:
    made = Account("cap/research/2026-11/usd", "cap", "research", "2026-11", "usd", Decimal(100))
    return replace(made, **more)


def claim(amount: str | None, limit: str = "100") -> Claim:
    bound = Decimal(amount) if amount is not None else None
    return Claim(account(limit=Decimal(limit)), bound, budget(), "usd_per_month")


def test_what_does_not_fit_is_refused_with_what_is_left() -> None:
    held = account(held={"run_1": Decimal(60)}, settled=Decimal(30))
    after = accounts.reserve(held, claim("10.01"), "run_2")
    assert isinstance(after, Overdrawn)
    assert after.left == Decimal(10)
    fits = accounts.reserve(held, claim("10"), "run_2")
    assert isinstance(fits, Account)
    assert accounts.left(fits) == 0


def test_nobody_knows_how_much_is_never_given() -> None:
    assert isinstance(accounts.reserve(account(), claim(None), "run_1"), Overdrawn)


def test_todays_limit_counts_also_where_it_was_lowered_below_what_is_held() -> None:
    held = account(held={"run_1": Decimal(60)})
    after = accounts.reserve(held, claim("1", limit="50"), "run_2")
    assert isinstance(after, Overdrawn)
    assert (after.left, after.account.limit) == (0, Decimal(50))


def test_a_run_that_asks_again_holds_once() -> None:
    held = account(held={"run_1": Decimal(60)})
    after = accounts.reserve(held, claim("70"), "run_1")
    assert isinstance(after, Account)
    assert after.held == {"run_1": Decimal(70)}


def test_machines_are_free_again_and_money_stays_spent() -> None:
    ended = {"run_1": Decimal(4), "run_9": Decimal(9)}
    spent = accounts.settle(account(held={"run_1": Decimal(60), "run_2": Decimal(5)}), ended)
    assert (spent.held, spent.settled) == ({"run_2": Decimal(5)}, Decimal(4))
    free = accounts.settle(account(unit="machines", held={"run_1": Decimal(2)}), ended)
    assert (free.held, free.settled) == ({}, Decimal(0))


def test_the_highest_mark_that_is_reached_is_told_once() -> None:
    steps = [Decimal(amount) for amount in (0, 49, 50, 80, 99)]
    at = [account(settled=amount) for amount in steps]
    told = [accounts.crossed(one, other, (50, 80)) for one, other in itertools.pairwise(at)]
    assert told == [None, 50, 80, None]
    assert accounts.crossed(at[0], at[3], (50, 80)) == 80


AMOUNTS = st.decimals(0, 60, places=2)
STEPS = st.lists(
    st.tuples(st.just("reserve"), st.integers(0, 5), AMOUNTS)
    | st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 100).map(Decimal)),
    max_size=30,
)


@given(STEPS)
def test_no_sequence_gives_out_more_than_the_limit(steps: list[tuple[str, int, Decimal]]) -> None:
    """A run costs at most what it holds: its hard stop sees to that."""
    now, spent = account(), Decimal(0)
    for verb, number, amount in steps:
        run = f"run_{number}"
        if verb == "reserve":
            after = accounts.reserve(now, claim(str(amount)), run)
            now = after if isinstance(after, Account) else now
        else:
            really = now.held.get(run, Decimal(0)) * amount / 100
            spent += really
            once = accounts.settle(now, {run: really})
            assert accounts.settle(once, {run: really}) == once, "twice is once"
            now = once
        assert accounts.taken(now) <= now.limit
        assert accounts.left(now) == now.limit - accounts.taken(now)
        assert now.settled == spent
