"""A machine in a place with both its prices, as price files list it, before it becomes offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from broker.catalog.rows import Row, Source
from broker.model import Market

ON_DEMAND, SPOT = Market.ON_DEMAND.value, Market.SPOT.value


class Listing(NamedTuple):
    """`on_demand` and `spot` are micro-units of USD an hour, None where unknown."""

    region: str
    zone: str | None
    instance_type: str
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None
    accelerator_count: float
    on_demand: int | None
    spot: int | None


def offers(listing: Listing, source: Source) -> Iterator[Row]:
    """Both markets of a listing."""
    for market, micros in ((ON_DEMAND, listing.on_demand), (SPOT, listing.spot)):
        yield Row(
            listing.region,
            listing.zone,
            listing.instance_type,
            market,
            listing.vcpus,
            listing.memory_gib,
            listing.accelerator,
            listing.accelerator_count,
            micros,
            source,
        )
