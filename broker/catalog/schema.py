"""The catalog's file: one table row per offer and market, gathered in pools.

A *pool* is what offers of one provider share apart from shape and price: region, zone, market,
accelerator and count, and who said the price. A request and a policy are mostly about these, so
they are decided once per pool (some thousands) and not once per offer (some hundred thousands).

`rank` orders the offers of one provider as the placer does between equal preferences: price,
unknown prices last, then carbon of the region, then name. Within a pool the rows lie in this
order on disk.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

VERSION = 1

_DDL = """
CREATE TABLE provider (
    name TEXT PRIMARY KEY,
    origin TEXT NOT NULL             -- 'snapshot', 'import' or 'live'
) WITHOUT ROWID;
CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    as_of TEXT NOT NULL,             -- ISO 8601 date
    currency TEXT NOT NULL
);
CREATE TABLE pool (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    region TEXT NOT NULL,
    zone TEXT,
    market TEXT NOT NULL,
    accelerator TEXT,
    accelerator_count REAL NOT NULL,
    source_id INTEGER NOT NULL,
    offers INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    first_rank INTEGER NOT NULL
);
CREATE INDEX pool_accelerator ON pool (accelerator, accelerator_count);
CREATE TABLE offer (
    pool_id INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    micros INTEGER,                  -- price per hour in millionths; NULL = unknown
    vcpus REAL,
    memory_gib REAL,
    instance_type TEXT NOT NULL,
    PRIMARY KEY (pool_id, rank)
) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def connect(path: Path) -> sqlite3.Connection:
    """An autocommit connection that waits up to 30 s for another process's write."""
    return sqlite3.connect(path, timeout=30, isolation_level=None)


def create(conn: sqlite3.Connection) -> None:
    conn.executescript(_DDL)
    conn.execute(f"PRAGMA user_version = {VERSION}")


def version(conn: sqlite3.Connection) -> int:
    """0 for a file that is no catalog yet."""
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def note(conn: sqlite3.Connection, name: str) -> str | None:
    row = conn.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def set_note(conn: sqlite3.Connection, name: str, value: str) -> None:
    conn.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
