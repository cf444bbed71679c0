"""Law: every verb of a policy file arrives as a value whose terms know their places."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.documents import clock
from broker.documents.policies import load_policies
from broker.documents.units import UnitError
from broker.model import Artefact
from broker.policy.rules import (
    BlastRadius,
    Budget,
    Carbon,
    Clause,
    DataClass,
    Disruption,
    Level,
    Residency,
    Rule,
    Scope,
    Spot,
    Verb,
    Window,
)

Files = Callable[..., Path]
Problems = Callable[..., list[str]]
VERBS = {
    "residency: {country: [no, SE], bloc: eea, subdivision: us-va, operator_country: DE, of: LOG}": (
        Residency(("NO", "SE"), ("EEA",), ("US-VA",), ("DE",), (Artefact.LOG,))
    ),
    "residency: {country: NO}": Residency(("NO",)),
    "spot: {allow: false}": Spot(allow=False),
    "spot: {max_duration: 90m, needs_checkpoint: true, max_preemptions: 3}": (
        Spot(None, Decimal("1.5"), needs_checkpoint=True, max_preemptions=3)
    ),
    "carbon: {max_g_per_kwh: 250.5, max_kg: 5, usd_per_kg: 0.10}": (
        Carbon(Decimal("250.5"), Decimal(5), Decimal("0.1"))
    ),
    'carbon: {shift: {within: 8h, hours: ["22:00-06:00", "11:00-15:00"]}}': (
        Carbon(shift_within_h=Decimal(8), shift_hours=((1320, 360), (660, 900)))
    ),
    "budget: {usd_per_month: 500usd, warn_at: [80, 50, 80]}": Budget(Decimal(500), (50, 80)),
    "disruption: {allow: Fri-Mon 20:00-06:00, timezone: Europe/Oslo, max_at_once: 1}": (
        Disruption((Window(frozenset({4, 5, 6, 0}), 1200, 360),), "Europe/Oslo", 1)
    ),
    "disruption: {max_at_once: 2}": Disruption(max_at_once=2),
    "blast_radius: {max_nodes_per_run: 16, max_machines: 40, max_usd_per_hour: 120}": (
        BlastRadius(16, 40, Decimal(120))
    ),
}


def only_rule(a_file: Files, line: str, head: str = "policy: p") -> Rule:
    (rule,) = load_policies([a_file(f"{head}\nrules:\n  - id: a\n    {line}\n")]).rules
    return rule


@pytest.mark.parametrize("line", VERBS)
def test_a_verb_arrives_as_its_terms(a_file: Files, line: str) -> None:
    rule = only_rule(a_file, line)
    assert rule.terms == VERBS[line]
    assert rule.verb is Verb(line.partition(":")[0])
    assert rule.clauses == ()


def test_a_term_knows_its_place_and_those_below_it(a_file: Files) -> None:
    rule = only_rule(a_file, "carbon: {max_kg: 5, shift: {within: 8h, hours: 22:00-06:00}}")
    places = {name: (where.line, where.col) for name, where in rule.locations.items()}
    assert places == {
        "max_kg": (4, 22),
        "shift": (4, 32),
        "shift.within": (4, 41),
        "shift.hours": (4, 52),
    }


def test_a_comparing_verb_has_clauses_and_no_terms(a_file: Files) -> None:
    rule = only_rule(
        a_file,
        "require: {operator: [Hetzner], operator_country: de, subdivision: us-va, "
        'max_price_age: 36h, max_usd_per_accelerator_hour: $3, expr: "offer.vcpus > 1.0"}',
    )
    assert [(one.field, one.wanted) for one in rule.clauses] == [
        ("operator", ("Hetzner",)),
        ("operator_country", ("DE",)),
        ("subdivision", ("US-VA",)),
        ("max_price_age", Decimal("1.5")),
        ("max_usd_per_accelerator_hour", Decimal(3)),
        ("expr", "offer.vcpus > 1.0"),
    ]
    assert (rule.terms, rule.locations) == (None, {})


def test_every_limit_is_a_rule_with_the_files_scope(a_file: Files) -> None:
    text = "policy: p\nscope: {project: x}\nlimits: {max_price_age: 30d, budget_usd: 5}\n"
    rules = load_policies([a_file(text)]).rules
    assert [(one.id, one.clauses[0].wanted) for one in rules] == [
        ("limits.max_price_age", Decimal(30)),
        ("limits.budget_usd", Decimal(5)),
    ]
    assert {one.scope for one in rules} == {Scope(Level.PROJECT, ("x",))}


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("", Scope()),
        ("scope: organisation", Scope()),
        ("scope: {project: research}", Scope(Level.PROJECT, ("research",))),
        ("scope: {project: [a, b]}", Scope(Level.PROJECT, ("a", "b"))),
        ("scope: {site: oslo-01}", Scope(Level.SITE, ("oslo-01",))),
        (
            "scope: {site: [oslo-01], datasets: EHR}",
            Scope(Level.SITE, ("oslo-01",), ("ehr",)),
        ),
    ],
)
def test_every_rule_has_the_scope_of_its_file(a_file: Files, text: str, scope: Scope) -> None:
    assert only_rule(a_file, "deny: {cloud: x}", f"policy: p\n{text}").scope == scope


@pytest.mark.parametrize("text", ["{}", "[project]", "{datasets: [a]}", "5", "{site: []}"])
def test_another_scope_is_refused(a_file: Files, problems: Problems, text: str) -> None:
    assert problems(load_policies, [a_file(f"policy: p\nscope: {text}\n")])


def test_classes_arrive_with_parents_and_purposes(a_file: Files) -> None:
    text = "policy: p\nclasses:\n  PHI: {is: [Personal], purposes: care}\n  personal: {}\n"
    policy = load_policies([a_file(text)])
    assert [DataClass(one.name, one.parents, one.purposes) for one in policy.classes] == [
        DataClass("phi", ("personal",), ("care",)),
        DataClass("personal"),
    ]
    assert str(policy.classes[0].location) == "file.yaml:3:3"
    assert policy.lineage("phi") == {"phi", "personal"}


def test_a_parent_may_stand_in_another_file(a_file: Files) -> None:
    one = a_file("policy: one\nclasses: {phi: {is: personal}}\n", "one.yaml")
    two = a_file("policy: two\nclasses: {personal: {}}\n", "two.yaml")
    assert len(load_policies([one, two]).classes) == 2


def test_a_parent_that_no_file_defines_is_refused(a_file: Files, problems: Problems) -> None:
    path = a_file("policy: one\nclasses: {phi: {is: personal}}\n")
    assert problems(load_policies, [path]) == [
        "POL022 2:21 class `phi` is a `personal`, which no policy file defines"
    ]


def test_a_parent_is_not_missed_where_a_file_could_not_be_read(
    a_file: Files, problems: Problems
) -> None:
    one = a_file("policy: one\nclasses: {phi: {is: personal}}\n", "one.yaml")
    two = a_file("policy: two\nclasses: {personal: {}}\nrulez: []\n", "two.yaml")
    assert [one[:6] for one in problems(load_policies, [one, two])] == ["POL002"]


def test_a_circle_over_two_files_is_found(a_file: Files, problems: Problems) -> None:
    one = a_file("policy: one\nclasses: {a: {is: b}}\n", "one.yaml")
    two = a_file("policy: two\nclasses: {b: {is: a}}\n", "two.yaml")
    assert problems(load_policies, [one, two]) == [
        "POL023 2:19 class `a` descends from itself: a is a b is a a"
    ]


def test_a_class_may_stand_in_two_files(a_file: Files) -> None:
    one = a_file("policy: one\nclasses: {phi: {purposes: [care]}}\n", "one.yaml")
    two = a_file("policy: two\nclasses: {phi: {purposes: [research]}}\n", "two.yaml")
    assert [each.purposes for each in load_policies([one, two]).classes] == [
        ("care",),
        ("research",),
    ]


CLOCK = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda at: f"{at[0]:02}:{at[1]:02}")


@given(CLOCK, CLOCK)
def test_hours_are_minutes_of_the_day(since: str, until: str) -> None:
    def minutes(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    if since == until:
        with pytest.raises(UnitError, match="end later"):
            clock.daily(f"{since}-{until}")
    else:
        assert clock.daily(f" {since} - {until}") == (minutes(since), minutes(until))
        every_day = Window(frozenset(range(7)), minutes(since), minutes(until))
        assert clock.weekly(f"{since}-{until}") == every_day


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ("Mon", {0}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("Sat-Sun", {5, 6}),
        ("Sun-Mon", {6, 0}),
        ("Mon,Wed , Fri-Sat", {0, 2, 4, 5}),
        ("Mon-Mon", {0}),
        ("Tue-Mon", set(range(7))),
    ],
)
def test_days_are_ranges_and_lists(days: str, found: set[int]) -> None:
    assert clock.weekly(f"{days} 00:00-24:00") == Window(frozenset(found), 0, 1440)


@pytest.mark.parametrize("text", ["24:00-06:00", "6:00-8:00", "Mon-", "x 00:00-24:00", "", 5, None])
def test_other_windows_are_refused(text: object) -> None:
    for parse in (clock.daily, clock.weekly):
        with pytest.raises(UnitError) as refused:
            parse(text)
        assert refused.value.code == clock.WINDOW


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Oslo", "America/Argentina/Buenos_Aires", "Etc/GMT+3"]
)
def test_a_zone_of_the_database_is_one(name: str) -> None:
    assert clock.zone(name) == name


@pytest.mark.parametrize(
    ("name", "tip"),
    [
        ("Europe/Olso", "did you mean `Europe/Oslo`?"),
        ("new_york", "did you mean `America/New_York`?"),
        ("Qqqq", "write a name such as `Europe/Oslo`, or `UTC`"),
        ("../../etc/passwd", "the names are those of the time zone database"),
        (5, "the names are those of the time zone database"),
    ],
)
def test_another_zone_is_refused_with_the_nearest(name: object, tip: str) -> None:
    with pytest.raises(UnitError) as refused:
        clock.zone(name)
    assert refused.value.tip == tip


def test_a_rule_reads_the_project_of_a_demand(a_file: Files) -> None:
    rule = only_rule(a_file, "when: {project: research}\n    deny: {cloud: x}")
    assert [Clause(one.field, one.wanted) for one in rule.when] == [
        Clause("project", ("research",))
    ]
