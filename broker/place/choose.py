"""The one decision: which offer carries a demand, what would be tried next, and why not the rest.

Each offer is counted under the first of: request, credential, capacity, price unknown, policy
(the judge's first reason), price cap, budget. What is left is ranked by price per node, then by
how many preferences of the policy it meets, then by carbon, then by key: preferences and carbon
decide only between equal prices, and the same offers always give the same plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping

from broker.model import Decision, Demand, Kind, Offer, Placement, Plan, Reason
from broker.place.limits import over_budget, over_cap, usd_per_hour
from broker.place.match import refusal
from broker.place.tally import Tally, ranking

Judge = Callable[[Offer], Decision]

FALLBACKS = 49


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
        or _capacity(offer)
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


def price_unknown(offer: Offer) -> Reason | None:
    if offer.price is not None:
        return None
    return Reason(Kind.PRICE, "price", "price unknown", "a known price")


def _capacity(offer: Offer) -> Reason | None:
    if offer.available:
        return None
    return Reason(Kind.CAPACITY, "capacity", "sold out", "available")


def _placement(demand: Demand, offers: tuple[Offer, ...]) -> Placement:
    hourly = demand.nodes * usd_per_hour(offers[0])
    return Placement(
        demand=demand.name,
        nodes=demand.nodes,
        offer=offers[0],
        fallbacks=offers[1:],
        usd_per_hour=hourly,
        usd_expected=None if demand.duration_h is None else hourly * demand.duration_h,
    )


def _warnings(demand: Demand) -> tuple[str, ...]:
    if demand.budget_usd is None or demand.duration_h:
        return ()
    return (f"budget of {demand.budget_usd:f} $ not checked: {demand.name} gives no duration",)
