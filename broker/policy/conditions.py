"""One thing that an offer is held against, and how each clause of a rule becomes one. Pure.

A condition is True, False or unknown (None) of an offer. `reads` are the attributes of the offer
that decide it: of two offers that agree in those it says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from broker.model import Demand, Kind, Location, Offer, Price
from broker.policy import facts
from broker.policy.rules import EXPR, MAX_PRICE_AGE_D, Clause, Policy
from broker.policy.standing import Standing

if TYPE_CHECKING:
    from broker.policy.cel import Expression

Holds = Callable[[Offer], bool | None]


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks: the demand, the class of its data with all ancestors, what the ledger says."""

    demand: Demand
    lineage: frozenset[str] = frozenset()
    standing: Standing = field(default_factory=Standing)


def question(policy: Policy, demand: Demand, standing: Standing) -> Question:
    data_class = demand.data.data_class
    lineage = policy.lineage(data_class) if data_class else frozenset[str]()
    return Question(demand, lineage, standing)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be so, in words too: `saw` and `source` tell of the offer, `wanted` of the rule."""

    reads: tuple[str, ...]
    holds: Holds
    saw: Callable[[Offer], str]
    wanted: str
    location: Location | None = None
    source: Callable[[Offer], str] = lambda _: ""
    kind: Kind = Kind.POLICY


def always(
    held: bool | None,
    words: tuple[str, str],
    location: Location | None = None,
    kind: Kind = Kind.POLICY,
    source: str = "",
) -> Condition:
    """The same of every offer. `words`: what was seen and what is wanted."""
    saw, wanted = words
    return Condition((), lambda _: held, lambda _: saw, wanted, location, lambda _: source, kind)


def is_about_demands(clause: Clause) -> bool:
    """Whether it is true or false before any offer is seen."""
    if clause.field == EXPR:
        return expression(clause).demand_only
    return clause.field in facts.DEMAND_FACTS


def of_demand(clause: Clause, asked: Question) -> tuple[bool | None, Condition]:
    """A clause about the demand, and whether it holds."""
    demand = asked.demand
    if clause.field == EXPR:
        compiled = expression(clause)
        held, saw, wanted = compiled(None, demand), compiled.saw(None, demand), _text(clause)
    else:
        held = facts.asks(clause, demand, asked.lineage)
        said = facts.DEMAND_FACTS[clause.field](demand)
        saw, wanted = f"{clause.field} {said or 'not stated'}", facts.wanted(clause, demand)
    return held, always(held, (saw, wanted), clause.location)


def of_offer(clause: Clause, asked: Question) -> Condition:
    """A clause about offers, prices aside."""
    if clause.field == EXPR:
        return _of_expression(clause, asked.demand)
    if clause.field == MAX_PRICE_AGE_D:
        return _of_price_age(clause, asked.standing.now)
    fact, demand = facts.FACTS[clause.field], asked.demand
    return Condition(
        fact.reads,
        lambda offer: fact.holds(clause, offer, demand),
        lambda offer: fact.saw(offer, demand),
        facts.wanted(clause, demand),
        clause.location,
        fact.source,
    )


def expression(clause: Clause) -> Expression:
    """CelError where the text is not an expression; a policy that was read from a file has none."""
    from broker.policy.cel import compile_expr

    return compile_expr(_text(clause))


def _of_expression(clause: Clause, demand: Demand) -> Condition:
    compiled = expression(clause)
    return Condition(
        tuple(sorted(compiled.reads)),
        lambda offer: compiled(offer, demand),
        lambda offer: compiled.saw(offer, demand),
        _text(clause),
        clause.location,
    )


def _text(clause: Clause) -> str:
    return str(clause.wanted)


def _of_price_age(clause: Clause, now: datetime | None) -> Condition:
    """Whole days from the price's date to now; unknown without either."""
    assert isinstance(clause.wanted, Decimal), clause
    return Condition(
        ("price.as_of", "price.source"),
        partial(_is_recent, clause.wanted, now),
        lambda offer: _age_said(offer.price, now),
        f"a price at most {facts.plain(clause.wanted)} days old",
        clause.location,
        lambda offer: offer.price.source if offer.price else "",
        Kind.PRICE,
    )


def _is_recent(most_days: Decimal, now: datetime | None, offer: Offer) -> bool | None:
    age = _age_days(offer.price, now)
    return None if age is None else age <= most_days


def _age_said(price: Price | None, now: datetime | None) -> str:
    if price is None:
        return "price unknown"
    age = _age_days(price, now)
    known = "of unknown age" if age is None else f"{age} days old"
    return f"price of {price.as_of or 'an unknown date'}, {known}"


def _age_days(price: Price | None, now: datetime | None) -> int | None:
    """A date counts from its first moment in UTC."""
    if price is None or now is None:
        return None
    try:
        since = datetime.fromisoformat(price.as_of)
    except ValueError:
        return None
    return (now - (since if since.tzinfo else since.replace(tzinfo=UTC))).days
