"""Decides over offers, all rules at once, so that "also refused by" is true. Pure.

Most offers share their facts: verdicts are remembered by exactly those attributes of an offer that
some rule in force reads, and only prices are compared anew for each. Reasons come in this order:
a data class that no rule covers, facts in the rules' order, hourly caps, budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter
from typing import Any

from broker.model import Decision, Demand, Kind, Offer, Reason
from broker.policy import facts
from broker.policy.prices import Cap, Prices
from broker.policy.rules import BUDGET_USD, MAX_USD_PER_HOUR, MONEY, Clause, Policy, Rule, Verb

KINDS = {MAX_USD_PER_HOUR: Kind.PRICE, BUDGET_USD: Kind.BUDGET}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What offers with the same facts have in common. `prices`: what is left to compare."""

    reasons: tuple[Reason, ...]
    preference: int
    prices: Prices | None


class Judge:
    """The verdict of one policy over offers for one demand. Call it with an offer."""

    def __init__(self, policy: Policy, demand: Demand) -> None:
        self._demand = demand
        self._rules = tuple(rule for rule in policy.rules if _concerns(rule, demand))
        self._uncovered = _uncovered(policy, demand)
        self._own_budget = _own_budget(demand)
        self._facts = _reader(_reads(self._rules))
        self._verdicts: dict[Any, Verdict] = {}
        self._prices: dict[tuple[tuple[Cap, ...], tuple[Decimal, ...]], Prices] = {}

    @property
    def facts(self) -> frozenset[str]:
        """The attributes of an offer that decide, prices aside, e.g. "site.country"."""
        return frozenset(_reads(self._rules))

    @property
    def bounds(self) -> tuple[Fraction, ...]:
        """The prices of one node, in USD an hour, above which a verdict may be another."""
        nodes, hours = self._demand.nodes, self._demand.duration_h
        caps = [*self._own_budget, *(cap for rule in self._rules for cap in _caps(rule))]
        hourly = [cap.limit for cap in caps if cap.kind is Kind.PRICE]
        hourly += [bound for rule in self._rules for bound in _bounds(rule)]
        whole = [cap.limit for cap in caps if cap.kind is Kind.BUDGET]
        found = [Fraction(bound) / nodes for bound in hourly]
        found += [Fraction(bound) / nodes / Fraction(hours) for bound in whole if hours]
        return tuple(found)

    def __call__(self, offer: Offer) -> Decision:
        """Allowed exactly when no reason stands against it; the reasons are complete."""
        key = self._facts(offer)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._verdict(offer)
        prices = verdict.prices
        if prices is None:
            return Decision(offer, verdict.reasons, verdict.preference)
        return Decision(
            offer,
            verdict.reasons + prices.reasons(offer.price),
            verdict.preference + prices.preference(offer.price),
        )

    def _verdict(self, offer: Offer) -> Verdict:
        demand = self._demand
        rules = [rule for rule in self._rules if _applies(rule, offer, demand)]
        reasons = [*self._uncovered]
        for rule in rules:
            reasons += _reasons(rule, offer, demand)
        earned = [rule for rule in rules if _is_preferred(rule, offer, demand)]
        bounds = tuple(bound for rule in earned for bound in _bounds(rule))
        caps = (*self._own_budget, *(cap for rule in rules for cap in _caps(rule)))
        return Verdict(tuple(reasons), len(earned) - len(bounds), self._compared(caps, bounds))

    def _compared(self, caps: tuple[Cap, ...], bounds: tuple[Decimal, ...]) -> Prices | None:
        """Verdicts with the same caps share what is remembered about prices."""
        if not caps and not bounds:
            return None
        key = (caps, bounds)
        if key not in self._prices:
            self._prices[key] = Prices(caps, bounds, self._demand)
        return self._prices[key]


def _concerns(rule: Rule, demand: Demand) -> bool:
    """Whether what the rule's `when` says about demands is true of this one."""
    clauses = (clause for clause in rule.when if clause.field in facts.DEMAND_FACTS)
    return all(facts.asks(clause, demand) for clause in clauses)


