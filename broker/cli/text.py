"""How amounts, ages and places look to a person."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from broker.model import Market, Offer

if TYPE_CHECKING:
    from broker.model import Lease


def usd(amount: Decimal | None, places: int = 2) -> str | None:
    """Rounded to cents, or to `places`; a price below a cent keeps its first digits."""
    if amount is None:
        return None
    if amount and abs(amount) < Decimal("0.01"):
        places = max(places, 5)
    return f"{amount:.{places}f}"


def age(since: datetime, now: datetime) -> str:
    seconds = int((now - since).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172_800:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86_400}d"


def shape(offer: Offer) -> str:
    """`p4d.24xlarge (A100:8)`, or the instance type alone."""
    if not offer.accelerator:
        return offer.instance_type
    accelerator = f"{offer.accelerator}:{offer.accelerator_count:g}"
    known = offer.instance_type and offer.instance_type != offer.accelerator
    return f"{offer.instance_type} ({accelerator})" if known else accelerator


def place(offer: Offer) -> str:
    return f"{offer.cloud} {offer.zone or offer.region}"


def machine(offer: Offer) -> str:
    """Which machine, in a person's words: place and shape, or the owned machine's name."""
    if offer.node_id:
        gpu = f" ({offer.accelerator}:{offer.accelerator_count:g})" if offer.accelerator else ""
        return f"edge {offer.region}{gpu}"
    if offer.market is Market.OWNED:
        return f"{offer.cloud} (this machine)"
    return f"{place(offer)} {shape(offer)}"


def where(lease: Lease) -> str:
    offer = lease.attempt.offer if lease.attempt else lease.candidates[0]
    return machine(offer) if lease.attempt else f"next: {machine(offer)}"


def usd_per_hour(lease: Lease) -> Decimal | None:
    """What the lease costs now: nothing without a machine."""
    if lease.attempt is None or lease.attempt.launched_at is None:
        return Decimal(0)
    price = lease.attempt.offer.price
    return price.usd_per_hour if price else None


def spent(lease: Lease, now: datetime) -> Decimal:
    """Settled attempts and the running one."""
    rate, attempt = usd_per_hour(lease), lease.attempt
    if not rate or attempt is None or attempt.launched_at is None or lease.closed_at:
        return lease.usd_spent
    hours = Decimal(str(max(0.0, (now - attempt.launched_at) / timedelta(hours=1))))
    return lease.usd_spent + rate * hours


_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(text: str) -> float:
    """`90s`, `15m`, `2h`, `1d`."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(text)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]
