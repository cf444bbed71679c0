"""A plan for a person, and the same plan as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from broker.cli import text
from broker.model import (
    DEFAULT_PROJECT,
    Demand,
    Kind,
    Offer,
    Placement,
    Plan,
    Reason,
    Refusal,
    Resources,
)

SHOWN_FALLBACKS = 4
SHOWN_REFUSALS = 12


def plan_text(demand: Demand, plan: Plan, *, explain: bool = False) -> str:
    """`explain`: of an explained plan, all that can be said of it."""
    return "\n".join(_lines(demand, plan, explain=explain))


def plan_json(plan: Plan, *, explain: bool = False) -> dict[str, Any]:
    """`placements[].offer` is flat. `explain`: also blames, and all that follows from them."""
    from broker.cli.explainview import explained_json

    return {
        "placements": [_placement(one) for one in plan.placements],
        "considered": plan.considered,
        "allowed": plan.allowed,
        "refusals": [_refusal(one) for one in by_rule(plan.refusals)],
        "policies": list(plan.policies),
        "catalog_as_of": plan.catalog_as_of,
        **(explained_json(plan) if explain else {}),
    }


def offer_json(offer: Offer) -> dict[str, Any]:
    price = offer.price
    return {
        "provider": offer.cloud,
        "region": offer.region,
        "zone": offer.zone,
        "instance_type": offer.instance_type,
        "accelerator": offer.accelerator,
        "accelerator_count": offer.accelerator_count,
        "vcpus": offer.vcpus,
        "memory_gib": offer.memory_gib,
        "market": offer.market.value,
        "usd_per_hour": float(price.usd_per_hour) if price else None,
        "currency": price.currency if price else None,
        "price_as_of": price.as_of if price else None,
        "price_source": price.source if price else None,
        "country": offer.site.country,
        "blocs": sorted(offer.site.blocs),
        "subdivision": offer.site.subdivision,
        "operator": offer.site.operator,
        "operator_country": offer.site.operator_country,
        "carbon_g_per_kwh": offer.site.carbon_g_per_kwh,
        "available": offer.available,
        "left": offer.left,
        "reservation": offer.reservation or None,
        "node": offer.node or None,
        "datasets": list(offer.datasets),
        "accelerator_memory_gib": offer.chip.memory_gib,
        "bf16_tflops": offer.chip.bf16_tflops,
        "key": offer.key,
    }


def reason_json(reason: Reason) -> dict[str, Any]:
    where = reason.location
    return {
        "kind": reason.kind.value,
        "rule": reason.rule,
        "saw": reason.saw,
        "wanted": reason.wanted,
        "why": reason.why,
        "source": reason.source,
        "location": {"file": where.file, "line": where.line, "col": where.col} if where else None,
    }


def _lines(demand: Demand, plan: Plan, *, explain: bool) -> Iterator[str]:
    yield f"Task            {demand.name}   {wanted(demand)}"
    policies = "  ".join(plan.policies) or "none"
    yield f"Policies        {policies}     catalog as of {plan.catalog_as_of or 'unknown'}"
    yield ""
    for placement in plan.placements:
        yield f"  + {_chosen(placement)}"
    yield ""
    for placement in plan.placements:
        yield from _cost(demand, placement)
    if explain:
        from broker.cli.explainview import explained_lines

        yield from explained_lines(plan)
    else:
        yield from _refusals(plan)


def wanted(demand: Demand) -> str:
    alternatives = " or ".join(_alternative(one) for one in demand.alternatives)
    nodes = f"{demand.nodes} x " if demand.nodes > 1 else ""
    hours = f", up to {demand.duration_h:g} h" if demand.duration_h else ""
    return f"{nodes}{alternatives}{hours}{_data(demand)}"


def _data(demand: Demand) -> str:
    """Whose and which data: what policies look at."""
    data = demand.data
    said = {
        "data class": data.data_class,
        "purpose": data.purpose,
        "data": " ".join(data.datasets),
        "project": demand.project if demand.project != DEFAULT_PROJECT else None,
    }
    return "".join(f", {name} {value}" for name, value in said.items() if value)


def _alternative(one: Resources) -> str:
    parts = []
    if one.accelerator:
        parts.append(f"{one.accelerator}:{one.accelerator_count:g}")
    if one.cpus:
        parts.append(f"{one.cpus.amount:g}{'+' if one.cpus.or_more else ''} vCPU")
    if one.memory_gib:
        parts.append(f"{one.memory_gib.amount:g}{'+' if one.memory_gib.or_more else ''} GiB")
    if one.instance_type:
        parts.append(one.instance_type)
    if one.market:
        parts.append(one.market.value)
    place = "/".join(part for part in (one.cloud, one.region, one.zone) if part)
    if place:
        parts.append(f"in {place}")
    return " ".join(parts) or "any machine"


def _chosen(placement: Placement) -> str:
    country = placement.offer.site.country
    where = f"  ({country})" if country else ""
    return f"{placement.nodes} x {_name(placement.offer)}{where}   {_rate(placement.usd_per_hour)}"


def _name(offer: Offer) -> str:
    return f"{text.machine(offer)} {offer.market}"


def _rate(amount: Decimal | None) -> str:
    return f"{text.usd(amount, 4)} $/h" if amount is not None else "price unknown"


def _cost(demand: Demand, placement: Placement) -> Iterator[str]:
    if placement.start_after:
        yield f"Start           {placement.start_after:%Y-%m-%d %H:%M} UTC: {placement.start_why}"
    price = placement.offer.price
    costs = [
        f"expected {text.usd(placement.usd_expected)} $ at {_rate(placement.usd_per_hour)}"
        if placement.usd_expected is not None
        else "",
        f"at most {text.usd(placement.usd_most)} $" if placement.usd_most is not None else "",
        _hard_stop(demand),
    ]
    if said := "   ".join(filter(None, costs)):
        yield f"Cost            {said}"
    if price:
        yield f"Price           as of {price.as_of}, {price.source}"
    for position, offer in enumerate(placement.fallbacks[:SHOWN_FALLBACKS]):
        label = "Fallback order" if position == 0 else ""
        rate = offer.price.usd_per_hour if offer.price else None
        yield f"{label:<16}{_name(offer)}   {_rate(rate)}"
    more = len(placement.fallbacks) - SHOWN_FALLBACKS
    if more > 0:
        yield f"{'':<16}and {more} more"


def _hard_stop(demand: Demand) -> str:
    if demand.budget_usd is None:
        return ""
    where = demand.locations.get("budget")
    return f"hard stop {text.usd(demand.budget_usd)} $" + (f" ({where})" if where else "")


def by_rule(refusals: Iterable[Refusal]) -> list[Refusal]:
    """One line for each rule, whatever it saw: the counts added up, the cheapest example kept."""
    lines: dict[tuple[object, ...], Refusal] = {}
    for one in refusals:
        key = (one.reason.kind, one.reason.rule, one.reason.location, one.reason.wanted)
        lines[key] = _together(lines[key], one) if key in lines else one
    return sorted(lines.values(), key=lambda one: -one.count)


def _together(one: Refusal, other: Refusal) -> Refusal:
    cheaper = min((one, other), key=_example_price)
    return replace(cheaper, count=one.count + other.count)


def _example_price(one: Refusal) -> Decimal:
    price = one.cheapest.price if one.cheapest else None
    return price.usd_per_hour if price else Decimal("Infinity")


def _refusals(plan: Plan) -> Iterator[str]:
    yield ""
    yield f"Why not the others: {plan.considered} offers considered, {plan.allowed} allowed"
    lines = by_rule(plan.refusals)
    shown = lines[:SHOWN_REFUSALS]
    width = max((len(one.reason.rule) for one in shown), default=0)
    for one in shown:
        where = str(one.reason.location) if one.reason.location else one.reason.source
        gap = "  " if where else ""
        wanted_text = one.reason.wanted + (f"; {one.reason.why}" if one.reason.why else "")
        yield f"  {one.count:>7}  {one.reason.rule:<{width}}  {where}{gap}wanted {wanted_text}"
    if len(lines) > SHOWN_REFUSALS:
        yield f"           and {len(lines) - SHOWN_REFUSALS} more rules"
    fits = [one for one in lines if one.reason.kind is not Kind.REQUEST]
    near = min(fits, key=_example_price, default=None)
    if near and near.cheapest and near.cheapest.price:
        rate = _rate(near.cheapest.price.usd_per_hour)
        yield f"cheapest refused: {_name(near.cheapest)} {rate}, by {near.reason.rule}"


def _placement(one: Placement) -> dict[str, Any]:
    return {
        "demand": one.demand,
        "nodes": one.nodes,
        "offer": offer_json(one.offer),
        "usd_per_hour": float(one.usd_per_hour) if one.usd_per_hour is not None else None,
        "usd_expected": float(one.usd_expected) if one.usd_expected is not None else None,
        "usd_most": float(one.usd_most) if one.usd_most is not None else None,
        "start_after": one.start_after.isoformat() if one.start_after else None,
        "start_why": one.start_why or None,
        "fallbacks": [offer_json(offer) for offer in one.fallbacks],
    }


def _refusal(one: Refusal) -> dict[str, Any]:
    return {
        **reason_json(one.reason),
        "count": one.count,
        "cheapest": offer_json(one.cheapest) if one.cheapest else None,
    }
