"""Law: a value that went through JSON is the same value."""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec, model
from broker.codec import from_json, to_json

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = {
    str: WORDS,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Any: st.none() | st.booleans() | st.integers() | WORDS | st.lists(WORDS, max_size=2),
}


@functools.cache
def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of the model; of what is many and large there is one at most."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        fields = get_type_hints(hint)
        return st.builds(hint, **{name: values(each) for name, each in fields.items()})
    if origin is dict:
        return st.dictionaries(WORDS, values(arguments[1]), max_size=2)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(values, arguments))
    if origin in (tuple, frozenset):
        many = 1 if dataclasses.is_dataclass(arguments[0]) else 2
        return st.lists(values(arguments[0]), max_size=many).map(origin)
    if arguments:
        return st.none() | values(arguments[0])
    return st.sampled_from(list(hint))


KINDS = [*model.Row.__args__, model.Plan, model.Task, model.Decision, model.Instance]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_value_of_the_model_survives_json(kind: type[Any]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(value=values(kind))
    def survives(value: Any) -> None:
        assert from_json(kind, json.loads(json.dumps(to_json(value)))) == value

    survives()


class Colour(StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Odd:
    pair: tuple[int, str] = (1, "a")
    many: list[Decimal] = dataclasses.field(default_factory=list)
    some: frozenset[str] = frozenset()
    by_colour: dict[str, Colour] = dataclasses.field(default_factory=dict)
    amount: float = 0
    either: int | str | None = None
    anything: Any = None


def test_unusual_shapes_are_read_by_their_hints() -> None:
    odd = Odd((2, "b"), [Decimal("0.10")], frozenset("zab"), {"x": Colour.RED}, 2, "s", [1])
    data = to_json(odd)
    assert data["some"] == ["a", "b", "z"]
    assert data["many"] == ["0.10"]
    assert from_json(Odd, data) == odd
    assert isinstance(from_json(Odd, data).amount, float)


def test_times_are_told_in_utc() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert to_json(at) == "2026-01-01T10:00:00+00:00"
    assert from_json(datetime, "2026-01-01T12:00:00+02:00") == at


def test_a_newer_releases_field_is_left_out_and_a_missing_one_takes_its_default() -> None:
    assert from_json(Odd, {"amount": 1, "from_the_future": True}) == Odd(amount=1)


def test_enums_are_keys_too() -> None:
    assert to_json({Colour.RED: 1}) == {"red": 1}


@pytest.mark.parametrize("value", [object(), {1: "x"}, b"bytes", {("a",): 1}])
def test_what_has_no_plain_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        to_json(value)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_json(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="no time zone"):
        from_json(datetime, "2026-01-01T00:00:00")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (int, "1"),
        (int, True),
        (str, 1),
        (float, True),
        (float, "1"),
        (Decimal, 1.5),
        (Decimal, "many"),
        (datetime, 5),
        (Colour, "blue"),
        (Odd, ["not", "an", "object"]),
        (Odd, {"pair": [1]}),
        (Odd, {"amount": "much"}),
    ],
)
def test_data_that_does_not_fit_is_refused(kind: Any, data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_json(kind, data)


@pytest.mark.parametrize("hint", [object, Odd | Colour])
def test_a_hint_that_json_cannot_carry_is_refused(hint: Any) -> None:
    with pytest.raises(TypeError):
        codec._reader(hint)
