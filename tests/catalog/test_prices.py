"""The law: a number that cannot be a price is unknown, and no real price is lost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.catalog.rows import MICRO, price_flaw, price_micros, tpu_chips


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "missing"),
        ("  ", "missing"),
        ("0", "0 or negative"),
        ("0.0", "0 or negative"),
        ("-1", "0 or negative"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("free", "not a number"),
    ],
)
def test_what_is_no_price_is_unknown_and_the_flaw_is_named(text: str, flaw: str) -> None:
    assert price_micros(text) is None
    assert price_flaw(text) == flaw


@pytest.mark.parametrize(
    ("usd", "accelerator", "count"),
    [
        ("700", "tpu-v2-8", 1),
        ("700", "tpu-v3-8", 1),
        ("101", "T4", 1),
        ("9999", "A100", 8),
        ("99", "L4", 0.125),
    ],
)
def test_a_price_that_no_accelerator_costs_is_a_placeholder(usd, accelerator, count) -> None:
    known = price_micros(usd, accelerator, count)
    if accelerator == "L4":
        assert known == 99 * MICRO  # a slice is held to the bound of a whole accelerator
    else:
        assert known is None
        assert "placeholder" in price_flaw(usd)


@pytest.mark.parametrize(
    ("usd", "accelerator", "count"),
    [
        ("2367.47401", "tpu-v5p-1024", 1),
        ("8", "tpu-v3-8", 1),
        ("691.2", "tpu-v6e-256", 1),
        ("142.4", "B300", 8),
        ("487.305", None, 0),
        ("0.0013", None, 0),
    ],
)
def test_real_prices_stay_however_high(usd, accelerator, count) -> None:
    assert price_micros(usd, accelerator, count) == Decimal(usd) * MICRO


@pytest.mark.parametrize(
    ("name", "chips"),
    [
        ("tpu-v2-8", 4),
        ("tpu-v3-8", 4),
        ("tpu-v4-32", 16),
        ("tpu-v5p-1024", 512),
        ("tpu-v5litepod-16", 16),
        ("tpu-v6e-8", 8),
        ("A100", None),
    ],
)
def test_a_tpus_name_says_how_many_chips_it_has(name: str, chips: int | None) -> None:
    assert tpu_chips(name) == chips


@given(st.decimals("0.000001", "1000", places=6))
def test_a_price_with_six_decimals_is_kept_to_the_last_digit(usd: Decimal) -> None:
    assert Decimal(price_micros(str(usd)) or 0) / MICRO == usd


def test_the_smallest_price_is_not_rounded_to_nothing() -> None:
    assert price_micros("0.0000001") == 1
