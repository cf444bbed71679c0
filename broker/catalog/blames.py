"""Blames a catalog's offers group by group, as `broker.place.blame` would one by one.

What fails in a row is asked in SQL, what fails for a whole pool once per pool, and the judge once
per pool, step of price and whatever else of a row it looks at. Only the cheapest offer of each group
becomes an object. A judge who does not say what moves it is asked about every offer of the catalog.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from broker.catalog import query
from broker.catalog.ask import UNPRICED, Survey, micros, survey
from broker.catalog.labels import Labelled
from broker.catalog.query import Pool, Surveyed
from broker.catalog.sieve import (
    PoolJudge,
    by_currency,
    columns,
    objects,
    shared_facts,
    speaks_for_rows,
)
from broker.model import Demand, Kind
from broker.place.blame import Blames, Rules, complete
from broker.place.choose import PRICE, Judge
from broker.place.limits import BUDGET, CAP, loosest_first, node_limit
from broker.place.match import CHECKS, SHARED_CHECKS

_Failing = tuple[frozenset[int], ...]  # for each alternative, the shared checks that fail


@dataclass(slots=True)
class _Lot:
    """Offers of one cloud that the same rules refuse: how many, and where the cheapest lies."""

    offers: int
    rank: int
    pool: Pool


@dataclass
class Inquest:
    """The work on one demand. `lots` are refused offers by cloud and rules, not yet in words."""

    conn: sqlite3.Connection
    demand: Demand
    judge: Judge
    locked: Mapping[str, str]
    blames: Blames
    lots: dict[tuple[str, Rules], _Lot] = field(default_factory=dict)

    def inquire(self, pools: Iterable[Labelled]) -> None:
        """Add every refused offer of these pools to the blames."""
        known, foreign = by_currency(pools)
        if speaks_for_rows(self.judge):
            self._by_pool(known, self.judge)
            self._put_into_words()
        else:
            foreign = [*known, *foreign]
        for offer in objects(self.conn, foreign):
            self.blames.add(complete(self.demand, offer, self.judge, self.locked), offer)

    def _by_pool(self, members: Iterable[Labelled], judge: PoolJudge) -> None:
        asked = survey(self.demand, judge.bounds, columns(judge))
        own = _Own(self.demand, asked)
        clouds: dict[int, list[Labelled]] = defaultdict(list)
        for member in members:
            clouds[member.pool.id].append(member)
        together = _Together()
        judged: dict[tuple[object, ...], Rules] = {}  # of the pool at hand
        pool_id = None
        for group in query.surveyed(self.conn, clouds, asked):
            if group.cheapest.pool_id != pool_id:
                pool_id = group.cheapest.pool_id
                judged.clear()
            looked_at = tuple(getattr(group.cheapest, column) for column in asked.columns)
            for member in clouds[group.cheapest.pool_id]:
                key = (member.cloud, group.step, looked_at)
                if key not in judged:
                    judged[key] = _said(judge, member, group)
                rules = together[own.of(member, group), self._locked(member), judged[key]]
                if rules:
                    self._lot(member, rules, group)

    def _locked(self, member: Labelled) -> str:
        return member.cloud if member.cloud in self.locked else ""

    def _lot(self, member: Labelled, rules: Rules, group: Surveyed) -> None:
        rank = group.cheapest.rank
        lot = self.lots.get((member.cloud, rules))
        if lot is None:
            self.lots[member.cloud, rules] = _Lot(group.offers, rank, member.pool)
            return
        lot.offers += group.offers
        if rank < lot.rank:
            lot.rank, lot.pool = rank, member.pool

    def _put_into_words(self) -> None:
        """The reasons of each lot are those against its cheapest offer, found as for any offer."""
        for (cloud, _), lot in self.lots.items():
            row = query.record(self.conn, lot.pool.id, lot.rank)
            offer = query.offer(lot.pool, row, cloud)
            against = complete(self.demand, offer, self.judge, self.locked)
            self.blames.add(against, offer, lot.offers)
        self.lots.clear()


def _said(judge: PoolJudge, member: Labelled, group: Surveyed) -> Rules:
    offer = query.offer(member.pool, group.cheapest, member.cloud)
    return tuple((reason.kind, reason.rule) for reason in judge(offer).reasons)


class _Together(dict[tuple[Rules, str, Rules], Rules]):
    """The rules of the task, of credentials and of the judge as one sorted set, remembered."""

    def __missing__(self, key: tuple[Rules, str, Rules]) -> Rules:
        own, locked, judged = key
        found = {*own, *judged, *([(Kind.CREDENTIAL, locked)] if locked else ())}
        self[key] = tuple(sorted(found))
        return self[key]


class _Own:
    """What the task itself has against groups of rows, remembered by all that decides it."""

    def __init__(self, demand: Demand, asked: Survey) -> None:
        self._alternatives = demand.alternatives
        self._order = loosest_first(demand.alternatives)
        self._asked = asked
        caps = (one.max_usd_per_hour for one in demand.alternatives)
        self._caps = tuple(None if cap is None else micros(cap) for cap in caps)
        limit = node_limit(demand)
        self._limit = None if limit is None else micros(limit)
        self._shared: dict[tuple[object, ...], frozenset[int]] = {}
        self._of_pool: dict[Labelled, _Failing] = {}
        self._known: dict[tuple[_Failing, str, int], Rules] = {}

    def of(self, member: Labelled, group: Surveyed) -> Rules:
        pool = self._of_pool.get(member)
        if pool is None:
            pool = self._of_pool[member] = self._failing(member)
        key = (pool, group.failed, group.step)
        if key not in self._known:
            self._known[key] = self._rules(*key)
        return self._known[key]

    def _failing(self, member: Labelled) -> _Failing:
        """For each alternative the shared checks that the pool fails."""
        facts = shared_facts(member)
        found = []
        for at, resources in enumerate(self._alternatives):
            failing: set[int] = set()
            for check, looked_at in enumerate(facts):
                key = (at, check, looked_at)
                if key not in self._shared:
                    stub = query.stub(member.pool, member.cloud)
                    holds = SHARED_CHECKS[check].holds(resources, stub)
                    self._shared[key] = frozenset() if holds else frozenset({check})
                failing |= self._shared[key]
            found.append(frozenset(failing))
        return tuple(found)

    def _rules(self, pool: _Failing, failed: str, step: int) -> Rules:
        """As `blame.complete` of the same alternative as `blame.furthest`."""
        found: list[tuple[Kind, str]] = []
        if self._order:
            failing = [
                pool[at] | {check for check, place in mine.items() if failed[place] == "1"}
                for at, mine in enumerate(self._asked.conditions)
            ]
            dear = [self._above(cap, step) for cap in self._caps]
            best = min(self._order, key=lambda at: (len(failing[at]), dear[at]))
            found += [(Kind.REQUEST, CHECKS[check].rule) for check in failing[best]]
            found += [(Kind.PRICE, CAP)] * dear[best]
        found += [(Kind.PRICE, PRICE)] * (step == UNPRICED)
        found += [(Kind.BUDGET, BUDGET)] * self._above(self._limit, step)
        return tuple(sorted(found))

    def _above(self, bound: int | None, step: int) -> bool:
        return bound is not None and step != UNPRICED and self._asked.above(bound, step)
