"""One offer as the catalog keeps it, and how a price in a file becomes one.

Prices are whole micro-units of their currency. 0, negative numbers, numbers that are none, and
sentinels (a price per accelerator that nobody charges) are not prices: they become None.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

MICRO = 1_000_000

# Several times the dearest accelerator on sale: above it a number is a placeholder, not a price.
ABSURD_USD_PER_ACCELERATOR_HOUR = 100
ABSURD_USD_PER_TPU_CHIP_HOUR = 25

_CORES_PER_CHIP = {"v2": 2, "v3": 2, "v4": 2, "v5p": 2}  # the others are named by chips
_TPU = re.compile(r"tpu-(v\d+\w*?)(?:litepod)?-(\d+)$")


class Source(NamedTuple):
    """Who said so, when. `as_of` is an ISO date."""

    name: str
    as_of: str
    currency: str = "USD"


class Row(NamedTuple):
    """An offer of one provider on one market. `micros` None = price unknown."""

    region: str
    zone: str | None
    instance_type: str
    market: str
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None
    accelerator_count: float
    micros: int | None
    source: Source


def price_micros(text: str, accelerator: str | None = None, count: float = 1) -> int | None:
    """Micro-units of a price per hour as written; None when it is missing or cannot be true."""
    amount = _amount(text)
    if amount is None or amount <= 0 or _absurd(amount, accelerator, count):
        return None
    return max(1, int((amount * MICRO).to_integral_value()))


def price_flaw(text: str) -> str:
    """Why `price_micros` gave None for this text."""
    if not text.strip():
        return "missing"
    amount = _amount(text)
    if amount is None:
        return "not a number"
    return "a placeholder too high to be true" if amount > 0 else "0 or negative"


def tpu_chips(accelerator: str) -> int | None:
    """How many chips a TPU slice has: `tpu-v5p-1024` 512, `tpu-v6e-8` 8; None for no TPU."""
    match = _TPU.match(accelerator)
    if match is None:
        return None
    return max(1, int(match[2]) // _CORES_PER_CHIP.get(match[1], 1))


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _absurd(amount: Decimal, accelerator: str | None, count: float) -> bool:
    if accelerator is None:
        return False
    chips = tpu_chips(accelerator)
    if chips:
        return amount > ABSURD_USD_PER_TPU_CHIP_HOUR * chips * Decimal(max(count, 1))
    return amount > ABSURD_USD_PER_ACCELERATOR_HOUR * Decimal(max(count, 1))
