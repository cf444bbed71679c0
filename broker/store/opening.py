"""Opening a ledger: its connections, and its tables at the revision that this code knows."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from broker.errors import BrokerError, UsageError
from broker.store.schema import HEAD, REVISIONS, metadata

BUSY_MS = 30_000  # how long a writer waits for the writer before it
CONNECT_S = 10
CONNECTIONS = 16  # of one process to a server that others use too
BRING_UP = 0x66656462  # the advisory lock's number: one process at a time makes the tables
POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SETTINGS = f"-c synchronous_commit=on -c lock_timeout={BUSY_MS}"

_VERSION_TABLE = """\
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""


def make_engine(url: str) -> Engine:
    """Connections to the database; a SQLite file is made if need be, with mode 0600.

    UsageError: STO012 where PostgreSQL's driver is not installed, STO013 for another address.
    """
    address = _address(url)
    if address.drivername == "postgresql+psycopg":
        return _postgres(address)
    engine = create_engine(address, pool_size=32, pool_pre_ping=False)
    _make_private(address.database)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def name_of(engine: Engine) -> str:
    """The ledger in messages: its file, or its address without a password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=True)


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise _no_address(url) from error
    if address.drivername in POSTGRES:
        return address.set(drivername="postgresql+psycopg")
    if address.drivername == "sqlite":
        return address
    raise _no_address(address.drivername)


def _no_address(words: str) -> UsageError:
    return UsageError(
        f"`{words}` is no address of a ledger",
        code="STO013",
        hint="sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    )


def _postgres(address: URL) -> Engine:
    """PostgreSQL by psycopg 3. What is acknowledged is on disk; waits are bounded."""
    arguments = {"connect_timeout": CONNECT_S, "application_name": "fedbroker"}
    if "options" not in address.query:
        arguments["options"] = _SETTINGS
    try:
        return create_engine(
            address,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=BUSY_MS / 1000,
            pool_pre_ping=True,  # a server that was restarted is found again
            connect_args={
                name: value for name, value in arguments.items() if name not in address.query
            },
        )
    except ImportError as error:
        raise UsageError(
            "a ledger in PostgreSQL needs psycopg",
            code="STO012",
            hint="pip install 'fedbroker[postgres]'",
        ) from error


def bring_up(reader: Engine, writer: Engine) -> None:
    """Make or migrate the tables. Two processes at once: one does it, the other one waits."""
    with reader.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": BRING_UP})
        found = _revision(connection)
        if found is None:  # looked at under the lock: nobody else is half-way through
            _refuse_strangers(connection)
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
    """What the tables are at; None for a database that is none of ours yet."""
    if not inspect(connection).has_table("alembic_version"):
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
