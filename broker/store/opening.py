"""Opening a ledger: its connections, and its tables at the revision that this code knows."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url

from broker.errors import BrokerError, UsageError
from broker.store.schema import HEAD, REVISIONS, metadata

BUSY_MS = 30_000  # how long a writer waits for the writer before it

_VERSION_TABLE = """\
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""


def make_engine(url: str) -> Engine:
    """Connections to the database; a SQLite file is made if need be, with mode 0600."""
    address = make_url(url)
    engine = create_engine(address, pool_size=32, pool_pre_ping=False)
    if address.get_backend_name() == "sqlite":
        _make_private(address.database)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def bring_up(reader: Engine, writer: Engine) -> None:
    """Make or migrate the tables. Two processes at once: one does it, the other one waits."""
    with reader.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with writer.begin() as connection:
        found = _revision(connection)
        if found is None:
            _create(connection)
        elif found != HEAD:
            from broker.store.migrations.upgrade import upgrade

            upgrade(connection)


def _make_private(path: str | None) -> None:
    """SQLite gives its side files the mode of the file."""
    if not path or path == ":memory:":
        raise UsageError("a ledger is a file", hint="use MemoryStore for one in memory")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BrokerError(
            f"the ledger cannot be opened: {path}: {error.strerror}", code="STO004"
        ) from error


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = (
        None  # transactions begin where we say, not where the driver thinks
    )
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its place at once: a read lock that has to grow later can only fail."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """What the tables are at; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        _refuse_strangers(connection)
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found not in REVISIONS:
        raise UsageError(
            f"the ledger is at revision {found}, this release knows {HEAD}",
            code="STO006",
            hint="it was written by a newer release of fedbroker: upgrade this one",
        )
    return str(found)


def _refuse_strangers(connection: Connection) -> None:
    if tables := inspect(connection).get_table_names():
        raise UsageError(
            f"this database holds something else: {', '.join(tables[:5])}",
            code="STO007",
            hint="name another file",
        )


def _create(connection: Connection) -> None:
    """Today's tables at once; a test proves that all migrations together make the same."""
    metadata.create_all(connection)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
