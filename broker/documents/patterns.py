"""What the parsers of `fields` and `units` take, once more as regular expressions of JSON Schema.

They keep to what ECMA and Python both understand, and say the same as the parsers: a test holds
each schema against the loader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

TEXT: Final = r"\S"
LABEL: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_CLOUD: Final = "[A-Za-z][A-Za-z0-9-]{0,40}(?:@[A-Za-z0-9][A-Za-z0-9-]{0,40})?"
CLOUD: Final = f"^{_CLOUD}$"
COUNTRY: Final = "^(?!(?:[uU][kK]|[eE][uU])$)[A-Za-z]{2}$"
SUBDIVISION: Final = "^[A-Za-z]{2}-[A-Za-z0-9]{1,3}$"
HOURS: Final = r"^(?=.*[1-9])\s*(?:[0-9]{1,9}(?:\.[0-9]{1,6})?\s*[wdhmsWDHMS]\s*)+$"
_PLACE: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
INFRA: Final = (
    r"^\s*(?:\*|[a-z][a-z0-9-]{0,40}(?:@[a-z0-9][a-z0-9-]{0,40})?)"
    rf"\s*(?:/\s*(?:\*|{_PLACE})\s*){{0,2}}$"
)
_FRACTION: Final = r"(?:\.[0-9]{1,9})?"
_MONEY: Final = rf"(?:0{{0,3}}[0-9]{{1,9}}{_FRACTION}|0{{0,2}}1000000000(?:\.0{{1,9}})?)"
_US: Final = "[uU][sS][dD]"
USD: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 10**9},
        {
            "type": "string",
            "pattern": rf"^\s*(?:(?:{_US})?\s*{_MONEY}\s*\$?|\$?\s*{_MONEY}\s*(?:{_US})?)\s*$",
        },
    ],
    "examples": [12, "12usd"],
}
_UP_TO_A_MILLION: Final = rf"(?:0{{0,6}}[0-9]{{1,6}}{_FRACTION}|0{{0,5}}1000000(?:\.0{{1,9}})?)"
AMOUNT: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 10**6},
        {"type": "string", "pattern": rf"^(?=.*[1-9])\s*{_UP_TO_A_MILLION}\+?\s*$"},
    ],
    "examples": [4, "4+"],
}
_CHIP: Final = "[A-Za-z][A-Za-z0-9_. -]{0,60}"
_COUNT: Final = rf"(?:\s*:\s*(?=[0-9.]*[1-9]){_UP_TO_A_MILLION})?"
_CHIP_WORD: Final[dict[str, Any]] = {"type": "string", "pattern": rf"^\s*{_CHIP}{_COUNT}\s*$"}
_CHIP_MAP: Final[dict[str, Any]] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 64,
    "propertyNames": {"pattern": rf"^\s*{_CHIP}\s*$"},
    "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 10**6},
}
ACCELERATORS: Final[dict[str, Any]] = {
    "anyOf": [
        _CHIP_WORD,
        _CHIP_MAP,
        {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": {"anyOf": [_CHIP_WORD, _CHIP_MAP]},
        },
    ],
    "examples": ["A100:8", {"A100": 8}],
}


def any_of(words: Iterable[str]) -> str:
    """One of the words, in any case."""
    return f"^(?:{'|'.join(any_case(word) for word in words)})$"


def any_case(word: str) -> str:
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isalpha() else char.replace(".", r"\.")
        for char in word
    )
