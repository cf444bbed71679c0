"""The ledger on disk, over SQLAlchemy: SQLite for one home, PostgreSQL for brokers that share one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, exc, insert, or_, select, update

from broker.codec import from_json, to_json
from broker.errors import BrokerError, ConflictError
from broker.model import Row
from broker.store.memory import MANY, check_fields, matches
from broker.store.opening import bring_up, make_engine, name_of
from broker.store.schema import TABLES
from broker.store.troubles import DAMAGED, explained

R = TypeVar("R", bound=Row)

MOST_IN_SQL = 10_000  # values of a "one of these" that a database takes in one query
_NO_CHARACTER = "\x00"  # PostgreSQL's text has none of these


class Ledger:
    """`ports.Store` on disk. What `commit` has returned survives a kill and a power cut.

    `url` is `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`. A new file is made private to
    the user; new tables are today's; older ones are migrated when the ledger is opened. PostgreSQL
    keeps its default isolation, READ COMMITTED: a guarded update waits for the transaction before
    it and then sees its version.

    UsageError: a newer release wrote it, or the address is none. BrokerError: it cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._writer = self._engine.execution_options(writes=True)
        self._name = name_of(self._engine)
        self._shared = self._engine.dialect.name == "postgresql"
        self._reader = self._engine
        if self._shared:  # one SELECT is one snapshot: it needs no transaction around it
            self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lock: AbstractContextManager[Any] = (
            nullcontext() if self._shared else threading.Lock()
        )  # writers of one process queue here, not in SQLite
        try:
            with explained(self._name):
                bring_up(self._engine, self._writer)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back. The ledger is not usable afterwards."""
        self._engine.dispose()

    def find(self, kind: type[R], /, **equal: object) -> list[R]:
        check_fields(kind, equal)
        table = _table(kind)
        inside = {name: value for name, value in equal.items() if _in_sql(table, name, value)}
        # the order of Python's strings, whatever language the server sorts by
        order = table.c.id.collate("C") if self._shared else table.c.id
        query = select(table).where(*_where(table, inside)).order_by(order)
        with explained(self._name), self._reader.connect() as connection:
            records = connection.execute(query).mappings().all()
        rows = [_decoded(kind, dict(record), self._name) for record in records]
        outside = {name: value for name, value in equal.items() if name not in inside}
        return [row for row in rows if matches(row, outside)] if outside else rows

    def commit(self, *rows: Row) -> tuple[Row, ...]:
        records = [_encoded(row) for row in rows]
        # everybody locks in one order, so that two writers never wait for each other
        pairs = sorted(zip(rows, records, strict=True), key=_place)
        with self._lock, explained(self._name), self._writer.begin() as connection:
            for row, record in pairs:
                _write(connection, row, _storable(record) if self._shared else record)
        return tuple(replace(row, version=row.version + 1) for row in rows)


def _table(kind: type[Any]) -> Table:
    return TABLES[kind]


def _place(pair: tuple[Row, Mapping[str, Any]]) -> tuple[str, str]:
    return (TABLES[type(pair[0])].name, pair[0].id)


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace(_NO_CHARACTER, "\ufffd") if isinstance(value, str) else value
        for name, value in record.items()
    }


def _write(connection: Connection, row: Row, record: dict[str, Any]) -> None:
    """Insert or replace one row; ConflictError rolls the whole transaction back."""
    table, name = TABLES[type(row)], f"{type(row).__name__.lower()} {row.id}"
    if row.version == 0:
        try:
            connection.execute(insert(table).values(record))
        except exc.IntegrityError as error:
            raise ConflictError(f"{name} exists already") from error
        return
    guarded = update(table).where(table.c.id == row.id, table.c.version == row.version)
    if connection.execute(guarded.values(record)).rowcount != 1:
        raise ConflictError(f"{name} has changed since it was read")


def _encoded(row: Row) -> dict[str, Any]:
    """The columns of a row at its next version."""
    data = {**to_json(row), "version": row.version + 1}
    columns = [column.name for column in TABLES[type(row)].c if column.name != "rest"]
    record = {name: data.pop(name) for name in columns}
    return {**record, "rest": json.dumps(data, separators=(",", ":"))}


def _decoded(kind: type[R], record: dict[str, Any], name: str) -> R:
    try:
        rest = json.loads(record.pop("rest"))
        return from_json(kind, {**rest, **record})
    except (TypeError, ValueError, KeyError) as error:
        raise BrokerError(
            f"the ledger {name} is damaged: a {kind.__name__.lower()} cannot be read: {error}",
            code=DAMAGED,
            hint="restore it, or move it away",
        ) from error


def _in_sql(table: Table, name: str, value: object) -> bool:
    """Whether the database can answer it; what it cannot is compared here."""
    return name in table.c and not (isinstance(value, MANY) and len(value) > MOST_IN_SQL)


def _where(table: Table, equal: Mapping[str, object]) -> Iterator[ColumnElement[bool]]:
    for name, value in equal.items():
        column = table.c[name]
        if not isinstance(value, MANY):
            yield column.is_(None) if value is None else column == to_json(value)
        elif None in value:
            some = [to_json(each) for each in value if each is not None]
            yield or_(column.is_(None), column.in_(some))
        else:
            yield column.in_([to_json(each) for each in value])
