"""Reads pools and rows from the catalog's file. Rows come as tuples; offers are made of few."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from broker.catalog.accelerators import chip
from broker.catalog.ask import GOOD, UNPRICED, Ask, Survey
from broker.catalog.regions import site
from broker.catalog.rows import MICRO, Row, Source
from broker.model import Chip, Market, Offer, Price


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What some offers of one provider share, and how many they are. Equal only to itself."""

    id: int
    provider: str
    region: str
    zone: str | None
    market: str
    accelerator: str | None
    accelerator_count: float
    source: str
    as_of: str
    currency: str
    offers: int
    first_rank: int


class Record(NamedTuple):
    """What differs inside a pool."""

    pool_id: int
    rank: int
    micros: int | None
    vcpus: float | None
    memory_gib: float | None
    instance_type: str


class Outcome(NamedTuple):
    """How many rows of a pool end alike, and the cheapest. `code` and `step`: see `ask`."""

    code: int
    step: int
    offers: int
    cheapest: Record


class Surveyed(NamedTuple):
    """How many rows of a pool fail alike on a step of price, and the cheapest. See `ask.Survey`."""

    failed: str
    step: int
    offers: int
    cheapest: Record


_MARKETS = {str(market): market for market in Market}
NO_CHIP = Chip()
_RECORD = "pool_id, rank, micros, vcpus, memory_gib, instance_type"
_AMONG = "pool_id IN (SELECT value FROM json_each(:pools))"


def pools(conn: sqlite3.Connection, providers: Collection[str]) -> list[Pool]:
    """All pools of these providers, by id."""
    marks = ", ".join("?" * len(providers))
    rows = conn.execute(
        "SELECT pool.id, pool.provider, region, zone, market, accelerator, accelerator_count,"  # noqa: S608 - marks only
        " source.name, as_of, currency, offers, first_rank"
        " FROM pool JOIN source ON source.id = source_id"
        f" WHERE pool.provider IN ({marks}) ORDER BY pool.id",
        sorted(providers),
    )
    return [Pool(*row) for row in rows]


def record(conn: sqlite3.Connection, pool: int, rank: int) -> Record:
    """One row. It must exist."""
    sql = f"SELECT {_RECORD} FROM offer WHERE pool_id = ? AND rank = ?"  # noqa: S608
    return Record(*conn.execute(sql, (pool, rank)).fetchone())


def all_of(conn: sqlite3.Connection, pool: int) -> Iterator[Record]:
    """Every row of a pool, cheapest first."""
    sql = f"SELECT {_RECORD} FROM offer WHERE pool_id = ? ORDER BY rank"  # noqa: S608
    return (Record(*row) for row in conn.execute(sql, (pool,)))


def outcomes(conn: sqlite3.Connection, among: Collection[int], ask: Ask) -> Iterator[Outcome]:
    """What becomes of the rows of these pools: counted per pool, outcome and step of price."""
    sql = (
        f"SELECT {ask.outcome} AS outcome, {ask.step} AS step, count(*), pool_id, min(rank),"  # noqa: S608
        f" micros, vcpus, memory_gib, instance_type FROM offer WHERE {_AMONG}"
        f" GROUP BY pool_id, outcome{', step' * bool(ask.bounds)}"
    )
    for code, step, offers, *row in conn.execute(sql, _parameters(among, ask)):
        yield Outcome(code, step, offers, Record(*row))


def surveyed(
    conn: sqlite3.Connection, among: Collection[int], survey: Survey
) -> Iterator[Surveyed]:
    """All rows of these pools, counted per pool, what fails and step of price."""
    sql = (
        f"SELECT {survey.failed} AS failed, {survey.step} AS step, count(*), pool_id, min(rank),"  # noqa: S608
        f" micros, vcpus, memory_gib, instance_type FROM offer WHERE {_AMONG}"
        f" GROUP BY {', '.join(('pool_id', 'failed', 'step', *survey.columns))}"
    )
    for failed, step, offers, *row in conn.execute(sql, _parameters(among, survey)):
        yield Surveyed(failed, step, offers, Record(*row))


