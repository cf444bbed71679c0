"""Reads the world for a plan: catalog and live offers under the names of the configured clouds.

    candidates = snapshot(catalog, {"aws": None, "aws@sandbox": frozenset({"eu-north-1"})}, extra)
    plan(demand, candidates, judge) -> Plan

The catalog's rows of provider `aws` serve every cloud named `aws` or `aws@label`, relabelled and
restricted to the cloud's regions (None = all of them). Without any cloud every provider of the
catalog is considered under its own name. Extra offers (local machines, edge nodes, live offers)
are taken as they are. `locked` maps a cloud to why its credentials cannot be used.

`plan` gives the same Plan as `broker.place.choose.place` over all these offers as objects, but
decides what offers share once per pool of offers and counts inside the pools in SQL. A judge that
says what moves it (`broker.catalog.sieve.PoolJudge`), and looks at nothing but facts of pools, is
asked once per pool and step of price; any other judge is asked about every offer that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from broker.catalog import query
from broker.catalog.catalog import Catalog
from broker.catalog.labels import Clouds, Labelled
from broker.catalog.sieve import Sieve
from broker.model import Demand, Offer, Plan
from broker.place import choose
from broker.place.tally import Tally


@dataclass(frozen=True, slots=True)
class Candidates:
    """All that could carry a demand. Catalog rows stay on disk until they are asked for."""

    catalog: Catalog | None = None
    pools: tuple[Labelled, ...] = ()
    extra: tuple[Offer, ...] = ()
    locked: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_of(self) -> str | None:
        """The date of the oldest price of the catalog's offers."""
        return min((member.pool.as_of for member in self.pools), default=None)


def snapshot(
    catalog: Catalog | None,
    clouds: Clouds | None = None,
    extra_offers: Iterable[Offer] = (),
    locked: Mapping[str, str] | None = None,
) -> Candidates:
    """The pool as it is now."""
    pools = tuple(catalog.pools(clouds)) if catalog else ()
    return Candidates(catalog, pools, tuple(extra_offers), dict(locked or {}))


def plan(demand: Demand, candidates: Candidates, judge: choose.Judge) -> Plan:
    """Where the demand goes, what is tried next, and why every other offer does not serve."""
    tally = Tally()
    choose.consider(tally, demand, candidates.extra, judge, candidates.locked)
    if candidates.catalog and candidates.pools:
        with candidates.catalog.open() as conn:
            Sieve(conn, demand, judge, candidates.locked, tally).sift(candidates.pools)
    return replace(choose.conclude(demand, tally), catalog_as_of=candidates.as_of)


def offers(candidates: Candidates) -> Iterator[Offer]:
    """Every candidate as an object, dear for a whole catalog."""
    yield from candidates.extra
    if candidates.catalog is None:
        return
    with candidates.catalog.open() as conn:
        for member in candidates.pools:
            for row in query.all_of(conn, member.pool.id):
                yield query.offer(member.pool, row, member.cloud)
