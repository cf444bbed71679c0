"""Which rules the cases have seen decide, and which they have seen hold back. Pure.

A rule that no case sees refuse (prefer, weigh) may never do so; one that no case sees pass may
refuse everything. A rule that only weighs, always, has nothing to hold back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker.model import Verdict
from broker.policy.cases import Outcome
from broker.policy.rules import Carbon, Level, Policy, Rule

DECIDES = frozenset({Verdict.REFUSES, Verdict.PREFERS, Verdict.WEIGHS})


@dataclass(frozen=True, slots=True)
class Cover:
    """How many cases saw the rule decide, and how many saw it hold back."""

    rule: Rule
    decided: int = 0
    held_back: int = 0

    @property
    def covered(self) -> bool:
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """What no case has shown."""
        said = (
            ("" if self.decided else f"no case sees it {_deed(self.rule)}"),
            ("" if self.held_back or _only_weighs(self.rule) else "no case sees it hold back"),
        )
        return tuple(filter(None, said))


def cover(runs: Iterable[tuple[Policy, Iterable[Outcome]]]) -> tuple[Cover, ...]:
    """One for each rule, in the files' order; a rule that several runs share is one rule."""
    found: dict[tuple[str, str], Cover] = {}
    for policy, outcomes in runs:
        verdicts = [(finding.rule, finding.verdict) for one in outcomes for finding in one.findings]
        for rule in policy.rules:
            key = (rule.location.file if rule.location else "", rule.id)
            before = found.get(key, Cover(rule))
            seen = [verdict in DECIDES for id_, verdict in verdicts if id_ == rule.id]
            decided = before.decided + sum(seen)
            found[key] = Cover(rule, decided, before.held_back + len(seen) - sum(seen))
    return tuple(found.values())


def per_cent(covers: Iterable[Cover]) -> int:
    """Of the rules that are covered, rounded down; 100 where there are none."""
    seen = [one.covered for one in covers]
    return 100 * sum(seen) // len(seen) if seen else 100


def _deed(rule: Rule) -> str:
    if _only_weighs(rule):
        return "weigh"
    return "prefer" if rule.verb == "prefer" else "refuse"


def _only_weighs(rule: Rule) -> bool:
    """Whether it prices emissions everywhere and does nothing else."""
    terms = rule.terms
    if not isinstance(terms, Carbon) or rule.when or rule.scope.level is not Level.ORGANISATION:
        return False
    caps = (terms.max_g_per_kwh, terms.max_kg, terms.shift_within_h)
    return terms.usd_per_kg is not None and not any(caps) and not terms.shift_hours
