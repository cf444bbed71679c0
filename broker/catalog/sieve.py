"""Judges a catalog's offers pool by pool and adds them to a tally, as `place` would one by one.

What a request asks of shared facts, and a policy that looks at nothing else, is decided once per
pool. The rest is counted in SQL. Offers become objects only where one is shown or may be chosen:
the cheapest of each refused lot, and the best candidates with all that cost the same.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from heapq import nsmallest
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

from broker.catalog import query
from broker.catalog.ask import GOOD, Ask, ask, encode_request, steps
from broker.catalog.labels import Labelled
from broker.catalog.query import Outcome, Pool
from broker.model import Decision, Demand, Offer
from broker.place import choose
from broker.place.limits import CURRENCY
from broker.place.match import SHARED_CHECKS
from broker.place.tally import Tally

# What offers of one pool share, so that a judge who looks at nothing else may speak for all.
POOL_FACTS = frozenset(
    {
        "cloud",
        "region",
        "zone",
        "market",
        "accelerator",
        "accelerator_count",
        "chip",
        "chip.bf16_tflops",
        "chip.memory_gib",
        "chip.source",
        "chip.watts",
        "site",
        "site.blocs",
        "site.carbon_convention",
        "site.carbon_g_per_kwh",
        "site.country",
        "site.operator",
        "site.operator_country",
        "site.place_source",
        "site.source",
        "site.subdivision",
        "available",
        "classes",
        "datasets",
        "left",
        "node",
        "node_id",
        "reservation",
        "price.as_of",
        "price.currency",
        "price.source",
    }
)
# What a row has of its own, by the columns that hold it.
ROW_FACTS = {
    "instance_type": "instance_type",
    "memory_gib": "memory_gib",
    "price": "micros",
    "vcpus": "vcpus",
}
LOCKED = -4  # an outcome besides those of `ask`

_Alive = tuple[int, ...]


@runtime_checkable
class PoolJudge(Protocol):
    """A judge who says what moves it, so that it need not be asked about every offer.

    `facts` are the attributes of an offer that it looks at, prices aside ("site.country"), and
    `bounds` the prices per node in USD an hour at which it may change its mind: of two offers with
    the same facts, and the same bounds below their prices, it thinks alike.
    """

    @property
    def facts(self) -> frozenset[str]: ...

    @property
    def bounds(self) -> Iterable[Decimal | Fraction]: ...

    def __call__(self, offer: Offer) -> Decision: ...


def speaks_for_pools(judge: choose.Judge) -> TypeGuard[PoolJudge]:
    """Whether one offer of a pool, on a step of price, stands for all before this judge."""
    return isinstance(judge, PoolJudge) and judge.facts <= POOL_FACTS


def speaks_for_rows(judge: choose.Judge) -> TypeGuard[PoolJudge]:
    """Whether rows of a pool that agree in `columns(judge)` are alike before this judge."""
    return isinstance(judge, PoolJudge) and judge.facts <= POOL_FACTS | ROW_FACTS.keys()


def columns(judge: PoolJudge) -> tuple[str, ...]:
    """What of a row itself the judge looks at."""
    return tuple(ROW_FACTS[fact] for fact in sorted(judge.facts & ROW_FACTS.keys()))


def by_currency(pools: Iterable[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Pools priced in the currency of all bounds, and the others, whose prices are no help."""
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    for member in pools:
        parts[member.pool.currency != CURRENCY].append(member)
    return parts


def objects(conn: sqlite3.Connection, pools: Iterable[Labelled]) -> Iterator[Offer]:
    """Every row of these pools as an offer, dear for many."""
    for member in pools:
        for row in query.all_of(conn, member.pool.id):
            yield query.offer(member.pool, row, member.cloud)


class _Allowed(NamedTuple):
    """Good offers of a pool on one step of price; `micros` is the price of the cheapest."""

    micros: int
    member: Labelled
    decision: Decision


@dataclass
class _Lot:
    """Offers of one cloud that end alike: how many, and where the cheapest lies."""

    offers: int
    rank: int
    pool: Pool