def cheapest(
    conn: sqlite3.Connection, among: Collection[int], ask: Ask, step: int, limit: int
) -> list[Record]:
    """The `limit` cheapest good rows of these pools on a step of price.

    And all that cost no more than the last of them, so that equals can be told apart later.
    """
    good = f"FROM offer WHERE {_AMONG} AND {ask.outcome} = {GOOD} AND {ask.step} = {step}"
    parameters = _parameters(among, ask)
    last = conn.execute(
        f"SELECT micros {good} ORDER BY micros LIMIT 1 OFFSET {limit - 1}", parameters
    ).fetchone()
    bound = f" AND micros <= {last[0]}" if last else ""
    rows = conn.execute(f"SELECT {_RECORD} {good}{bound}", parameters)
    return [Record(*row) for row in rows]


def priced(conn: sqlite3.Connection, among: Collection[int], ask: Ask) -> Iterator[Record]:
    """Every row of these pools that fits and has a price, whatever it costs."""
    sql = f"SELECT {_RECORD} FROM offer WHERE {_AMONG} AND {ask.outcome} <= {GOOD}"  # noqa: S608
    return (Record(*row) for row in conn.execute(sql, _parameters(among, ask)))


def listed(
    conn: sqlite3.Connection, among: Collection[int], ask: Ask, limit: int | None
) -> list[Record]:
    """The cheapest rows of these pools that fit, then those of unknown price."""
    sql = (
        f"SELECT {_RECORD} FROM offer WHERE {_AMONG} AND {ask.outcome} IN ({GOOD}, {UNPRICED})"  # noqa: S608
        " ORDER BY micros IS NULL, micros, rank, pool_id LIMIT :limit"
    )
    parameters = {**_parameters(among, ask), "limit": -1 if limit is None else limit}
    return [Record(*row) for row in conn.execute(sql, parameters)]


def rows(conn: sqlite3.Connection, provider: str) -> list[Row]:
    """All that is stored of a provider, in the form in which it came."""
    by_id = {pool.id: pool for pool in pools(conn, [provider])}
    sql = f"SELECT {_RECORD} FROM offer WHERE {_AMONG}"  # noqa: S608
    found = conn.execute(sql, {"pools": json.dumps(list(by_id))})
    return [_row(by_id[cells[0]], Record(*cells)) for cells in found]


def offer(pool: Pool, row: Record, cloud: str | None = None) -> Offer:
    """The row as an offer of `cloud`, by default under its provider's own name."""
    return Offer(
        cloud=cloud or pool.provider,
        region=pool.region,
        zone=pool.zone,
        instance_type=row.instance_type,
        market=_MARKETS[pool.market],
        vcpus=row.vcpus,
        memory_gib=row.memory_gib,
        accelerator=pool.accelerator,
        accelerator_count=pool.accelerator_count,
        price=_price(pool, row.micros),
        site=site(pool.provider, pool.region),
        chip=chip(pool.accelerator) if pool.accelerator else NO_CHIP,
    )


def stub(pool: Pool, cloud: str) -> Offer:
    """An offer with the pool's facts and no shape or price of its own."""
    return offer(pool, Record(pool.id, 0, None, None, None, ""), cloud)


def _price(pool: Pool, micros: int | None) -> Price | None:
    if micros is None:
        return None
    return Price(Decimal(micros) / MICRO, pool.as_of, pool.source, pool.currency)


def _row(pool: Pool, record: Record) -> Row:
    return Row(
        pool.region,
        pool.zone,
        record.instance_type,
        pool.market,
        record.vcpus,
        record.memory_gib,
        pool.accelerator,
        pool.accelerator_count,
        record.micros,
        Source(pool.source, pool.as_of, pool.currency),
    )


def _parameters(among: Collection[int], ask: Ask | Survey) -> dict[str, object]:
    return {**ask.parameters, "pools": json.dumps(list(among))}
