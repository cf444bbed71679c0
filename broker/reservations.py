"""Capacity that is already paid for: reservations and commitments, as counted offers.

What a cloud sold in advance stands in the configuration, under `clouds: NAME: reservations`. The
catalog knows the machine's shape, the ledger how much of it is in use. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Protocol

from broker.model import FINAL, Lease, Location, Market, Offer, Price, Site


class Reservation(Protocol):
    """As the configuration says it; `count` machines until the end of day `until`."""

    @property
    def id(self) -> str: ...
    @property
    def instance_type(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def zone(self) -> str | None: ...
    @property
    def count(self) -> int: ...
    @property
    def usd_per_hour(self) -> Decimal: ...
    @property
    def until(self) -> date | None: ...
    @property
    def location(self) -> Location | None: ...


def in_use(leases: Iterable[Lease]) -> Counter[str]:
    """Reservation id -> machines of it that open leases hold or are about to ask for."""
    return Counter(
        offer.reservation
        for lease in leases
        if lease.state not in FINAL
        and (offer := lease.attempt.offer if lease.attempt else lease.candidates[0]).reservation
    )


def offers(
    cloud: str,
    reservations: Iterable[Reservation],
    shapes: Mapping[tuple[str, str], Offer],
    used: Mapping[str, int],
    today: date,
) -> list[Offer]:
    """What can still be had of a cloud's reservations. `shapes`: (region, type) -> any offer of it.

    A reservation that has run out is none any more; one that is used up stays, unavailable.
    """
    found = []
    for one in reservations:
        if one.until is not None and one.until < today:
            continue
        left = max(0, one.count - used.get(one.id, 0))
        known = shapes.get((one.region, one.instance_type)) or _unknown(cloud, one)
        price = Price(one.usd_per_hour, today.isoformat(), f"reservation {one.id}")
        offer = replace(known, cloud=cloud, zone=one.zone, market=Market.RESERVED, price=price)
        found.append(replace(offer, left=left, available=left > 0, reservation=one.id))
    return found


def _unknown(cloud: str, one: Reservation) -> Offer:
    """A machine that no catalog describes: nothing is guessed."""
    return Offer(
        cloud, one.region, one.zone, one.instance_type, Market.RESERVED, None, None, site=Site()
    )