@dataclass
class Sieve:
    """The work on one demand. `lots` are refused offers by cloud and outcome, not yet in words."""

    conn: sqlite3.Connection
    demand: Demand
    judge: choose.Judge
    locked: Mapping[str, str]
    tally: Tally
    lots: dict[tuple[str, int], _Lot] = field(default_factory=dict)

    def sift(self, pools: Iterable[Labelled]) -> None:
        """Put every offer of these pools into the tally."""
        bounds = steps(self.judge.bounds) if isinstance(self.judge, PoolJudge) else ()
        known, foreign = by_currency(pools)
        choose.consider(
            self.tally, self.demand, objects(self.conn, foreign), self.judge, self.locked
        )
        for alive, members in self._by_request(known).items():
            self._fitting(members, ask(self.demand, alive, bounds))
        self._put_into_words()

    def _by_request(self, pools: Iterable[Labelled]) -> dict[_Alive, list[Labelled]]:
        """Pools by the alternatives that they suit so far; those that suit none become lots."""
        shared = _SharedChecks(self.demand)
        suited: dict[_Alive, list[Labelled]] = defaultdict(list)
        for member in pools:
            alive, refused = shared.of(member)
            if refused is None:
                suited[alive].append(member)
            else:
                self._lot(member, refused, member.pool.offers, member.pool.first_rank)
        return suited

    def _fitting(self, members: list[Labelled], asked: Ask) -> None:
        """Pools whose shared facts suit the request: look at their rows."""
        clouds: dict[int, list[Labelled]] = defaultdict(list)
        for member in members:
            clouds[member.pool.id].append(member)
        priced: dict[Labelled, list[Outcome]] = defaultdict(list)
        for outcome in query.outcomes(self.conn, clouds, asked):
            for member in clouds[outcome.cheapest.pool_id]:
                code = self._code(member, outcome)
                if code <= GOOD and code != LOCKED:
                    priced[member].append(outcome)
                else:
                    self._lot(member, code, outcome.offers, outcome.cheapest.rank)
        if speaks_for_pools(self.judge):
            self._admit(self._judge_pools(priced), asked)
        else:
            self._judge_rows(priced, asked)

    def _code(self, member: Labelled, outcome: Outcome) -> int:
        locked = outcome.code < 0 and member.cloud in self.locked
        return LOCKED if locked else outcome.code

    def _judge_pools(
        self, priced: Mapping[Labelled, list[Outcome]]
    ) -> Iterator[tuple[Labelled, Decision, Outcome]]:
        """The good part of each allowed pool and step of price, with the decision over it."""
        for member, outcomes in priced.items():
            for alike in _by_step(outcomes):
                first = min(alike, key=lambda outcome: outcome.cheapest.rank)
                example = query.offer(member.pool, first.cheapest, member.cloud)
                decision = self.judge(example)
                no = choose.first_reason(decision)
                if no:
                    self.tally.refuse(no, example, sum(outcome.offers for outcome in alike))
                else:
                    yield from self._within_limits(member, decision, alike)

    def _within_limits(
        self, member: Labelled, decision: Decision, alike: Iterable[Outcome]
    ) -> Iterator[tuple[Labelled, Decision, Outcome]]:
        """What the task's own cap and budget leave."""
        for outcome in alike:
            if outcome.code == GOOD:
                yield member, decision, outcome
            else:
                self._lot(member, outcome.code, outcome.offers, outcome.cheapest.rank)

    def _admit(self, allowed: Iterable[tuple[Labelled, Decision, Outcome]], asked: Ask) -> None:
        """Count them, and load those that could be among the best, step by step of price."""
        ladder: dict[int, list[_Allowed]] = defaultdict(list)
        for member, decision, outcome in allowed:
            self.tally.allowed += outcome.offers
            assert outcome.cheapest.micros is not None
            ladder[outcome.step].append(_Allowed(outcome.cheapest.micros, member, decision))
        found = 0
        for step in sorted(ladder):
            if found < _WANTED:
                found += self._load(step, _could_be_best(ladder[step]), asked)

    def _load(self, step: int, best: Mapping[int, list[_Allowed]], asked: Ask) -> int:
        """Make candidates of the cheapest rows of these pools; how many."""
        before = len(self.tally.candidates)
        for row in query.cheapest(self.conn, best, asked, step, _WANTED):
            for one in best[row.pool_id]:
                offer = query.offer(one.member.pool, row, one.member.cloud)
                self.tally.candidates.append(replace(one.decision, offer=offer))
        return len(self.tally.candidates) - before

    def _judge_rows(self, priced: Mapping[Labelled, list[Outcome]], asked: Ask) -> None:
        """Ask the judge about every offer."""
        clouds: dict[int, list[Labelled]] = defaultdict(list)
        for member in priced:
            clouds[member.pool.id].append(member)
        for row in query.priced(self.conn, clouds, asked):
            offers = [query.offer(at.pool, row, at.cloud) for at in clouds[row.pool_id]]
            choose.consider(self.tally, self.demand, offers, self.judge)

    def _lot(self, member: Labelled, code: int, offers: int, rank: int) -> None:
        key = (member.cloud, code)
        lot = self.lots.get(key)
        if lot is None:
            self.lots[key] = _Lot(offers, rank, member.pool)
            return
        lot.offers += offers
        if rank < lot.rank:
            lot.rank, lot.pool = rank, member.pool

    def _put_into_words(self) -> None:
        """The reason of each lot is that of its cheapest offer, found as for a single offer."""
        for (cloud, _), lot in self.lots.items():
            row = query.record(self.conn, lot.pool.id, lot.rank)
            offer = query.offer(lot.pool, row, cloud)
            no = choose.before_policy(self.demand, offer, self.locked) or choose.after_policy(
                self.demand, offer
            )
            assert no is not None, offer.key
            self.tally.refuse(no, offer, lot.offers)
        self.lots.clear()


