"""What an offer may cost: the task's price cap per node, and its budget. Pure.

With several alternatives the loosest cap among those that fit the offer counts, and no cap is
looser than any. A budget bounds nodes x price x hours, so it binds only where a duration is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from broker.model import Demand, Kind, Offer, Reason, Resources
from broker.place.match import fits, locate

CAP = "max_hourly_cost"  # the rule's name in reasons
BUDGET = "budget"
CAP_FIELDS = (CAP, "max_usd_per_hour")
BUDGET_FIELDS = (BUDGET, "budget_usd", "max_cost")
CURRENCY = "USD"  # no other is compared: an exchange rate would be a guess


def loosest_first(alternatives: Sequence[Resources]) -> tuple[int, ...]:
    """The indexes of the alternatives, those without a cap first, then from high to low."""
    return tuple(sorted(range(len(alternatives)), key=lambda at: _tightness(alternatives[at])))


def over_cap(alternatives: Sequence[Resources], offer: Offer) -> Reason | None:
    """Why no fitting alternative pays this price. The offer is priced and fits at least one."""
    for at in loosest_first(alternatives):
        if fits(alternatives[at], offer):
            return cap_reason(alternatives[at], offer)
    return None


def cap_reason(resources: Resources, offer: Offer) -> Reason | None:
    cap = resources.max_usd_per_hour
    if cap is None or usd_per_hour(offer) <= cap:
        return None
    where = locate(resources.locations, CAP_FIELDS)
    return Reason(Kind.PRICE, CAP, hourly(usd_per_hour(offer)), hourly(cap), where)


def over_budget(demand: Demand, offer: Offer) -> Reason | None:
    """Why the expected cost of all nodes is more than the task may spend."""
    limit = node_limit(demand)
    if limit is None or Fraction(usd_per_hour(offer)) <= limit:
        return None
    expected = usd_per_hour(offer) * demand.nodes * (demand.duration_h or 0)
    where = locate(demand.locations, BUDGET_FIELDS) or demand.location
    return Reason(Kind.BUDGET, BUDGET, money(expected), money(demand.budget_usd or 0), where)


def node_limit(demand: Demand) -> Fraction | None:
    """The exact $/h that the budget leaves for one node; None where no budget can be checked."""
    if demand.budget_usd is None or not demand.duration_h:
        return None
    return Fraction(demand.budget_usd) / (demand.nodes * Fraction(demand.duration_h))


def known_usd(offer: Offer) -> Decimal | None:
    """The price of one machine and hour; None where it is unknown or in another currency."""
    price = offer.price
    return price.usd_per_hour if price and price.currency == CURRENCY else None


def usd_per_hour(offer: Offer) -> Decimal:
    """The price of an offer that is known to have one."""
    usd = known_usd(offer)
    assert usd is not None, offer.key
    return usd


def _tightness(resources: Resources) -> Decimal:
    cap = resources.max_usd_per_hour
    return Decimal("-Infinity") if cap is None else -cap


def hourly(usd: Decimal) -> str:
    return f"{money(usd)}/h"


def money(usd: Decimal | int) -> str:
    return f"{usd:f} $"
