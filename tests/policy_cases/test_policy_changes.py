"""Law: what changed is told field by field, and the effect on offers adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Artefact, Demand, Location, Offer, Resources, Site
from broker.policy import Judge, Policy, Rule, Verb
from broker.policy.diff import Change, Comparison, Effect, What, changes, compare
from broker.policy.rules import (
    BlastRadius,
    Budget,
    Carbon,
    DataClass,
    Disruption,
    Level,
    Residency,
    Scope,
    Spot,
    Terms,
    Window,
)
from broker.policy.written import class_fields, hours, rule_fields, window, words

COUNTRIES = ("NO", "SE", "US")
WORDS = st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=3, unique=True).map(tuple)
AMOUNTS = st.none() | st.integers(0, 9).map(Decimal)
COUNTS = st.none() | st.integers(1, 9)
MINUTES = st.integers(0, 1440)
TERMS: st.SearchStrategy[Terms] = st.one_of(
    st.builds(Residency, WORDS, WORDS, st.just(()), WORDS, st.just((Artefact.LOG,))),
    st.builds(Spot, st.none() | st.booleans(), AMOUNTS, st.booleans(), COUNTS),
    st.builds(Carbon, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.just(()) | st.just(((1320, 360),))),
    st.builds(Budget, st.integers(1, 9).map(Decimal), st.just(()) | st.just((50, 80))),
    st.builds(
        Disruption,
        st.lists(
            st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), MINUTES, MINUTES),
            max_size=2,
        ).map(tuple),
        st.sampled_from(["UTC", "Europe/Oslo"]),
        COUNTS,
    ),
    st.builds(BlastRadius, COUNTS, COUNTS, AMOUNTS),
)
VERBS = {
    Residency: Verb.RESIDENCY,
    Spot: Verb.SPOT,
    Carbon: Verb.CARBON,
    Budget: Verb.BUDGET,
    Disruption: Verb.DISRUPTION,
    BlastRadius: Verb.BLAST_RADIUS,
}


def with_terms(terms: Terms) -> Rule:
    return Rule("a", VERBS[type(terms)], terms=terms, location=Location("p.yaml", 3))


@given(one=TERMS, other=TERMS)
def test_two_rules_are_told_apart_exactly_when_they_differ(one: Terms, other: Terms) -> None:
    """What a field does not say (spot by default, a flag that is down) is no difference."""
    found = changes(Policy((with_terms(one),)), Policy((with_terms(other),)))
    assert bool(found) is (with_terms(one) != with_terms(other))


@given(wanted=WORDS, when=WORDS)
def test_nothing_changes_between_equal_policies(
    a_rule: Callable, wanted: tuple[str, ...], when: tuple[str, ...]
) -> None:
    rule = a_rule("a", require={"country": wanted}, when={"data_class": when}, why="so")
    policy = Policy((rule,), classes=(DataClass("phi", ("personal",), ("care",)),))
    moved = replace(policy, rules=(replace(rule, location=Location("other.yaml", 9)),))
    assert changes(policy, moved) == ()


def test_a_changed_field_is_told_with_both_values_and_its_line(a_rule: Callable) -> None:
    old = a_rule("a", require={"country": ("NO", "SE")}, why="so")
    (clause,) = old.clauses
    new = replace(
        old,
        clauses=(replace(clause, wanted=("NO",), location=Location("p.yaml", 12)),),
        why="",
    )
    country, why = changes(Policy((old,)), Policy((new,)))
    assert country == Change(
        What.CHANGED, "rule a", "require.country", "[NO, SE]", "[NO]", Location("p.yaml", 12)
    )
    assert (why.field, why.before, why.after, why.location) == ("why", "so", "", new.location)


def test_rules_and_classes_come_and_go(a_rule: Callable) -> None:
    gone, come = (
        a_rule("a", require={"country": ("NO",)}),
        a_rule("b", Verb.BUDGET, terms=Budget(Decimal(5))),
    )
    old = Policy((gone,), classes=(DataClass("phi"),))
    new = Policy((come,), classes=(DataClass("pii", ("phi",), ("care",)), DataClass("pii")))
    found = changes(old, new)
    assert [(one.what, one.subject) for one in found] == [
        (What.ADDED, "class pii"),
        (What.ADDED, "rule b"),
        (What.REMOVED, "class phi"),
        (What.REMOVED, "rule a"),
    ]
    assert found[1].after == "verb budget, budget.usd_per_month 5"
    assert found[3].before == "verb require, require.country [NO]"
    assert found[0].location is None


def test_limits_of_two_files_are_two_rules(a_rule: Callable) -> None:
    low, high = (
        a_rule("limits.max_usd_per_hour", require={"max_usd_per_hour": Decimal(usd)})
        for usd in (1, 2)
    )
    (found,) = changes(Policy((low, high)), Policy((low, low)))
    assert (found.subject, found.before, found.after) == (
        "rule limits.max_usd_per_hour #2",
        "2",
        "1",
    )
    (gone,) = changes(Policy((low, high)), Policy((low,)))
    assert (gone.what, gone.subject) == (What.REMOVED, "rule limits.max_usd_per_hour #2")


def test_scope_and_purposes_are_fields_too(a_rule: Callable) -> None:
    rule = a_rule("a", require={"holds_data": True, "max_usd_per_hour": Decimal("4.50")})
    scope = Scope(Level.SITE, ("oslo-01",), ("ehr",))
    assert {name: one.words for name, one in rule_fields(replace(rule, scope=scope)).items()} == {
        "verb": "require",
        "scope": "site oslo-01",
        "scope.datasets": "[ehr]",
        "require.holds_data": "true",
        "require.max_usd_per_hour": "4.5",
    }
    found = class_fields(DataClass("phi", ("personal",), ("care", "research")))
    assert {name: one.words for name, one in found.items()} == {
        "is": "[personal]",
        "purposes": "[care, research]",
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Window(frozenset({5, 6}), 0, 1440), "Sat-Sun 00:00-24:00"),
        (Window(frozenset({0, 1, 2, 4}), 1200, 360), "Mon-Wed,Fri 20:00-06:00"),
        (((1320, 360),), "[22:00-06:00]"),
        (False, "false"),
        ("offer.vcpus > 4.0", "offer.vcpus > 4.0"),
    ],
)
def test_values_are_said_as_a_file_says_them(value: Any, said: str) -> None:
    assert words(value) == said


def test_hours_are_whole_or_in_minutes() -> None:
    assert (hours(Decimal(6)), hours(Decimal("1.5"))) == ("6h", "90m")
    assert window(Window(frozenset({3}), 0, 60)) == "Thu 00:00-01:00"


OFFERS = st.lists(
    st.tuples(st.sampled_from(COUNTRIES), st.none() | st.integers(1, 5), st.booleans()), max_size=8
)


@given(before=WORDS, after=WORDS, offers=OFFERS)
def test_the_effect_is_what_counting_by_hand_gives(
    a_rule: Callable,
    an_offer: Callable,
    before: tuple[str, ...],
    after: tuple[str, ...],
    offers: list[tuple[str, int | None, bool]],
) -> None:
    demand = Demand("any", (Resources(),))
    rules = [a_rule("a", require={"country": wanted}) for wanted in (before, after)]
    old, new = (Judge(Policy((rule,)), demand) for rule in rules)
    pool = [
        an_offer(None if usd is None else str(usd), country, vcpus=8.0 if fits else 1.0)
        for country, usd, fits in offers
    ]
    effect = Effect(demand)
    compare([Comparison(effect, old, new, lambda offer: offer.vcpus == 8)], iter(pool))
    fitting = [offer for offer in pool if offer.vcpus == 8]
    was = [offer for offer in fitting if offer.site.country in before]
    now = [offer for offer in fitting if offer.site.country in after]
    assert (effect.before, effect.after) == (len(was), len(now))
    assert effect.refused == sum(offer.site.country not in after for offer in was)
    assert effect.admitted == sum(offer.site.country not in before for offer in now)
    assert effect.before - effect.refused + effect.admitted == effect.after
    assert effect.changed is bool(effect.refused or effect.admitted)
    assert effect.by == ({"a": effect.refused} if effect.refused else {})
    assert price(effect.cheapest_before) == cheapest(was)
    assert price(effect.cheapest_after) == cheapest(now)


def cheapest(offers: list[Offer]) -> Decimal | None:
    return min((one.price.usd_per_hour for one in offers if one.price), default=None)


def price(offer: Offer | None) -> Decimal | None:
    return offer.price.usd_per_hour if offer and offer.price else None


def test_every_rule_that_refuses_is_counted(a_rule: Callable, an_offer: Callable) -> None:
    demand = Demand("any", (Resources(),))
    rules = (a_rule("a", require={"country": ("SE",)}), a_rule("b", deny={"cloud": ("aws",)}))
    effect = Effect(demand)
    nothing, both = Judge(Policy(), demand), Judge(Policy(rules), demand)
    compare(
        [Comparison(effect, nothing, both, lambda _: True)], [an_offer(), an_offer(site=Site())]
    )
    assert effect.by == {"a": 2, "b": 2}
