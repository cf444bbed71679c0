"""Decides over offers, all rules at once, so that "also refused by" is true. Pure.

Most offers share their facts: verdicts are remembered by exactly those attributes of an offer that
some rule in force reads, what each rule says by those that it reads itself, and only prices are
compared anew for each. Reasons come in this order:
what site owners say, then what the broker asks of classed data, then all other rules. Within each,
facts in the rules' order, hourly caps, budgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from broker.model import Decision, Demand, Kind, Offer, Reason
from broker.policy.binding import bind
from broker.policy.classes import own_checks, owners_checks
from broker.policy.conditions import question
from broker.policy.opinion import NOTHING, Opinion, Opinions, reader, reads
from broker.policy.prices import Cap, Prices
from broker.policy.rules import Policy
from broker.policy.scopes import in_order, is_owners
from broker.policy.standing import Standing
from broker.policy.trace import Part, findings

PRICE: Final = "price"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What offers with the same facts have in common: for each part, reasons and prices to compare."""

    parts: tuple[tuple[tuple[Reason, ...], Prices | None], ...]
    preference: int
    weight: Decimal


class Judge:
    """The verdict of one policy over offers for one demand. Call it with an offer.

    The weight of a decision is in USD an hour of one node, as the offer's price is.
    """

    def __init__(self, policy: Policy, demand: Demand, standing: Standing | None = None) -> None:
        asked = question(policy, demand, standing or Standing())
        bound = [bind(rule, asked) for rule in in_order(policy.rules)]
        owners = tuple(one for one in bound if is_owners(one.rule))
        others = tuple(one for one in bound if not is_owners(one.rule))
        budget = _own_budget(demand)
        self._demand = demand
        self._parts = (
            Part(owners_checks(policy, asked), owners),
            Part(own_checks(policy, asked), others, budget),
        )
        self._rules = tuple(one for one in bound if one.out is None)
        self._opinions = tuple(
            (part, tuple(Opinions(one) for one in part.rules if one.out is None))
            for part in self._parts
        )
        self._reads = _reads(self._parts)
        self._facts = reader(self._reads)
        self._verdicts: dict[Any, Verdict] = {}
        self._prices: dict[tuple[int, tuple[Opinion, ...]], Prices] = {}

    @property
    def facts(self) -> frozenset[str]:
        """The attributes of an offer that decide, e.g. "site.country".

        Prices are left to `bounds`, save where these cannot say it: a bound for each accelerator is
        another one for each machine, and an expression may compute with the price. Then "price" is
        among the facts.
        """
        each = any(one.per_accelerator for one in self._rules)
        return self._reads | ({PRICE} if each else frozenset[str]())

    @property
    def bounds(self) -> tuple[Fraction, ...]:
        """The prices of one node, in USD an hour, above which a verdict may be another."""
        nodes, hours = self._demand.nodes, self._demand.duration_h
        caps = [cap for part in self._parts for cap in part.caps]
        caps += [cap for rule in self._rules for cap in rule.caps]
        hourly = [cap.limit for cap in caps if cap.kind is Kind.PRICE]
        whole = [cap.limit for cap in caps if cap.kind is Kind.BUDGET]
        found = [Fraction(bound) / nodes for bound in hourly]
        found += [Fraction(bound) / nodes / Fraction(hours) for bound in whole if hours]
        found += [Fraction(0) for cap in caps if cap.unbounded and hours is None]
        return tuple(found)

    def __call__(self, offer: Offer) -> Decision:
        """Allowed exactly when no reason stands against it; the reasons are complete."""
        key = self._facts(offer)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._verdict(offer)
        reasons: tuple[Reason, ...] = ()
        preference = verdict.preference
        for known, prices in verdict.parts:
            reasons += known
            if prices is not None:
                reasons += prices.reasons(offer.price)
                preference += prices.preference(offer.price)
        return Decision(offer, reasons, preference, verdict.weight)

    def trace(self, offer: Offer) -> Decision:
        """The same decision, with what every rule and every check of the broker's own saw."""
        return replace(self(offer), findings=findings(self._parts, offer, self._demand))

    def _verdict(self, offer: Offer) -> Verdict:
        parts, earned, weight = [], 0, NOTHING
        for part, opinions in self._opinions:
            said = [one(offer) for one in opinions]
            earned += sum(one.earned for one in said)
            weight += sum((one.weight for one in said), NOTHING)
            reasons = [*part.checked(offer), *(no for one in said for no in one.reasons)]
            priced = tuple(one for one in said if one.caps or one.preferred)
            parts.append((tuple(reasons), self._compared(part, priced)))
        return Verdict(tuple(parts), earned, weight)

    def _compared(self, part: Part, priced: tuple[Opinion, ...]) -> Prices | None:
        """Verdicts with the same caps share what is remembered about prices."""
        if not part.caps and not priced:
            return None
        key = (len(part.caps), priced)
        if key not in self._prices:
            caps = (*part.caps, *(cap for one in priced for cap in one.caps))
            preferred = tuple(bound for one in priced for bound in one.preferred)
            self._prices[key] = Prices(caps, preferred, self._demand)
        return self._prices[key]


def _own_budget(demand: Demand) -> tuple[Cap, ...]:
    if demand.budget_usd is None:
        return ()
    where = demand.locations.get("budget", demand.location)
    return (Cap(Kind.BUDGET, "budget", demand.budget_usd, where),)


def _reads(parts: Iterable[Part]) -> frozenset[str]:
    """The attributes of an offer on which any check or rule depends."""
    checks = (one.condition.reads for part in parts for one in part.checks)
    return frozenset().union(*checks, *(reads(one) for part in parts for one in part.rules))
