"""Every single change of a policy that somebody could make by mistake, at the level of its values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from broker.model import Artefact, Location
from broker.policy.rules import (
    Clause,
    DataClass,
    Disruption,
    Policy,
    Rule,
    Terms,
    Window,
)

DAY = 24 * 60
# Words that a list could gain; those that it has already are left out.
FOREIGN: dict[str, Sequence[str]] = {
    "data_class": ["open"],
    "purpose": ["care", "marketing"],
    "role": ["task", "aggregator", "site"],
    "kind": ["cloud", "edge", "local"],
    "market": ["on-demand", "spot", "reserved", "owned"],
    "country": ["US"],
    "bloc": ["ASEAN"],
    "operator_country": ["US"],
    "of": list(Artefact),
}
TERM_FIELDS = {
    "countries": "country",
    "blocs": "bloc",
    "operator_countries": "operator_country",
    "shift_hours": "shift.hours",
    "shift_within_h": "shift.within",
    "max_duration_h": "max_duration",
    "windows": "allow",
}
OPERATORS = {
    "==": ["!="],
    "!=": ["=="],
    "<=": ["<", ">"],
    ">=": [">", "<"],
    "<": ["<=", ">="],
    ">": [">=", "<="],
    "&&": ["||"],
    "||": ["&&"],
}


@dataclass(frozen=True)
class Mutant:
    """A policy with one change. `what` says which, `rule` where."""

    what: str
    rule: str
    location: Location | None
    policy: Policy

    def __str__(self) -> str:
        return f"{self.location}: {self.rule}: {self.what}"


def mutants(policy: Policy) -> Iterator[Mutant]:
    for at, rule in enumerate(policy.rules):
        rest = policy.rules[:at], policy.rules[at + 1 :]
        gone = replace(policy, rules=(*rest[0], *rest[1]))
        yield Mutant("the rule is gone", rule.id, rule.location, gone)
        for what, location, changed in rule_mutants(rule):
            rules = (*rest[0], changed, *rest[1])
            yield Mutant(what, rule.id, location or rule.location, replace(policy, rules=rules))
    for at, one in enumerate(policy.classes):
        for what, other in class_mutants(one):
            classes = (*policy.classes[:at], other, *policy.classes[at + 1 :])
            yield Mutant(what, one.name, one.location, replace(policy, classes=classes))


Change = tuple[str, Location | None, Rule]


def rule_mutants(rule: Rule) -> Iterator[Change]:
    for name in ("when", "clauses"):
        before: tuple[Clause, ...] = getattr(rule, name)
        for at, clause in enumerate(before):
            others = before[:at], before[at + 1 :]
            if name == "when" or len(before) > 1:
                left: Any = {name: (*others[0], *others[1])}
                yield f"{clause.field} is gone", clause.location, replace(rule, **left)
            for what, wanted in wanted_mutants(clause.field, clause.wanted):
                changed = replace(clause, wanted=wanted)
                made: Any = {name: (*others[0], changed, *others[1])}
                yield f"{clause.field} {what}", clause.location, replace(rule, **made)
    if rule.terms is not None:
        for what, field, terms in terms_mutants(rule.terms):
            yield what, rule.locations.get(field), replace(rule, terms=terms)


def terms_mutants(terms: Terms) -> Iterator[tuple[str, str, Terms]]:
    for field in fields(terms):
        value = getattr(terms, field.name)
        name = TERM_FIELDS.get(field.name, field.name)
        for what, changed in wanted_mutants(name, value):
            made: Any = {field.name: changed}
            yield f"{name} {what}", name, replace(terms, **made)
    if isinstance(terms, Disruption):
        for zone in {"UTC", "Asia/Tokyo"} - {terms.timezone}:
            yield f"timezone is {zone}", "timezone", replace(terms, timezone=zone)


def class_mutants(one: DataClass) -> Iterator[tuple[str, DataClass]]:
    for parent in one.parents:
        parents = tuple(each for each in one.parents if each != parent)
        yield f"is no {parent}", replace(one, parents=parents)
    if one.purposes is not None:
        yield "needs no purpose", replace(one, purposes=None)
        for what, purposes in wanted_mutants("purpose", one.purposes):
            yield f"purposes {what}", replace(one, purposes=purposes)


def wanted_mutants(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value of this field could be instead."""
    if isinstance(value, bool):
        yield f"is {not value}", not value
    elif isinstance(value, Decimal | int):
        yield from ((f"is {other}", other) for other in near(value))
    elif isinstance(value, str):
        if field == "expr":
            yield from ((f"is {other}", other) for other in expr_mutants(value))
    elif isinstance(value, tuple) and value:
        for at, word in enumerate(value):
            yield f"loses {shown(word)}", (*value[:at], *value[at + 1 :])
            for other in entry_mutants(word):
                changed = (*value[:at], other, *value[at + 1 :])
                yield f"has {shown(other)} for {shown(word)}", changed
        for word in FOREIGN.get(field, ()):
            if word not in value:
                yield f"gains {shown(word)}", (*value, word)


def near(value: Decimal | int) -> list[Decimal | int]:
    """A tenth less and a tenth more, at least one of what is counted."""
    if isinstance(value, Decimal):
        return [value * Decimal("0.9"), value * Decimal("1.1")]
    step = max(1, value // 10)
    return [value - step, value + step]


def expr_mutants(text: str) -> Iterator[str]:
    """One operator, number or string of it another; `!` and what is negated are left to operators."""
    pattern = r"'[^']*'|\d+\.?\d*|[=!<>]=|&&|\|\||[<>]"
    for match in re.finditer(pattern, text):
        for other in word_mutants(match[0]):
            yield text[: match.start()] + other + text[match.end() :]


def word_mutants(word: str) -> list[str]:
    if word in OPERATORS:
        return OPERATORS[word]
    if word.startswith("'"):
        return ["'something-else'"]
    changed = near(Decimal(word) if "." in word else int(word))
    return [f"{other:f}" if isinstance(other, Decimal) else str(other) for other in changed]


def entry_mutants(entry: Any) -> Iterator[Any]:
    """What an entry of a list could be instead, where it is more than a word."""
    if isinstance(entry, Window):
        yield from window_mutants(entry)
    elif isinstance(entry, tuple):
        since, until = entry
        yield from moved(since, until)
    elif isinstance(entry, int):
        yield from near(entry)


def window_mutants(window: Window) -> Iterator[Window]:
    for day in sorted(window.days):
        if len(window.days) > 1:
            yield replace(window, days=window.days - {day})
    missing = frozenset(range(7)) - window.days
    if missing:
        yield replace(window, days=window.days | {max(missing)})
    for since, until in moved(window.since, window.until):
        yield replace(window, since=since, until=until)


def moved(since: int, until: int) -> Iterator[tuple[int, int]]:
    """Both ends or one of them an hour earlier or later, as far as the day goes."""
    for first, last in ((-60, -60), (60, 60), (-60, 0), (60, 0), (0, -60), (0, 60)):
        if 0 <= since + first < DAY and 0 < until + last <= DAY:
            yield since + first, until + last


def shown(word: Any) -> str:
    if isinstance(word, Window):
        days = "".join("MTWTFSS"[day] for day in sorted(word.days))
        return f"{days} {clock(word.since)}-{clock(word.until)}"
    if isinstance(word, tuple):
        return "-".join(clock(minutes) for minutes in word)
    return word.value if isinstance(word, Artefact) else str(word)


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