_WANTED = 1 + choose.FALLBACKS


class _SharedChecks:
    """Remembers how each shared check ends for the facts that it looks at."""

    def __init__(self, demand: Demand) -> None:
        self._alternatives = demand.alternatives
        self._known: dict[tuple[object, ...], bool] = {}

    def of(self, member: Labelled) -> tuple[_Alive, int | None]:
        """The alternatives that the pool suits so far; if none, the outcome that says why."""
        if not self._alternatives:
            return (), None
        depths = [self._depth(at, member) for at in range(len(self._alternatives))]
        alive = tuple(at for at, passed in enumerate(depths) if passed == len(SHARED_CHECKS))
        if alive:
            return alive, None
        furthest = max(depths)
        return alive, encode_request(furthest, depths.index(furthest), len(depths))

    def _depth(self, at: int, member: Labelled) -> int:
        for passed, facts in enumerate(shared_facts(member)):
            key = (at, passed, facts)
            if key not in self._known:
                stub = query.stub(member.pool, member.cloud)
                self._known[key] = SHARED_CHECKS[passed].holds(self._alternatives[at], stub)
            if not self._known[key]:
                return passed
        return len(SHARED_CHECKS)


def shared_facts(member: Labelled) -> tuple[tuple[object, ...], ...]:
    """What each of `SHARED_CHECKS` looks at."""
    pool = member.pool
    return (
        (pool.accelerator, pool.accelerator_count),
        (member.cloud, pool.region, pool.zone),
        (pool.market,),
    )


def _by_step(outcomes: Iterable[Outcome]) -> Iterable[list[Outcome]]:
    """Outcomes of one pool by step of price."""
    alike: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        alike[outcome.step].append(outcome)
    return alike.values()


def _could_be_best(allowed: Sequence[_Allowed]) -> dict[int, list[_Allowed]]:
    """Those pools, by id, whose cheapest offer is among the `_WANTED` cheapest of all pools.

    Each of them has at least one offer no dearer than the bound, so the best are in them.
    """
    bound = max(nsmallest(_WANTED, (one.micros for one in allowed)))
    best: dict[int, list[_Allowed]] = defaultdict(list)
    for one in allowed:
        if one.micros <= bound:
            best[one.member.pool.id].append(one)
    return best
