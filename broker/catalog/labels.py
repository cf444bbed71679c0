"""The catalog speaks of providers, a configuration of clouds: `aws` serves `aws@sandbox` too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.catalog.query import Pool

# configured name -> the regions it may use, None for all of them
Clouds = Mapping[str, frozenset[str] | None]


class Labelled(NamedTuple):
    """A pool under the name of one cloud."""

    cloud: str
    pool: Pool


def provider_of(cloud: str) -> str:
    """`aws@sandbox` -> `aws`."""
    return cloud.partition("@")[0]


def label(pools: Iterable[Pool], clouds: Clouds | None) -> list[Labelled]:
    """Each pool under every cloud that sells it; under its provider's name when none is given."""
    if not clouds:
        return [Labelled(pool.provider, pool) for pool in pools]
    return [
        Labelled(cloud, pool)
        for pool in pools
        for cloud, regions in clouds.items()
        if provider_of(cloud) == pool.provider and (regions is None or pool.region in regions)
    ]
