"""Offers and demands with defaults, so that a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from broker.model import Demand, Market, Offer, Price, Resources


@pytest.fixture(scope="session")
def an_offer() -> Callable[..., Offer]:
    """`an_offer("1.50", region=...)`; a price of None is unknown."""

    def make(usd: str | None = "1", **facts: Any) -> Offer:
        shape: dict[str, Any] = {
            "cloud": "aws",
            "region": "eu-north-1",
            "zone": None,
            "instance_type": "m5.large",
            "market": Market.ON_DEMAND,
            "vcpus": 2.0,
            "memory_gib": 8.0,
        }
        price = None if usd is None else Price(Decimal(usd), "2026-01-01", "test")
        return Offer(price=price, **{**shape, **facts})

    return make


@pytest.fixture(scope="session")
def a_demand() -> Callable[..., Demand]:
    """`a_demand(Resources(...), nodes=2)`."""

    def make(*alternatives: Resources, **facts: Any) -> Demand:
        return Demand("train", alternatives or (Resources(),), **facts)

    return make
