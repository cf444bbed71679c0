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

With `explain` the plan also says which rules together refuse each offer, what would admit some,
what each rule costs, and how every candidate fared before every rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from broker.catalog.blames import Inquest
from broker.catalog.catalog import Catalog
from broker.catalog.labels import Clouds, Labelled
from broker.catalog.sieve import Sieve, objects
from broker.model import Blame, Decision, Demand, Offer, Plan
from broker.place import choose
from broker.place.blame import Blames, complete
from broker.place.tally import Tally, cheapness
from broker.place.trace import trace
from broker.place.ways import tolls, ways_out


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


def plan(
    demand: Demand, candidates: Candidates, judge: choose.Judge, *, explain: bool = False
) -> Plan:
    """Where the demand goes, what is tried next, and why every other offer does not serve."""
    tally = Tally()
    choose.consider(tally, demand, candidates.extra, judge, candidates.locked)
    if candidates.catalog and candidates.pools:
        with candidates.catalog.open() as conn:
            Sieve(conn, demand, judge, candidates.locked, tally).sift(candidates.pools)
    found = replace(choose.conclude(demand, tally), catalog_as_of=candidates.as_of)
    return explained(found, demand, candidates, judge) if explain else found


def explained(found: Plan, demand: Demand, candidates: Candidates, judge: choose.Judge) -> Plan:
    """The same plan with all that can be said of it."""
    blames = blame(demand, candidates, judge)
    return replace(
        found,
        blames=blames,
        ways_out=ways_out(blames),
        tolls=tuple(toll for one in found.placements for toll in tolls(blames, one)),
        decisions=decisions(found, demand, candidates, judge),
    )


def decisions(
    found: Plan, demand: Demand, candidates: Candidates, judge: choose.Judge
) -> tuple[Decision, ...]:
    """How every candidate of a plan, best first, fared before every rule."""
    chosen = [offer for one in found.placements for offer in (one.offer, *one.fallbacks)]
    return tuple(trace(demand, offer, judge, candidates.locked) for offer in chosen)


def blame(demand: Demand, candidates: Candidates, judge: choose.Judge) -> tuple[Blame, ...]:
    """Every refused offer, counted by the rules that refuse it."""
    blames = Blames()
    for offer in candidates.extra:
        blames.add(complete(demand, offer, judge, candidates.locked), offer)
    if candidates.catalog and candidates.pools:
        with candidates.catalog.open() as conn:
            Inquest(conn, demand, judge, candidates.locked, blames).inquire(candidates.pools)
    return blames.all()


def offers(candidates: Candidates) -> Iterator[Offer]:
    """Every candidate as an object, dear for a whole catalog."""
    yield from candidates.extra
    if candidates.catalog is None:
        return
    with candidates.catalog.open() as conn:
        yield from objects(conn, candidates.pools)


def named(candidates: Candidates, word: str) -> list[Offer]:
    """Offers that a person may mean, cheapest first.

    `cloud/region-or-zone/type`, with the market after it if that matters; else any whose key, with
    its zone or its region, begins with the word.
    """
    parts = word.split("/")
    with contextlib.ExitStack() as stack:
        conn = stack.enter_context(candidates.catalog.open()) if candidates.catalog else None
        near = [member for member in candidates.pools if _near(member, parts)]
        rows = objects(conn, near) if conn else ()
        begun = [
            offer
            for offer in (*candidates.extra, *rows)
            if any(name.startswith(word) for name in names(offer))
        ]
    exact = [one for one in begun if len(parts) > _TYPE and _exact(one, parts)]
    return sorted(exact or begun, key=cheapness)


def names(offer: Offer) -> set[str]:
    """The key, and the same with every other name of its place."""
    rest = offer.key.split("/", 2)[2]
    places = filter(None, (offer.node_id, offer.node, offer.zone, offer.region))
    return {f"{offer.cloud}/{place}/{rest}" for place in places}


_TYPE = 2  # where the instance type stands in a name


def _near(member: Labelled, parts: list[str]) -> bool:
    cloud, place = parts[0], parts[1] if len(parts) > 1 else None
    if place is None:
        return member.cloud.startswith(cloud)
    places = (member.pool.zone or member.pool.region, member.pool.region)
    return member.cloud == cloud and any(one.startswith(place) for one in places)


def _exact(offer: Offer, parts: list[str]) -> bool:
    return any(name.split("/")[: len(parts)] == parts for name in names(offer))
