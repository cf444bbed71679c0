"""The ledger on disk, over SQLAlchemy: SQLite for one home; the address may name PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, exc, insert, or_, select, update

from broker.codec import from_json, to_json
from broker.errors import BrokerError, ConflictError
from broker.model import Row
from broker.store.memory import MANY, check_fields, matches
from broker.store.opening import bring_up, make_engine
from broker.store.schema import TABLES

R = TypeVar("R", bound=Row)

MOST_IN_SQL = 10_000  # values of a "one of these" that SQLite takes in one query

_DAMAGED = "STO003"
_TROUBLE = (  # in the database's words -> code, ours, hint
    ("locked", "STO001", "the ledger is busy", "another process holds it; try again"),
    ("disk is full", "STO002", "there is no space left for the ledger", "free some space"),
    ("not a database", _DAMAGED, "the ledger is damaged", "restore it, or move it away"),
    ("malformed", _DAMAGED, "the ledger is damaged", "restore it, or move it away"),
    ("unable to open", "STO004", "the ledger cannot be opened", "check its folder"),
    ("readonly", "STO005", "the ledger cannot be written", "check its owner and mode"),
)


class Ledger:
    """`ports.Store` on disk. What `commit` has returned survives a kill and a power cut.

    A new file is made private to the user and gets today's tables; an older one is migrated when it
    is opened. UsageError: it was written by a newer release. BrokerError: it cannot be used at all.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._writer = self._engine.execution_options(writes=True)
        self._name = self._engine.url.database or url
        self._lock = threading.Lock()  # writers of one process queue here, not in SQLite
        try:
            with _explained(self._name):
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
        query = select(table).where(*_where(table, inside)).order_by(table.c.id)
        with _explained(self._name), self._engine.connect() as connection:
            records = connection.execute(query).mappings().all()
        rows = [_decoded(kind, dict(record), self._name) for record in records]
        outside = {name: value for name, value in equal.items() if name not in inside}
        return [row for row in rows if matches(row, outside)] if outside else rows

    def commit(self, *rows: Row) -> tuple[Row, ...]:
        records = [_encoded(row) for row in rows]
        with self._lock, _explained(self._name), self._writer.begin() as connection:
            for row, record in zip(rows, records, strict=True):
                _write(connection, row, record)
        return tuple(replace(row, version=row.version + 1) for row in rows)


def _table(kind: type[Any]) -> Table:
    return TABLES[kind]


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
            code=_DAMAGED,
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


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """The database's errors in words that say what to do."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error)
        found = (each for each in _TROUBLE if each[0] in words)
        _, code, message, hint = next(found, ("", "STO000", "the ledger failed", None))
        raise BrokerError(f"{message}: {name}: {words}", code=code, hint=hint) from error
