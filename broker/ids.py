"""Names for rows: short, prefixed, sortable by time. Pure: the caller brings time and randomness.

`ls_01k9d3n4p0a7x2m5q`: the prefix, nine characters of milliseconds, eight of entropy. Only
`[a-z0-9_]`, at most 64 characters, so that an attempt's id is a valid launch token, tag and name
in every cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

NewId = Callable[[str], str]  # prefix -> a fresh id, sorting after those made before
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # in ASCII order; without the letters i, l, o, u
ENTROPY_BYTES = 5

_TIME_CHARS = 9
_ENTROPY_CHARS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def new_id(prefix: str, at: datetime, entropy: bytes) -> str:
    """An id that sorts after every id of the same prefix made in an earlier millisecond.

    `prefix` is "ls" or "ls_". The first five bytes of `entropy` are used; fewer are a ValueError.
    """
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"an id needs {ENTROPY_BYTES} bytes of entropy, not {len(entropy)}")
    millis = (at - _EPOCH) // _MILLISECOND
    chance = int.from_bytes(entropy[:ENTROPY_BYTES], "big")
    return f"{prefix.rstrip('_')}_{_text(millis, _TIME_CHARS)}{_text(chance, _ENTROPY_CHARS)}"


def made_at(value: str) -> datetime | None:
    """The moment in an id, to the millisecond. None: it was not made by `new_id`."""
    body = value.rpartition("_")[2]
    if len(body) != _TIME_CHARS + _ENTROPY_CHARS or not set(body) <= set(ALPHABET):
        return None
    millis = 0
    for char in body[:_TIME_CHARS]:
        millis = millis * 32 + ALPHABET.index(char)
    return _EPOCH + millis * _MILLISECOND


def _text(number: int, chars: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(chars)))
