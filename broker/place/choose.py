"""The one decision: which offer carries a demand, what would be tried next, and why not the rest.

Each offer is counted under the first of: request, credential, capacity, price unknown, policy
(the judge's first reason), price cap, budget. What is left is ranked by price per node with what
the policy's weights add to it, then by how many preferences of the policy it meets, then by carbon,
then by key: preferences decide only between equals, and the same offers always give the same plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from broker.model import Decision, Demand, Kind, Offer, Placement, Plan, Reason
from broker.place.limits import known_usd, over_budget, over_cap, usd_per_hour
from broker.place.match import refusal
from broker.place.tally import Tally, ranking

Judge = Callable[[Offer], Decision]

FALLBACKS = 49
PRICE = "price"  # the rule's name where no price is known
KNOWN_PRICE = "a known price"


def place(
    demand: Demand,
    offers: Iterable[Offer],
    judge: Judge,
    locked: Mapping[str, str] | None = None,
) -> Plan:
    """The plan for one demand. `locked` maps a cloud to why its credentials cannot be used."""
    tally = Tally()
    consider(tally, demand, offers, judge, locked)
    return conclude(demand, tally)


def consider(
    tally: Tally,
    demand: Demand,
    offers: Iterable[Offer],
    judge: Judge,
    locked: Mapping[str, str] | None = None,
) -> None:
    """Add every offer to the tally."""
    for offer in offers:
        no = before_policy(demand, offer, locked or {})
        if no:
            tally.refuse(no, offer)
            continue
        decision = judge(offer)
        no = first_reason(decision) or after_policy(demand, offer)
        if no:
            tally.refuse(no, offer)
        else:
            tally.allow(decision)


def conclude(demand: Demand, tally: Tally) -> Plan:
    """Rank the candidates: the best is placed, the next `FALLBACKS` are what is tried after it."""
    best = heapq.nsmallest(1 + FALLBACKS, tally.candidates, key=ranking)
    offers = tuple(decision.offer for decision in best)
    return Plan(
        placements=(_placement(demand, offers),) if offers else (),
        refusals=tally.refusals(),
        considered=tally.considered,
        allowed=tally.allowed,
        warnings=_warnings(demand),
    )


def before_policy(demand: Demand, offer: Offer, locked: Mapping[str, str]) -> Reason | None:
    """Request, credential, capacity and unknown price, in this order."""
    return (
        refusal(demand.alternatives, offer)
        or credential(offer, locked)
        or capacity(demand, offer)
        or price_unknown(offer)
    )


def first_reason(decision: Decision) -> Reason | None:
    return decision.reasons[0] if decision.reasons else None


def after_policy(demand: Demand, offer: Offer) -> Reason | None:
    """The task's own limits on what it costs."""
    return over_cap(demand.alternatives, offer) or over_budget(demand, offer)


def credential(offer: Offer, locked: Mapping[str, str]) -> Reason | None:
    if offer.cloud not in locked:
        return None
    return Reason(Kind.CREDENTIAL, offer.cloud, locked[offer.cloud], "usable credentials")


def capacity(demand: Demand, offer: Offer) -> Reason | None:
    """Sold out, or counted and fewer left than the demand has nodes."""
    if not offer.available:
        return Reason(Kind.CAPACITY, "capacity", "sold out", "available")
    if offer.left is None or offer.left >= demand.nodes:
        return None
    return Reason(Kind.CAPACITY, "capacity", f"{offer.left} left", f"{demand.nodes} machines")


def price_unknown(offer: Offer) -> Reason | None:
    """Also where the price is in another currency than all bounds are."""
    if known_usd(offer) is not None:
        return None
    saw = f"price in {offer.price.currency} only" if offer.price else "price unknown"
    return Reason(Kind.PRICE, PRICE, saw, KNOWN_PRICE)


def _placement(demand: Demand, offers: tuple[Offer, ...]) -> Placement:
    hourly = demand.nodes * usd_per_hour(offers[0])
    return Placement(
        demand=demand.name,
        nodes=demand.nodes,
        offer=offers[0],
        fallbacks=offers[1:],
        usd_per_hour=hourly,
        usd_expected=None if demand.duration_h is None else hourly * demand.duration_h,
        usd_most=_most(demand, offers),
    )


def _most(demand: Demand, offers: Sequence[Offer]) -> Decimal | None:
    """What the dearest candidate takes for the whole duration, and never more than the budget."""
    bounds = [] if demand.budget_usd is None else [demand.budget_usd]
    if demand.duration_h is not None:
        bounds.append(max(map(usd_per_hour, offers)) * demand.nodes * demand.duration_h)
    return min(bounds, default=None)


def _warnings(demand: Demand) -> tuple[str, ...]:
    if demand.budget_usd is None or demand.duration_h:
        return ()
    return (f"budget of {demand.budget_usd:f} $ not checked: {demand.name} gives no duration",)
