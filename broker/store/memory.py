"""The ledger in memory: the shipped fake of `ports.Store`, with the same laws as the real one."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from broker.errors import ConflictError
from broker.model import Row

R = TypeVar("R", bound=Row)

MANY = (list, tuple, set, frozenset)  # a value of these types means "one of"


class MemoryStore:
    """Rows by kind and id. What goes in or comes out shares nothing changeable with the store."""

    def __init__(self) -> None:
        self._rows: dict[tuple[type[Row], str], Row] = {}
        self._lock = threading.Lock()

    def find(self, kind: type[R], /, **equal: object) -> list[R]:
        check_fields(kind, equal)
        with self._lock:
            rows = [row for (each, _), row in self._rows.items() if each is kind]
        found = [_copied(row) for row in rows if matches(row, equal)]
        return sorted(cast("list[R]", found), key=lambda row: row.id)

    def commit(self, *rows: Row) -> tuple[Row, ...]:
        with self._lock:
            staged: dict[tuple[type[Row], str], Row] = {}
            for row in rows:
                key = (type(row), row.id)
                _guard(row, staged.get(key) or self._rows.get(key))
                staged[key] = _copied(dataclasses.replace(row, version=row.version + 1))
            self._rows.update(staged)
        return tuple(dataclasses.replace(row, version=row.version + 1) for row in rows)


def check_fields(kind: type[R], equal: Mapping[str, object]) -> None:
    """TypeError for a field that the kind does not have: a misspelt filter must not be silent."""
    unknown = set(equal) - set(kind.__dataclass_fields__)
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")


def matches(row: Row, equal: Mapping[str, object]) -> bool:
    """Whether all fields equal the given values, or one of them where many are given."""
    return all(
        getattr(row, name) in value if isinstance(value, MANY) else getattr(row, name) == value
        for name, value in equal.items()
    )


def _guard(row: Row, stored: Row | None) -> None:
    name = f"{type(row).__name__.lower()} {row.id}"
    if row.version == 0 and stored:
        raise ConflictError(f"{name} exists already")
    if row.version and (stored is None or stored.version != row.version):
        raise ConflictError(f"{name} has changed since it was read")


def _copied(row: Row) -> Row:
    changes = dict(_mutable(row))
    return dataclasses.replace(row, **changes) if changes else row


def _mutable(row: Row) -> Iterator[tuple[str, Any]]:
    for name in row.__dataclass_fields__:
        value = getattr(row, name)
        if isinstance(value, dict) and value:
            yield name, copy.deepcopy(value)
