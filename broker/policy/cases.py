"""Test cases for rules: a demand and an offer, what the rules should say, what they do say. Pure.

A case asks one of three things: may this demand go to this offer; may the broker interrupt this
work at this moment; when may this work begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from broker.model import Demand, Finding, Location, Offer, Reason, Verdict
from broker.policy.judge import Judge
from broker.policy.rules import Budget, Carbon, Disruption, Policy, Rule
from broker.policy.standing import MACHINES, USD, USD_PER_HOUR, Standing, account_id, month
from broker.policy.windows import may_disrupt, start_after


class Ask(StrEnum):
    OFFER = "offer"
    DISRUPT = "disrupt"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True)
class Given:
    """What was given out before, by rule id, and the moment at which the rules are asked."""

    now: datetime
    spent: Mapping[str, Decimal] = field(default_factory=dict)
    machines: Mapping[str, Decimal] = field(default_factory=dict)
    usd_per_hour: Mapping[str, Decimal] = field(default_factory=dict)
    disrupted: int = 0  # runs that the broker is interrupting already


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case wants. None: it does not say."""

    allowed: bool | None = None
    by: frozenset[str] | None = None  # exactly these rules refuse
    prefers: frozenset[str] | None = None  # exactly these preferences count
    weighs: Decimal | None = None  # USD per hour, to the digits given
    start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ask: Ask
    demand: Demand
    offer: Offer
    given: Given
    expected: Expected
    location: Location


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules said. `failures` say what was expected and what was found; none: it passed."""

    case: Case
    findings: tuple[Finding, ...]
    reasons: tuple[Reason, ...] = ()
    weight: Decimal = Decimal(0)
    start: datetime | None = None
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def refused_by(self) -> frozenset[str]:
        return frozenset(reason.rule for reason in self.reasons)


def run_case(policy: Policy, case: Case) -> Outcome:
    """Ask what a plan and the engine ask, and compare."""
    found = _ASKED[case.ask](policy, case)
    return replace(found, failures=tuple(_failures(case, found)))


def standing(policy: Policy, case: Case) -> Standing:
    """What the case says was given out, as the judge reads it: by account."""
    given = case.given
    return Standing(
        now=given.now,
        left_usd=_accounts(policy, case, USD, given.spent, _left),
        machines=_accounts(policy, case, MACHINES, given.machines, _taken),
        usd_per_hour=_accounts(policy, case, USD_PER_HOUR, given.usd_per_hour, _taken),
    )


def _accounts(
    policy: Policy,
    case: Case,
    unit: str,
    given: Mapping[str, Decimal],
    amount: Callable[[Rule, Decimal], Decimal],
) -> dict[str, Decimal]:
    period = month(case.given.now) if unit == USD else ""
    return {
        account_id(rule, case.demand.project, period, unit): amount(rule, given[rule.id])
        for rule in policy.rules
        if rule.id in given
    }


def _left(rule: Rule, spent: Decimal) -> Decimal:
    assert isinstance(rule.terms, Budget), rule.id
    return rule.terms.usd_per_month - spent


def _taken(_: Rule, amount: Decimal) -> Decimal:
    return amount


def _of_offer(policy: Policy, case: Case) -> Outcome:
    decision = Judge(policy, case.demand, standing(policy, case)).trace(case.offer)
    return Outcome(case, decision.findings, decision.reasons, decision.weight_usd_per_hour)


def _of_disruption(policy: Policy, case: Case) -> Outcome:
    """Rule by rule, so that every rule that refuses is told, not the first alone."""
    told = tuple(
        _told(rule, _disruption(policy, rule, case))
        for rule in policy.rules
        if isinstance(rule.terms, Disruption)
    )
    against = (one for one in told if one.verdict is Verdict.REFUSES)
    return Outcome(case, told, tuple(_reason(one) for one in against))


def _disruption(policy: Policy, rule: Rule, case: Case) -> Finding:
    given = case.given
    return may_disrupt(
        _alone(policy, rule),
        case.demand,
        given.now,
        node=case.offer.node,
        under_way=given.disrupted,
    )


def _told(rule: Rule, finding: Finding) -> Finding:
    """A finding that is not the rule's own says that it does not apply."""
    if finding.rule == rule.id:
        return finding
    return Finding(rule.id, Verdict.IDLE, location=rule.location, scope=str(rule.scope))


def _of_shift(policy: Policy, case: Case) -> Outcome:
    now = case.given.now
    told = tuple(
        _shifted(rule, start_after(_alone(policy, rule), case.demand, now), now)
        for rule in policy.rules
        if isinstance(rule.terms, Carbon) and rule.terms.shift_hours
    )
    later = start_after(policy, case.demand, now)
    return Outcome(case, told, start=later[0] if later else now)


def _shifted(rule: Rule, later: tuple[datetime, Rule] | None, now: datetime) -> Finding:
    """A rule that makes the start wait refuses the moment at which it was asked for."""
    where = rule.locations.get("shift.hours", rule.location)
    saw = f"asked for at {_moment(now)}"
    if later is None:
        return Finding(rule.id, Verdict.PASSES, saw, location=where, scope=str(rule.scope))
    wanted = f"a start at {_moment(later[0])}"
    return Finding(
        rule.id, Verdict.REFUSES, saw, wanted, location=where, why=rule.why, scope=str(rule.scope)
    )


def _alone(policy: Policy, rule: Rule) -> Policy:
    return Policy((rule,), classes=policy.classes)


def _reason(finding: Finding) -> Reason:
    return Reason(
        finding.kind,
        finding.rule,
        finding.saw,
        finding.wanted,
        finding.location,
        finding.source,
        finding.why,
    )


def _failures(case: Case, found: Outcome) -> Iterator[str]:
    expected = case.expected
    if expected.allowed is not None and expected.allowed is bool(found.reasons):
        yield _verdict(expected.allowed, found)
    elif expected.by is not None and expected.by != found.refused_by:
        yield _sets("refused by", expected.by, found.refused_by)
    preferred = frozenset(
        finding.rule for finding in found.findings if finding.verdict is Verdict.PREFERS
    )
    if expected.prefers is not None and expected.prefers != preferred:
        yield _sets("preferred by", expected.prefers, preferred)
    if expected.weighs is not None and not _is_as_written(expected.weighs, found.weight):
        got = f"{found.weight.normalize():f}"
        yield f"expected a weight of {expected.weighs:f} $/h, got {got}"
    if expected.start is not None and found.start != expected.start:
        yield f"expected a start at {_moment(expected.start)}, got {_moment(found.start)}"


def _verdict(allowed: bool, found: Outcome) -> str:
    if allowed:
        return f"expected allow, got deny by {_names(found.refused_by)}"
    return "expected deny, got allow"


def _sets(words: str, wanted: frozenset[str], got: frozenset[str]) -> str:
    return f"expected to be {words} {_names(wanted)}, got {_names(got)}"


def _names(rules: frozenset[str]) -> str:
    return f"[{', '.join(sorted(rules))}]"


def _is_as_written(wanted: Decimal, got: Decimal) -> bool:
    """Equal in as many digits as the case gives."""
    exponent = wanted.as_tuple().exponent
    assert isinstance(exponent, int), wanted
    return round(got, -exponent) == wanted


def _moment(moment: datetime | None) -> str:
    return "none" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_ASKED: Final[Mapping[Ask, Callable[[Policy, Case], Outcome]]] = {
    Ask.OFFER: _of_offer,
    Ask.DISRUPT: _of_disruption,
    Ask.SHIFT: _of_shift,
}
