"""Law: ids sort by time, are valid tokens in every cloud, and need nothing but their arguments."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.ids import made_at, new_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=365_000)).map(lambda age: EPOCH + age)
entropy = st.binary(min_size=5, max_size=16)


@given(at=moments, chance=entropy)
def test_an_id_is_short_and_plain_and_tells_its_time(at: datetime, chance: bytes) -> None:
    name = new_id("at", at, chance)
    assert re.fullmatch(r"at_[a-z0-9]{17}", name)
    told = made_at(name)
    assert told is not None
    assert timedelta(0) <= at - told < timedelta(milliseconds=1)


@given(first=moments, second=moments, one=entropy, other=entropy)
def test_ids_sort_by_time(first: datetime, second: datetime, one: bytes, other: bytes) -> None:
    if second - first >= timedelta(milliseconds=1):
        assert new_id("ls", first, one) < new_id("ls", second, other)


def test_a_prefix_may_bring_its_own_underscore() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert new_id("ls_", at, b"12345") == new_id("ls", at, b"12345")


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        new_id("ls", datetime(2026, 1, 1, tzinfo=UTC), b"1234")


@pytest.mark.parametrize("name", ["", "ls_", "ls_unknown", "ls_0000_0"])
def test_what_was_not_made_here_tells_no_time(name: str) -> None:
    assert made_at(name) is None
