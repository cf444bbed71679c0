"""When work may be interrupted or started, and how often it may be taken back. Pure.

These rules are about runs, not offers. What their `when` says of the demand decides; what it says of
offers is not known here, and unknown counts as yes: the rule applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from broker.model import Demand, Finding, Verdict
from broker.policy.conditions import Question, is_about_demands, of_demand, question
from broker.policy.rules import Carbon, Disruption, Policy, Rule, Spot, Window
from broker.policy.scopes import in_order, reaches
from broker.policy.standing import Standing

DISRUPTION: Final = "disruption"
DAY_MIN: Final = 1440
_FAR_D: Final = 2  # hours that do not meet in two days never do: they are the same every day
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def may_disrupt(
    policy: Policy, subject: Demand, now: datetime, *, node: str = "", under_way: int = 0
) -> Finding:
    """Whether the broker may itself interrupt this demand's work now, by the rules of every scope.

    `node` names the enrolled node it runs on, so that the owner's rules bind; `under_way` counts what
    is being interrupted already. The first rule that says no is told, site owners' first.
    """
    told = [
        _disrupts(rule, rule.terms, now, under_way)
        for rule in applying(policy, subject, node)
        if isinstance(rule.terms, Disruption)
    ]
    free = Finding(DISRUPTION, Verdict.PASSES, "no rule about disruption applies")
    against = (one for one in told if one.verdict is Verdict.REFUSES)
    return next(against, told[0] if told else free)


def max_preemptions(policy: Policy, demand: Demand) -> int | None:
    """How often spot machines may be taken back before a lease tries others; the least that is said."""
    terms = (rule.terms for rule in applying(policy, demand) if isinstance(rule.terms, Spot))
    said = (one.max_preemptions for one in terms if one.max_preemptions is not None)
    return min(said, default=None)


def start_after(policy: Policy, demand: Demand, now: datetime) -> tuple[datetime, Rule] | None:
    """The earliest moment in the hours of every rule that shifts, and the rule that waits the longest.

    None where the demand does not say that it can wait, where it may start now, and where no moment
    within what demand and rules allow is in all hours: work does not wait in vain.
    """
    rules = [
        (rule, rule.terms)
        for rule in applying(policy, demand)
        if isinstance(rule.terms, Carbon) and rule.terms.shift_hours
    ]
    if demand.start_within_h is None or not rules:
        return None
    waits = [one.shift_within_h for _, one in rules if one.shift_within_h is not None]
    last = now + timedelta(hours=float(min([demand.start_within_h, *waits, Decimal(24 * _FAR_D)])))
    opened = {moment: rule for rule, one in reversed(rules) for moment in _openings(one, now)}
    for moment in sorted({now, *opened}):
        if moment <= last and all(_is_within(one, moment) for _, one in rules):
            return None if moment == now else (moment, opened[moment])
    return None


def applying(policy: Policy, demand: Demand, node: str = "") -> Iterator[Rule]:
    """The rules that bind the demand, as far as it decides, on this node; site owners' first."""
    asked = question(policy, demand, Standing())
    for rule in in_order(policy.rules):
        reached = reaches(rule.scope, demand)
        if reached is None:
            reached = node in rule.scope.names
        if reached and _is_asked(rule, asked):
            yield rule


def _is_asked(rule: Rule, asked: Question) -> bool:
    said = (of_demand(clause, asked)[0] for clause in rule.when if is_about_demands(clause))
    return False not in set(said)


def _disrupts(rule: Rule, terms: Disruption, now: datetime, under_way: int) -> Finding:
    local = _local(now, terms.timezone)
    most = terms.max_at_once
    saw = f"time zone {terms.timezone} unknown" if local is None else f"{local:%a %H:%M}"
    wanted = f"{', '.join(_said(one) for one in terms.windows) or 'any time'} in {terms.timezone}"
    where, open_now = "allow", local is not None and _is_open(terms.windows, local)
    if open_now and most is not None:
        saw, wanted = f"{under_way} under way", f"at most {most} at once"
        where, open_now = "max_at_once", under_way < most
    return Finding(
        rule.id,
        Verdict.PASSES if open_now else Verdict.REFUSES,
        saw,
        wanted,
        location=rule.locations.get(where, rule.location),
        why=rule.why,
        scope=str(rule.scope),
    )


def _local(now: datetime, timezone: str) -> datetime | None:
    """What the clock on the wall shows there, summer time included; None for an unknown zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return now.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _is_open(windows: Iterable[Window], local: datetime) -> bool:
    """Hours past midnight belong to the day on which the window began."""
    today, minute = local.weekday(), local.hour * 60 + local.minute
    windows = tuple(windows)
    return not windows or any(
        (today in one.days and _spans(one.since, one.until, minute))
        or ((today - 1) % 7 in one.days and _spans(one.since, one.until, minute + DAY_MIN))
        for one in windows
    )


def _spans(since: int, until: int, minute: int) -> bool:
    """Whether a minute, counted from the day on which the window begins, is in it."""
    return since <= minute < (until if until > since else until + DAY_MIN)


def _said(window: Window) -> str:
    days = " ".join(_DAYS[day] for day in sorted(window.days))
    return f"{days} {_clock(window.since)}-{_clock(window.until)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _openings(terms: Carbon, now: datetime) -> Iterator[datetime]:
    """When the hours begin in the next days, from now on."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(_FAR_D + 1):
        for since, _ in terms.shift_hours:
            moment = midnight + timedelta(days=day, minutes=since)
            if moment >= now:
                yield moment


def _is_within(terms: Carbon, moment: datetime) -> bool:
    """Whether it is in the hours; some of them may have begun the day before."""
    day = moment.astimezone(UTC)
    minute = day.hour * 60 + day.minute
    return any(
        _spans(since, until, minute) or _spans(since, until, minute + DAY_MIN)
        for since, until in terms.shift_hours
    )
