"""Laws of the hours in which work may be interrupted or started, summer time included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Demand, Location, Verdict
from broker.policy import (
    Clause,
    Policy,
    Rule,
    Verb,
    max_preemptions,
    may_disrupt,
    start_after,
)
from broker.policy.rules import Carbon, Disruption, Level, Scope, Spot, Terms, Window

Demands = Callable[..., Demand]
OSLO = "Europe/Oslo"
HERE = Location("ops.yaml", 4, 9)
AT = Location("ops.yaml", 6, 9)
VERBS = {Disruption: Verb.DISRUPTION, Carbon: Verb.CARBON, Spot: Verb.SPOT}
NIGHTS = Window(frozenset(range(5)), 20 * 60, 6 * 60)
WEEKEND = Window(frozenset({5, 6}), 0, 1440)
MOMENTS = st.integers(0, 2 * 365 * 86400).map(
    lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


def rule(terms: Terms, name: str = "r", **more: Any) -> Rule:
    return Rule(name, VERBS[type(terms)], terms=terms, why="calm", location=HERE, **more)


def policy(*terms: Terms, **more: Any) -> Policy:
    return Policy(tuple(rule(one, f"r{number}", **more) for number, one in enumerate(terms)))


def at(text: str, zone: str = OSLO) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2026-03-27T21:00", True),  # Friday night
        ("2026-03-28T03:00", True),  # Saturday
        ("2026-03-30T05:59", False),  # Monday morning: Sunday is no night of the week
        ("2026-03-31T05:59", True),  # Monday's night
        ("2026-03-31T06:00", False),
        ("2026-03-31T20:00", True),
        ("2026-03-31T19:59", False),
    ],
)
def test_work_is_interrupted_only_in_its_windows(
    a_demand: Demands, moment: str, allowed: bool
) -> None:
    rules = policy(Disruption((NIGHTS, WEEKEND), OSLO))
    found = may_disrupt(rules, a_demand(), at(moment))
    assert (found.verdict is Verdict.PASSES) is allowed
    assert found.rule == "r0"
    assert found.wanted == "Mon Tue Wed Thu Fri 20:00-06:00, Sat Sun 00:00-24:00 in Europe/Oslo"
    assert (found.location, found.why, found.scope) == (HERE, "calm", "organisation")


def test_windows_follow_the_clock_on_the_wall_when_summer_time_begins(a_demand: Demands) -> None:
    """20:00 in Oslo is 19:00 UTC in winter and 18:00 UTC in summer."""
    rules = policy(Disruption((Window(frozenset(range(7)), 1200, 1260),), OSLO))
    for day, hour in (("2026-03-28", 19), ("2026-03-29", 18)):
        opens = datetime.fromisoformat(f"{day}T{hour}:00+00:00")
        assert may_disrupt(rules, a_demand(), opens).verdict is Verdict.PASSES
        early = may_disrupt(rules, a_demand(), opens - timedelta(minutes=1))
        assert (early.verdict, early.saw[-5:]) == (Verdict.REFUSES, "19:59")


@given(
    MOMENTS,
    st.integers(0, 1439),
    st.integers(1, 1439),
    st.sampled_from([OSLO, "UTC", "Asia/Kolkata"]),
)
def test_a_window_and_the_rest_of_its_day_are_the_whole_week(
    moment: datetime, since: int, length: int, zone: str
) -> None:
    until = (since + length) % 1440
    demand = Demand("d", ())
    days = frozenset(range(7))
    verdicts = [
        may_disrupt(policy(Disruption((window,), zone)), demand, moment).verdict
        for window in (Window(days, since, until), Window(days, until, since))
    ]
    assert sorted(verdicts) == [Verdict.PASSES, Verdict.REFUSES]
    whole = policy(Disruption((Window(days, since, since),), zone))
    assert may_disrupt(whole, demand, moment).verdict is Verdict.PASSES


def test_without_a_rule_work_may_be_interrupted(a_demand: Demands) -> None:
    found = may_disrupt(Policy(), a_demand(), at("2026-03-31T12:00"))
    assert (found.rule, found.verdict) == ("disruption", Verdict.PASSES)
    always = may_disrupt(policy(Disruption()), a_demand(), at("2026-03-31T12:00"))
    assert (always.verdict, always.wanted) == (Verdict.PASSES, "any time in UTC")


def test_an_unknown_time_zone_keeps_every_window_shut(a_demand: Demands) -> None:
    for zone in ("Mars/Olympus", "../etc"):
        found = may_disrupt(policy(Disruption((), zone)), a_demand(), at("2026-03-31T12:00"))
        assert (found.verdict, found.saw) == (Verdict.REFUSES, f"time zone {zone} unknown")


def test_only_so_many_are_interrupted_at_once(a_demand: Demands) -> None:
    rules = policy(Disruption(max_at_once=2), locations={"max_at_once": AT})
    now = at("2026-03-31T12:00")
    assert may_disrupt(rules, a_demand(), now, under_way=1).verdict is Verdict.PASSES
    found = may_disrupt(rules, a_demand(), now, under_way=2)
    assert (found.verdict, found.saw, found.wanted) == (
        Verdict.REFUSES,
        "2 under way",
        "at most 2 at once",
    )
    assert found.location == AT


def test_the_first_rule_that_says_no_is_told_and_owners_come_first(a_demand: Demands) -> None:
    shut = Disruption((Window(frozenset({6}), 0, 60),))
    owner = rule(shut, "owner", scope=Scope(Level.SITE, ("oslo",)))
    rules = Policy((rule(Disruption(), "free"), rule(shut, "shut"), owner))
    now = at("2026-03-31T12:00")
    assert may_disrupt(rules, a_demand(), now).rule == "shut"
    assert may_disrupt(rules, a_demand(), now, node="oslo").rule == "owner"


def test_rules_about_runs_ask_what_the_demand_says(a_demand: Demands) -> None:
    """What their `when` says of offers is not known, and unknown counts as yes."""
    now = at("2026-03-31T12:00")
    shut = Disruption((Window(frozenset({6}), 0, 60),))
    of_sites = policy(shut, when=(Clause("role", ("site",)), Clause("country", ("NO",))))
    assert may_disrupt(of_sites, a_demand(role="site"), now).verdict is Verdict.REFUSES
    assert may_disrupt(of_sites, a_demand(), now).verdict is Verdict.PASSES
    of_project = policy(shut, scope=Scope(Level.PROJECT, ("x",)))
    assert may_disrupt(of_project, a_demand(project="x"), now).verdict is Verdict.REFUSES
    assert may_disrupt(of_project, a_demand(), now).verdict is Verdict.PASSES


def test_the_least_number_of_preemptions_counts(a_demand: Demands) -> None:
    assert max_preemptions(policy(Spot(allow=False)), a_demand()) is None
    rules = policy(Spot(max_preemptions=5), Spot(max_preemptions=3), Carbon())
    assert max_preemptions(rules, a_demand()) == 3
    assert max_preemptions(Policy(), a_demand()) is None


def shift(*hours: tuple[int, int], within: str | None = None) -> Carbon:
    return Carbon(
        shift_within_h=None if within is None else Decimal(within),
        shift_hours=tuple((since * 60, until * 60) for since, until in hours),
    )


NOON = datetime(2026, 6, 3, 12, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("terms", "patience", "start"),
    [
        ([shift((22, 6))], "12", "2026-06-03T22:00"),
        ([shift((22, 6))], "9", None),  # would have to wait 9.5 h
        ([shift((22, 6), within="9")], "12", None),
        ([shift((22, 6), within="10")], "12", "2026-06-03T22:00"),
        ([shift((12, 13))], "12", None),  # it may start now
        ([shift((1, 2))], "48", "2026-06-04T01:00"),
        ([shift((1, 2))], "1000000000", "2026-06-04T01:00"),
        ([shift((20, 23)), shift((22, 6))], "48", "2026-06-03T22:00"),
        ([shift((13, 14)), shift((22, 6))], "48", None),  # they never meet
        ([shift((23, 23))], "48", None),  # the whole day
        ([shift()], "48", None),
        ([Carbon()], "48", None),
        ([shift((22, 6))], None, None),
    ],
)
def test_a_start_waits_for_the_hours_of_all_rules_and_never_in_vain(
    a_demand: Demands, terms: list[Carbon], patience: str | None, start: str | None
) -> None:
    demand = a_demand(start_within_h=None if patience is None else Decimal(patience))
    found = start_after(policy(*terms), demand, NOON)
    if start is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == datetime.fromisoformat(f"{start}:00+00:00")


def test_the_rule_whose_hours_begin_last_is_told(a_demand: Demands) -> None:
    demand = a_demand(start_within_h=Decimal(24))
    found = start_after(policy(shift((20, 23)), shift((22, 6))), demand, NOON)
    assert found is not None
    assert found[1].id == "r1"
    twins = start_after(policy(shift((22, 6)), shift((22, 7))), demand, NOON)
    assert twins is not None
    assert twins[1].id == "r0"


@given(MOMENTS, st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 48))
def test_a_start_lies_in_the_hours_and_no_earlier_moment_does(
    now: datetime, since: int, until: int, patience: int
) -> None:
    terms = Carbon(shift_hours=((since, until),))
    demand = Demand("d", (), start_within_h=Decimal(patience))
    found = start_after(policy(terms), demand, now)
    again = policy(Disruption((Window(frozenset(range(7)), since, until),)))

    def is_open(moment: datetime) -> bool:
        return may_disrupt(again, demand, moment).verdict is Verdict.PASSES

    last = now + timedelta(hours=patience)
    steps = (now + timedelta(minutes=15 * step) for step in range(4 * patience + 1))
    if found is None:
        assert is_open(now) or not any(is_open(moment) for moment in steps)
        return
    moment, blamed = found
    assert now < moment <= last
    assert blamed.id == "r0"
    assert is_open(moment)
    assert not any(is_open(one) for one in steps if one < moment)


def test_a_site_owners_hours_bind_only_those_who_name_its_data(a_demand: Demands) -> None:
    """Where a start is planned no node is chosen yet."""
    rules = policy(shift((22, 6)), scope=Scope(Level.SITE, ("oslo",)))
    demand = a_demand(start_within_h=Decimal(24))
    assert start_after(rules, demand, NOON) is None
    owned = replace(rules.rules[0], scope=Scope(Level.SITE, ("oslo",), ("ehr",)))
    named = replace(demand, data=replace(demand.data, datasets=("ehr",)))
    assert start_after(Policy((owned,)), named, NOON) is not None
