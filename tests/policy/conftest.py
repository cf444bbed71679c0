"""Offers and demands with defaults, so that a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from broker.model import Demand, Market, Offer, Price, Resources, Site


@pytest.fixture(scope="session")
def an_offer() -> Callable[..., Offer]:
    """`an_offer("1.50", country="NO", cloud=...)`; a price of None is unknown."""

    def make(usd: str | None = "1", country: str | None = "NO", **facts: Any) -> Offer:
        shape: dict[str, Any] = {
            "cloud": "aws",
            "region": "eu-north-1",
            "zone": None,
            "instance_type": "m5.large",
            "market": Market.ON_DEMAND,
            "vcpus": 2.0,
            "memory_gib": 8.0,
            "site": Site(country, frozenset({"EEA"}), 21.0, "regions.csv"),
        }
        price = None if usd is None else Price(Decimal(usd), "2026-01-01", "list price")
        return Offer(price=price, **{**shape, **facts})

    return make


@pytest.fixture(scope="session")
def a_demand() -> Callable[..., Demand]:
    """`a_demand(nodes=2)`."""

    def make(**facts: Any) -> Demand:
        return Demand("train", (Resources(),), **facts)

    return make
