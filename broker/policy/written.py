"""Rules as they stand in a file: field by field, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

from broker.model import Location
from broker.policy.rules import Clause, DataClass, Level, Rule, Window

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# attribute of the terms -> the field's name in a file
NAMES: Final = {
    "countries": "country",
    "blocs": "bloc",
    "subdivisions": "subdivision",
    "operator_countries": "operator_country",
    "max_duration_h": "max_duration",
    "shift_within_h": "shift.within",
    "shift_hours": "shift.hours",
    "windows": "allow",
}
HOURS: Final = frozenset({"max_duration_h", "shift_within_h"})


@dataclass(frozen=True, slots=True)
class Written:
    """What one field says, and where."""

    words: str
    location: Location | None = None


def rule_fields(rule: Rule) -> dict[str, Written]:
    """`verb.field` and `when.field` to what they say; what is not said is left out."""
    found = {"verb": Written(str(rule.verb), rule.location)}
    if rule.scope.level is not Level.ORGANISATION:
        found["scope"] = Written(str(rule.scope), rule.location)
    if rule.scope.datasets:
        found["scope.datasets"] = Written(words(rule.scope.datasets), rule.location)
    found |= {f"when.{one.field}": _clause(one) for one in rule.when}
    found |= {f"{rule.verb}.{one.field}": _clause(one) for one in rule.clauses}
    found |= {f"{rule.verb}.{name}": one for name, one in term_fields(rule).items()}
    if rule.why:
        found["why"] = Written(rule.why, rule.location)
    return found


def class_fields(one: DataClass) -> dict[str, Written]:
    found = {"is": Written(words(one.parents), one.location)}
    if one.purposes is not None:
        found["purposes"] = Written(words(one.purposes), one.location)
    return found


def term_fields(rule: Rule) -> dict[str, Written]:
    """The fields of a verb with terms of its own."""
    if rule.terms is None:
        return {}
    named = ((each.name, getattr(rule.terms, each.name)) for each in fields(rule.terms))
    return {
        NAMES.get(name, name): Written(
            hours(value) if name in HOURS else words(value), _where(rule, NAMES.get(name, name))
        )
        for name, value in named
        if _is_said(name, value)
    }


def words(value: Any) -> str:
    """A value as a file would say it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Window):
        return window(value)
    if isinstance(value, tuple) and _are_hours(value):
        return _listed(f"{_clock(since)}-{_clock(until)}" for since, until in value)
    return _listed(map(words, value)) if isinstance(value, tuple) else str(value)


def window(one: Window) -> str:
    """`Sat-Sun 00:00-24:00`."""
    return f"{_days(sorted(one.days))} {_clock(one.since)}-{_clock(one.until)}"


def hours(value: Decimal) -> str:
    """`6h`, or `90m` where it is no whole number of hours."""
    whole = value == value.to_integral_value()
    return f"{words(value)}h" if whole else f"{words(round(value * 60, 3))}m"


def _is_said(name: str, value: Any) -> bool:
    """A refusal of spot is said by False; any other False, as None and nothing, says nothing."""
    return name == "allow" if value is False else value is not None and value != ()


def _clause(clause: Clause) -> Written:
    return Written(words(clause.wanted), clause.location)


def _where(rule: Rule, name: str) -> Location | None:
    return rule.locations.get(name, rule.location)


def _are_hours(value: tuple[Any, ...]) -> bool:
    return bool(value) and all(isinstance(one, tuple) for one in value)


def _listed(parts: Iterable[str]) -> str:
    return f"[{', '.join(parts)}]"


def _days(days: list[int]) -> str:
    """Runs of days that follow each other, as `Mon-Fri`."""
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    return DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