def _uncovered(policy: Policy, demand: Demand) -> tuple[Reason, ...]:
    """Data of a class that no rule names goes nowhere."""
    data_class = demand.data.data_class
    if data_class is None or policy.covers(data_class):
        return ()
    where = demand.locations.get("data.class", demand.location)
    saw = f"no policy covers data class {data_class}"
    wanted = f"a policy rule with `when: {{data_class: [{data_class}]}}`"
    return (Reason(Kind.POLICY, "data-class", saw, wanted, where),)


def _own_budget(demand: Demand) -> tuple[Cap, ...]:
    if demand.budget_usd is None:
        return ()
    where = demand.locations.get("budget", demand.location)
    return (Cap(Kind.BUDGET, "budget", demand.budget_usd, where),)


def _reads(rules: Iterable[Rule]) -> list[str]:
    """The attributes of an offer on which any of these rules depends, prices aside."""
    clauses = [clause for rule in rules for clause in (*rule.clauses, *rule.when)]
    named = {clause.field for clause in clauses} & facts.FACTS.keys()
    return sorted({attribute for name in named for attribute in facts.FACTS[name].reads})


def _reader(attributes: Sequence[str]) -> Callable[[Offer], Any]:
    return attrgetter(*attributes) if attributes else lambda _: None


def _applies(rule: Rule, offer: Offer, demand: Demand) -> bool:
    """Whether the `when` holds. Unknown counts as yes, except for a preference."""
    held = [facts.holds(one, offer, demand) for one in rule.when if one.field in facts.FACTS]
    return all(held) if rule.verb is Verb.PREFER else False not in held


def _reasons(rule: Rule, offer: Offer, demand: Demand) -> list[Reason]:
    """What a rule that applies has against the facts of an offer."""
    if rule.verb is Verb.REQUIRE:
        return _unmet(rule, offer, demand)
    return _denied(rule, offer, demand) if rule.verb is Verb.DENY else []


def _unmet(rule: Rule, offer: Offer, demand: Demand) -> list[Reason]:
    """One reason for each clause about a fact that does not hold or is not known."""
    return [
        _reason(rule, (clause,), facts.wanted(clause, demand), offer, demand)
        for clause in rule.clauses
        if clause.field not in MONEY and not facts.holds(clause, offer, demand)
    ]


def _denied(rule: Rule, offer: Offer, demand: Demand) -> list[Reason]:
    """One reason when every clause holds or is not known."""
    if any(facts.holds(clause, offer, demand) is False for clause in rule.clauses):
        return []
    wanted = " and ".join(facts.wanted(clause, demand) for clause in rule.clauses)
    return [_reason(rule, rule.clauses, f"not {wanted}", offer, demand)]


def _reason(
    rule: Rule, clauses: Sequence[Clause], wanted: str, offer: Offer, demand: Demand
) -> Reason:
    named = [facts.FACTS[clause.field] for clause in clauses]
    saw = ", ".join(fact.saw(offer, demand) for fact in named)
    source = next(filter(None, (fact.source(offer) for fact in named)), "")
    where = clauses[0].location or rule.location
    return Reason(Kind.POLICY, rule.id, saw, wanted, where, source, rule.why)


def _caps(rule: Rule) -> list[Cap]:
    """What a `require` says about money."""
    if rule.verb is not Verb.REQUIRE:
        return []
    return [
        Cap(KINDS[clause.field], rule.id, bound, clause.location or rule.location, rule.why)
        for clause, bound in _money(rule)
    ]


def _is_preferred(rule: Rule, offer: Offer, demand: Demand) -> bool:
    """Whether a preference holds as far as facts go."""
    named = (clause for clause in rule.clauses if clause.field not in MONEY)
    return rule.verb is Verb.PREFER and all(facts.holds(one, offer, demand) for one in named)


def _bounds(rule: Rule) -> list[Decimal]:
    """The hourly price up to which a preference counts; a rule has one at most."""
    return [bound for _, bound in _money(rule)]


def _money(rule: Rule) -> list[tuple[Clause, Decimal]]:
    return [
        (clause, clause.wanted)
        for clause in rule.clauses
        if clause.field in MONEY and isinstance(clause.wanted, Decimal)
    ]
