"""Puts a provider's offers into the catalog, whole and in one transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from broker.catalog.regions import site
from broker.catalog.rows import Row, Source

_Pool = tuple[str, str | None, str, str | None, float, Source]


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; takes the write lock at once, so that it never fails half-way for it."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")


def replace(conn: sqlite3.Connection, provider: str, rows: Iterable[Row], origin: str) -> None:
    """Drop what the provider had and store `rows`. The caller holds the transaction."""
    remove(conn, provider)
    conn.execute("INSERT INTO provider VALUES (?, ?)", (provider, origin))
    pools = _pooled(ranked(provider, rows))
    sources = _store_sources(conn, provider, {pool[-1] for pool in pools})
    first = _next_id(conn, "pool")
    for pool_id, (pool, members) in enumerate(pools.items(), first):
        _store_pool(conn, pool_id, (provider, *pool[:-1], sources[pool[-1]]), members)


def remove(conn: sqlite3.Connection, provider: str) -> None:
    mine = "SELECT id FROM pool WHERE provider = ?"
    conn.execute(f"DELETE FROM offer WHERE pool_id IN ({mine})", (provider,))  # noqa: S608 - no user text
    for table in ("pool", "source"):
        conn.execute(f"DELETE FROM {table} WHERE provider = ?", (provider,))  # noqa: S608
    conn.execute("DELETE FROM provider WHERE name = ?", (provider,))


def ranked(provider: str, rows: Iterable[Row]) -> list[Row]:
    """The order of the placer between equal preferences; the position is the offer's `rank`."""
    carbon = _Carbon(provider)
    return sorted(rows, key=lambda row: (_price(row), carbon[row.region], name(row)))


class _Carbon(dict[str, float]):
    def __init__(self, provider: str) -> None:
        self._provider = provider

    def __missing__(self, region: str) -> float:
        known = site(self._provider, region).carbon_g_per_kwh
        self[region] = float("inf") if known is None else known
        return self[region]


def _price(row: Row) -> float:
    return float("inf") if row.micros is None else row.micros


def name(row: Row) -> str:
    """`Offer.key` without the cloud."""
    shape = row.instance_type or f"{row.accelerator}:{row.accelerator_count:g}"
    return f"{row.zone or row.region}/{shape}/{row.market}"


def _pooled(rows: Sequence[Row]) -> dict[_Pool, list[tuple[int, Row]]]:
    pools: dict[_Pool, list[tuple[int, Row]]] = defaultdict(list)
    for rank, row in enumerate(rows):
        pool = (
            row.region,
            row.zone,
            row.market,
            row.accelerator,
            row.accelerator_count,
            row.source,
        )
        pools[pool].append((rank, row))
    return pools


def _store_sources(
    conn: sqlite3.Connection, provider: str, sources: Iterable[Source]
) -> dict[Source, int]:
    ids = {source: at for at, source in enumerate(sorted(sources), _next_id(conn, "source"))}
    rows = [(at, provider, *source) for source, at in ids.items()]
    conn.executemany("INSERT INTO source VALUES (?, ?, ?, ?, ?)", rows)
    return ids


def _store_pool(
    conn: sqlite3.Connection,
    pool_id: int,
    facts: Sequence[object],
    members: Sequence[tuple[int, Row]],
) -> None:
    unpriced = sum(row.micros is None for _, row in members)
    conn.execute(
        "INSERT INTO pool VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (pool_id, *facts, len(members), unpriced, members[0][0]),
    )
    conn.executemany(
        "INSERT INTO offer VALUES (?, ?, ?, ?, ?, ?)",
        [
            (pool_id, rank, row.micros, row.vcpus, row.memory_gib, row.instance_type)
            for rank, row in members
        ],
    )


def _next_id(conn: sqlite3.Connection, table: str) -> int:
    highest = conn.execute(f"SELECT max(id) FROM {table}").fetchone()[0]  # noqa: S608
    return (highest or 0) + 1
