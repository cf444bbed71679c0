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

CAP_FIELDS = ("max_hourly_cost", "max_usd_per_hour")
BUDGET_FIELDS = ("budget", "budget_usd", "max_cost")


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
    return Reason(Kind.PRICE, "max_hourly_cost", _hourly(usd_per_hour(offer)), _hourly(cap), where)


def over_budget(demand: Demand, offer: Offer) -> Reason | None:
    """Why the expected cost of all nodes is more than the task may spend."""
    limit = node_limit(demand)
    if limit is None or Fraction(usd_per_hour(offer)) <= limit:
        return None
    expected = usd_per_hour(offer) * demand.nodes * (demand.duration_h or 0)
    where = locate(demand.locations, BUDGET_FIELDS) or demand.location
    return Reason(Kind.BUDGET, "budget", _money(expected), _money(demand.budget_usd or 0), where)


def node_limit(demand: Demand) -> Fraction | None:
    """The exact $/h that the budget leaves for one node; None where no budget can be checked."""
    if demand.budget_usd is None or not demand.duration_h:
        return None
    return Fraction(demand.budget_usd) / (demand.nodes * Fraction(demand.duration_h))


def usd_per_hour(offer: Offer) -> Decimal:
    """The price of an offer that is known to have one."""
    assert offer.price is not None, offer.key
    return offer.price.usd_per_hour


def _tightness(resources: Resources) -> Decimal:
    cap = resources.max_usd_per_hour
    return Decimal("-Infinity") if cap is None else -cap


def _hourly(usd: Decimal) -> str:
    return f"{_money(usd)}/h"


def _money(usd: Decimal | int) -> str:
    return f"{usd:f} $"
