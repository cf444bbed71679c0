"""Law: what a unit writes it reads back; what is no amount is refused in words, never guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.documents import units
from broker.documents.units import UnitError
from broker.model import AtLeast

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=3))),
)


@given(st.integers(1, units.MAX_HOURS * 3600))
def test_a_duration_survives_being_written(seconds: int) -> None:
    hours = units.hours(f"{seconds}s")
    assert units.hours(units.hours_text(hours)) == hours
    assert abs(hours * 3600 - seconds) < Decimal("1e-15")


@given(st.decimals(0, units.MAX_USD, places=4))
def test_money_survives_being_written(amount: Decimal) -> None:
    assert units.usd(units.usd_text(amount)) == amount


@given(st.integers(1, 10**6), st.booleans())
def test_an_amount_survives_being_written(amount: int, more: bool) -> None:
    value = AtLeast(float(amount), more)
    assert units.at_least(units.at_least_text(value)) == value


@given(st.from_regex(r"[A-Z][A-Za-z0-9]{0,8}(-[0-9]{2}GB)?", fullmatch=True), st.integers(1, 512))
def test_an_accelerator_survives_being_written(name: str, count: int) -> None:
    assert units.accelerators(units.accelerator_text(name, count)) == ((name, float(count)),)


@pytest.mark.parametrize("parse", [units.hours, units.usd, units.at_least, units.accelerators])
@given(junk=JUNK)
@example(junk="9" * 400)
@example(junk=1e308)
@example(junk={"A100": True})
def test_anything_is_parsed_or_refused_in_words(parse: object, junk: object) -> None:
    refused = None
    try:
        parse(junk)  # type: ignore[operator]
    except UnitError as exc:
        refused = exc
    assert refused is None or 0 < len(refused.words) < 200


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("6h", "6"),
        ("90m", "1.5"),
        ("1d", "24"),
        ("1w", "168"),
        ("36s", "0.01"),
        ("1h30m", "1.5"),
        (" 1h 30m ", "1.5"),
        ("1.5H", "1.5"),
    ],
)
def test_durations_are_hours(text: str, hours: str) -> None:
    assert units.hours(text) == Decimal(hours)


@pytest.mark.parametrize(
    "text", ["6", 6, "", "h", "0h", "-1h", "1e3h", "100w" * 9, "6 hours", "٣h"]
)
def test_a_duration_without_a_good_unit_is_refused(text: object) -> None:
    with pytest.raises(UnitError, match="duration"):
        units.hours(text)


@pytest.mark.parametrize(
    ("value", "usd"),
    [
        (12, "12"),
        (0, "0"),
        (12.5, "12.5"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        ("12usd", "12"),
        ("12 USD", "12"),
        ("$12.50", "12.50"),
        ("12$", "12"),
        ("USD 3", "3"),
    ],
)
def test_money_is_exact_dollars(value: object, usd: str) -> None:
    assert units.usd(value) == Decimal(usd)


@pytest.mark.parametrize(
    "value", ["12eur", "3 €", -1, "1,000", "$12usd$", "$1$", float("nan"), True]
)
def test_what_is_no_amount_of_dollars_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        units.usd(value)


def test_money_beyond_any_budget_is_refused() -> None:
    with pytest.raises(UnitError, match="above 1000000000 USD"):
        units.usd("1000000001")


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (4, AtLeast(4)),
        ("4", AtLeast(4)),
        ("4+", AtLeast(4, or_more=True)),
        (0.5, AtLeast(0.5)),
        ("1.5+", AtLeast(1.5, or_more=True)),
    ],
)
def test_a_plus_means_or_more(value: object, amount: AtLeast) -> None:
    assert units.at_least(value) == amount


@pytest.mark.parametrize("value", ["4++", "+4", 0, -4, "16GB", None, [4], True])
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(UnitError, match="amount"):
        units.at_least(value)


@pytest.mark.parametrize(
    ("value", "alternatives"),
    [
        ("A100", [("A100", 1)]),
        ("A100:8", [("A100", 8)]),
        (" A100-80GB : 2 ", [("A100-80GB", 2)]),
        ("T4:0.5", [("T4", 0.5)]),
        ({"A100": 8}, [("A100", 8)]),
        ({"A100": 8, "H100": 4}, [("A100", 8), ("H100", 4)]),
        (["A100:8", {"H100": 4}], [("A100", 8), ("H100", 4)]),
    ],
)
def test_accelerators_are_alternatives_with_counts(
    value: object, alternatives: list[tuple[str, float]]
) -> None:
    assert list(units.accelerators(value)) == alternatives


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("A100:0", ()),
        ("A100:x", ()),
        (8, ()),
        (["A100", "A100:"], (1,)),
        (["A100", ["H100"]], (1,)),
        (["A100", {"H100": "x"}], (1, "H100")),
        ({"H100": True}, ("H100",)),
        ({"H100": -1}, ("H100",)),
    ],
)
def test_a_refused_accelerator_is_pointed_at(value: object, at: tuple[object, ...]) -> None:
    with pytest.raises(UnitError) as refused:
        units.accelerators(value)
    assert refused.value.at == at


@pytest.mark.parametrize("value", [[], {}, [f"A{n}" for n in range(65)]])
def test_no_accelerators_and_endless_ones_are_refused(value: object) -> None:
    with pytest.raises(UnitError, match="1 to 64"):
        units.accelerators(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "true"),
        (False, "false"),
        ("a", "the text 'a'"),
        ("x" * 99, f"the text '{'x' * 37}...'"),
        (3, "the number 3"),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_what_was_found_is_said_plainly(value: object, words: str) -> None:
    assert units.found(value) == words
