"""What the rules with terms of their own hold an offer against: spot, emissions, money, size. Pure.

None of them relaxes another: a rule that allows spot only says nothing against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from broker.model import Kind, Location, Market, Offer
from broker.policy import energy, facts, residency
from broker.policy.conditions import Condition, Question, always, of_offer
from broker.policy.prices import Cap, usd
from broker.policy.rules import (
    BlastRadius,
    Budget,
    Carbon,
    Clause,
    Residency,
    Rule,
    Spot,
)
from broker.policy.standing import MACHINES, USD, USD_PER_HOUR, account_id

Weight = Callable[[Offer], Decimal]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What terms come to for one demand. `weight`: USD an hour that one node adds in the ranking."""

    conditions: tuple[Condition, ...] = ()
    caps: tuple[Cap, ...] = ()
    weight: Weight | None = None


def bounds(rule: Rule, asked: Question) -> Bounds:
    """Nothing for terms that are not about offers: disruption, hours to start in."""
    match rule.terms:
        case Residency() as terms:
            return Bounds(residency.conditions(rule, terms, asked))
        case Spot() as terms:
            return Bounds(_spot(rule, terms, asked))
        case Carbon() as terms:
            return Bounds(_emissions(rule, terms, asked), weight=_weight(terms))
        case Budget() as terms:
            return _budget(rule, terms, asked)
        case BlastRadius() as terms:
            return _blast_radius(rule, terms, asked)
        case _:
            return Bounds()


def where(rule: Rule, name: str) -> Location | None:
    """The line of one of the terms, else the rule's."""
    return rule.locations.get(name, rule.location)


def _spot(rule: Rule, terms: Spot, asked: Question) -> tuple[Condition, ...]:
    hours, most = asked.demand.duration_h, terms.max_duration_h
    found = []
    if terms.allow is False:
        found.append(_unless_spot(False, ("", "no spot machine"), where(rule, "allow")))
    if most is not None:
        saw = f" for {facts.plain(hours)} h" if hours is not None else " for an unknown time"
        words = (saw, f"spot for at most {facts.plain(most)} h")
        short = hours is not None and hours <= most
        found.append(_unless_spot(short, words, where(rule, "max_duration")))
    if terms.needs_checkpoint:
        has = asked.demand.has_checkpoint
        words = (f" with{'' if has else 'out'} a checkpoint", "a checkpoint for spot")
        found.append(_unless_spot(has, words, where(rule, "needs_checkpoint")))
    return tuple(found)


def _unless_spot(held: bool, words: tuple[str, str], location: Location | None) -> Condition:
    """True of all that is not spot. `words`: what is said after "market spot", and the wish."""
    more, wanted = words
    return Condition(
        ("market",),
        lambda offer: held or offer.market is not Market.SPOT,
        lambda offer: f"market {offer.market}{more if offer.market is Market.SPOT else ''}",
        wanted,
        location,
    )


def _emissions(rule: Rule, terms: Carbon, asked: Question) -> tuple[Condition, ...]:
    found = []
    if terms.max_g_per_kwh is not None:
        at = where(rule, "max_g_per_kwh")
        found.append(of_offer(Clause("max_carbon_g_per_kwh", terms.max_g_per_kwh, at), asked))
    if terms.max_kg is not None:
        found.append(_whole_run(terms.max_kg, where(rule, "max_kg"), asked))
    return tuple(found)


def _whole_run(most: Decimal, location: Location | None, asked: Question) -> Condition:
    """What all nodes emit in the whole duration; unknown without one."""
    wanted = f"at most {facts.plain(most)} kg of CO2 in all"
    hours, nodes = asked.demand.duration_h, asked.demand.nodes
    if hours is None:
        return always(None, ("no duration, so emissions unknown", wanted), location)

    def kg(offer: Offer) -> Decimal | None:
        each = energy.kg_per_hour(offer)
        return None if each is None else Decimal(each) * nodes * hours

    def holds(offer: Offer) -> bool | None:
        found = kg(offer)
        return None if found is None else found <= most

    def saw(offer: Offer) -> str:
        found = kg(offer)
        if found is None:
            return f"emissions unknown: {', '.join(energy.unknown(offer))} unknown"
        return f"about {found:.3g} kg of CO2 in {facts.plain(hours)} h"

    return Condition(energy.READS, holds, saw, wanted, location, lambda offer: offer.site.source)


def _weight(terms: Carbon) -> Weight | None:
    price = terms.usd_per_kg
    if price is None:
        return None
    return lambda offer: round(Decimal(energy.assumed_kg_per_hour(offer)) * price, 6)


def _budget(rule: Rule, terms: Budget, asked: Question) -> Bounds:
    """The most that the run can cost is nodes x price x duration, or its own budget if that is less.

    Without either only what costs nothing is let through: one cannot reserve what nobody bounds.
    """
    demand, standing = asked.demand, asked.standing
    account = account_id(rule, demand.project, standing.period, USD)
    left = max(standing.left_usd.get(account, terms.usd_per_month), Decimal(0))
    month = "this month" if standing.now is None else f"in {standing.period}"
    wanted = f"at most {usd(left)} $, left of {usd(terms.usd_per_month)} $ {month}"
    at, own = where(rule, "usd_per_month"), demand.budget_usd
    if own is not None and own <= left:
        fits = always(True, (f"a budget of {usd(own)} $", wanted), at, Kind.BUDGET)
        return Bounds((fits,))
    saw = "no duration and no budget" if own is None else f"a budget of {usd(own)} $, no duration"
    cap = Cap(Kind.BUDGET, rule.id, left, at, rule.why, wanted=wanted, unbounded=saw)
    return Bounds(caps=(cap,))


def _blast_radius(rule: Rule, terms: BlastRadius, asked: Question) -> Bounds:
    """The demand alone, and with what the rule has open for its project."""
    demand, conditions, caps = asked.demand, [], []
    if terms.max_nodes_per_run is not None:
        words = (f"{demand.nodes} nodes", f"at most {terms.max_nodes_per_run} nodes in a run")
        held = demand.nodes <= terms.max_nodes_per_run
        conditions.append(always(held, words, where(rule, "max_nodes_per_run")))
    if terms.max_machines is not None:
        conditions.append(_machines(rule, terms.max_machines, asked))
    if terms.max_usd_per_hour is not None:
        caps.append(_open_rate(rule, terms.max_usd_per_hour, asked))
    return Bounds(tuple(conditions), tuple(caps))


def _machines(rule: Rule, most: int, asked: Question) -> Condition:
    account = account_id(rule, asked.demand.project, "", MACHINES)
    already = asked.standing.machines.get(account, Decimal(0))
    words = (
        f"{asked.demand.nodes} nodes with {facts.plain(already)} open",
        f"at most {most} machines open at once",
    )
    return always(already + asked.demand.nodes <= most, words, where(rule, "max_machines"))


def _open_rate(rule: Rule, most: Decimal, asked: Question) -> Cap:
    account = account_id(rule, asked.demand.project, "", USD_PER_HOUR)
    already = asked.standing.usd_per_hour.get(account, Decimal(0))
    wanted = f"at most {usd(most)} $/h open at once, {usd(already)} $/h already are"
    at = where(rule, "max_usd_per_hour")
    room = max(most - already, Decimal(0))
    return Cap(Kind.PRICE, rule.id, room, at, rule.why, wanted=wanted)
