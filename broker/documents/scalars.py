"""What a plain YAML scalar means: the core schema of YAML 1.2. Pure.

`NO`, `yes`, `on`, `12:30:45` and `2026-01-01` are text; `010` is ten; only the words true and
false are booleans.
"""

from __future__ import annotations

import re
from typing import Final

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
MAX_DIGITS: Final = 40
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES: Final = {"0o": 8, "0x": 16}


class NumberError(ValueError):
    """A number that nothing here could use: infinite, not a number, or endless digits."""


def resolve(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if not (text[0] in "+-." or text[0].isdigit()):
        return text
    return _number(text)


def _number(text: str) -> int | float | str:
    if _NOT_FINITE.fullmatch(text):
        raise NumberError(f"`{text}` is not a finite number")
    is_int = _INT.fullmatch(text)
    if not is_int and not _FLOAT.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise NumberError(f"a number of {len(text)} characters is too long")
    if is_int:
        base = _BASES.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise NumberError(f"`{text}` is not a finite number")
    return value
