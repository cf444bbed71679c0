"""One rule as it binds one demand: when it applies to an offer, and what it then wants. Pure.

Unknown is never taken for good. Where a `when` is unknown the rule applies, unless it is a
preference; a condition that is unknown fails, and a denial's that is unknown holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from broker.model import Kind, Offer, Reason
from broker.policy.conditions import (
    Condition,
    Question,
    always,
    is_about_demands,
    of_demand,
    of_offer,
)
from broker.policy.prices import Cap, usd
from broker.policy.rules import (
    BUDGET_USD,
    COMPARING,
    MAX_USD_PER_ACCELERATOR_HOUR,
    MONEY,
    Clause,
    Rule,
    Verb,
)
from broker.policy.scopes import at_site, out_of, reaches
from broker.policy.terms import Weight, bounds

_UNBOUND: Final = always(False, ("nothing about offers", ""))


@dataclass(frozen=True, slots=True)
class Binding:
    """`out` is why the rule applies to no offer for this demand, `when` what else it depends on.

    `wants` is what it compares, `caps` what the price of all nodes may be. `per_accelerator` bound
    the price by each accelerator: they must be multiplied by those of an offer.
    """

    rule: Rule
    nodes: int = 1
    out: Condition | None = None
    when: tuple[Condition, ...] = ()
    wants: tuple[Condition, ...] = ()
    caps: tuple[Cap, ...] = ()
    per_accelerator: tuple[Cap, ...] = ()
    weight: Weight | None = None

    @property
    def reads(self) -> frozenset[str]:
        """The attributes of an offer on which it depends, prices and weights aside."""
        return frozenset(path for one in (*self.when, *self.wants) for path in one.reads)

    def idle(self, offer: Offer) -> Condition | None:
        """Why the rule does not apply to the offer; None where it does."""
        if self.out is not None:
            return self.out
        verb = self.rule.verb
        return next((one for one in self.when if not _stands(verb, one.holds(offer))), None)

    def reasons(self, offer: Offer) -> list[Reason]:
        """What a rule that refuses has against the facts of an offer that it applies to."""
        if self.rule.verb is Verb.DENY:
            return self._denied(offer)
        return [_reason(self.rule, (one,), offer) for one in self.wants if not one.holds(offer)]

    def prefers(self, offer: Offer) -> bool:
        """Whether it is a preference that the facts of the offer meet, prices aside."""
        return self.rule.verb is Verb.PREFER and all(one.holds(offer) for one in self.wants)

    def _denied(self, offer: Offer) -> list[Reason]:
        """One reason when every condition holds or is not known."""
        if any(one.holds(offer) is False for one in self.wants):
            return []
        return [_reason(self.rule, self.wants, offer)]


def caps_on(binding: Binding, offer: Offer) -> tuple[Cap, ...]:
    """What bounds the price of an offer that the rule applies to."""
    count = Decimal(str(offer.accelerator_count)) * binding.nodes
    if not binding.per_accelerator or not count:
        return binding.caps
    each = (
        replace(cap, limit=cap.limit * count, accelerators=count) for cap in binding.per_accelerator
    )
    return (*binding.caps, *each)


def bind(rule: Rule, asked: Question) -> Binding:
    """What the rule comes to for this demand."""
    when: list[Condition] = []
    reached = reaches(rule.scope, asked.demand)
    if reached is False:
        return Binding(rule, out=out_of(rule.scope, asked.demand))
    if reached is None:
        when.append(at_site(rule.scope))
    for clause in rule.when:
        if not is_about_demands(clause):
            when.append(of_offer(clause, asked))
            continue
        held, condition = of_demand(clause, asked)
        if not _stands(rule.verb, held):
            return Binding(rule, out=condition)
    binding = _comparing(rule, asked) if rule.verb in COMPARING else _with_terms(rule, asked)
    if not (binding.wants or binding.caps or binding.weight):
        return Binding(rule, out=_UNBOUND)
    return replace(binding, when=tuple(when), nodes=asked.demand.nodes)


def _stands(verb: Verb, held: bool | None) -> bool:
    """Whether a rule applies by one condition of its `when`."""
    return held is True if verb is Verb.PREFER else held is not False


def _comparing(rule: Rule, asked: Question) -> Binding:
    wants = [of_offer(clause, asked) for clause in rule.clauses if clause.field not in MONEY]
    caps = {clause.field: _cap(rule, clause) for clause in rule.clauses if clause.field in MONEY}
    each = caps.pop(MAX_USD_PER_ACCELERATOR_HOUR, None)
    if each is not None:
        wants.append(_per_accelerator(each, vacuous=rule.verb is Verb.REQUIRE or None))
    return Binding(
        rule,
        wants=tuple(wants),
        caps=tuple(caps.values()),
        per_accelerator=() if each is None else (each,),
    )


def _with_terms(rule: Rule, asked: Question) -> Binding:
    found = bounds(rule, asked)
    return Binding(rule, wants=found.conditions, caps=found.caps, weight=found.weight)


def _cap(rule: Rule, clause: Clause) -> Cap:
    assert isinstance(clause.wanted, Decimal), clause
    kind = Kind.BUDGET if clause.field == BUDGET_USD else Kind.PRICE
    each = clause.field == MAX_USD_PER_ACCELERATOR_HOUR
    wanted = f"at most {usd(clause.wanted)} $/h per accelerator" if each else ""
    where = clause.location or rule.location
    return Cap(kind, rule.id, clause.wanted, where, rule.why, wanted=wanted)


def _per_accelerator(cap: Cap, *, vacuous: bool | None) -> Condition:
    """A machine without accelerators breaks no cap on their price, and earns no preference by it."""
    return Condition(
        ("accelerator_count",),
        lambda offer: offer.accelerator_count > 0 or vacuous,
        lambda offer: "accelerators" if offer.accelerator_count else "no accelerator",
        cap.wanted,
        cap.location,
        kind=Kind.PRICE,
    )


def _reason(rule: Rule, against: Sequence[Condition], offer: Offer) -> Reason:
    """The place is that of the first condition, the source the first that is known."""
    wanted = " and ".join(one.wanted for one in against)
    return Reason(
        against[0].kind,
        rule.id,
        ", ".join(one.saw(offer) for one in against),
        f"not {wanted}" if rule.verb is Verb.DENY else wanted,
        against[0].location or rule.location,
        next(filter(None, (one.source(offer) for one in against)), ""),
        rule.why,
    )
