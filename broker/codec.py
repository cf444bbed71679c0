"""Values of the model to plain JSON and back, by their type hints. Pure.

    to_json(plan)                    dicts, lists, strings, numbers, booleans, None
    from_json(Plan, to_json(plan))   equals plan

Decimals become strings (money keeps its digits), instants ISO 8601 in UTC, sets sorted lists.
A field that is missing takes its default; one that is not known is left out, so that a value
written by a newer release can be read.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

Reader = Callable[[Any], Any]

_PLAIN = (str, int, float, bool, type(None))


def to_json(value: Any) -> Any:
    """Plain JSON. TypeError for what has no plain form, ValueError for a time without a zone."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return _instant(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: to_json(getattr(value, name)) for name in _names(cast("Hashable", type(value)))
        }
    return _collection(value)


def from_json(cls: type[T], data: Any) -> T:
    """The value of that type. TypeError or ValueError where the data does not fit it."""
    value: T = _reader(cast("Hashable", cls))(data)
    return value


def _instant(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC).isoformat()


def _collection(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): to_json(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(to_json(item) for item in value)
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        return str(key.value)
    if isinstance(key, str):
        return key
    raise TypeError(f"{key!r} is no key of a JSON object")


@functools.cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(cls))


@functools.cache
def _reader(hint: Any) -> Reader:
    """How to read one type; worked out once for each."""
    if hint is Any:
        return _same
    if get_origin(hint) in (Union, types.UnionType):
        return _optional(hint)
    if get_origin(hint) in (tuple, list, frozenset, set, dict):
        return _many(hint)
    if dataclasses.is_dataclass(hint):
        return functools.partial(_record, cast("type[Any]", hint))
    return _scalar(hint)


def _same(data: Any) -> Any:
    return data


def _optional(hint: Any) -> Reader:
    """`X | None`, or a union of plain types, which reads itself."""
    kinds = [each for each in get_args(hint) if each is not type(None)]
    if len(kinds) > 1:
        if set(kinds) <= set(_PLAIN):
            return _same
        raise TypeError(f"{hint} is ambiguous in JSON")
    read = _reader(kinds[0])
    return lambda data: None if data is None else read(data)


def _many(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is dict:
        read = _reader(arguments[1])
        return lambda data: {key: read(item) for key, item in data.items()}
    if origin is tuple and arguments[-1] is not Ellipsis:
        reads = [_reader(each) for each in arguments]
        return lambda data: tuple(read(item) for read, item in zip(reads, data, strict=True))
    read_item = _reader(arguments[0])
    return lambda data: origin(read_item(item) for item in data)


def _record(cls: type[Any], data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise TypeError(f"{cls.__name__} is an object in JSON, not {type(data).__name__}")
    readers = _field_readers(cast("Hashable", cls))
    return cls(**{name: readers[name](item) for name, item in data.items() if name in readers})


@functools.cache
def _field_readers(cls: type[Any]) -> dict[str, Reader]:
    hints = get_type_hints(cls)
    return {name: _reader(hints[name]) for name in _names(cast("Hashable", cls))}


def _scalar(hint: Any) -> Reader:
    if hint is datetime:
        return _read_instant
    if hint is Decimal:
        return _read_decimal
    if hint is float:
        return _read_float
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint in (str, int, bool):
        return functools.partial(_checked, hint)
    raise TypeError(f"{hint} cannot be read from JSON")


def _read_instant(data: Any) -> datetime:
    value = datetime.fromisoformat(_checked(str, data))
    if value.tzinfo is None:
        raise ValueError(f"{data} has no time zone")
    return value.astimezone(UTC)


def _read_decimal(data: Any) -> Decimal:
    try:
        return Decimal(_checked(str, data))
    except ArithmeticError as error:
        raise ValueError(f"{data!r} is no decimal number") from error


def _read_float(data: Any) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise TypeError(f"{data!r} is no number")
    return float(data)


def _checked(kind: type[Any], data: Any) -> Any:
    if type(data) is not kind:
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data
