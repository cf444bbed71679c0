"""Amounts as people write them: durations, money, accelerators, "4 or more". Pure.

Every parser takes a YAML scalar (text, number, ...) and gives a value in the unit of its name, or
raises `UnitError`, whose words continue a sentence that starts with the field's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any, Final

from broker.model import AtLeast

MAX_HOURS: Final = 24 * 366 * 10
MAX_USD: Final = 10**9
MAX_AMOUNT: Final = 10**6
MAX_ALTERNATIVES: Final = 64

_EXACT: Final = Context(prec=28)
_SECONDS: Final = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?\s*[wdhms]\s*)+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhms])", re.ASCII)
_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,9})?)"
_MONEY: Final = re.compile(rf"(?:usd|\$)?\s*{_NUMBER}\s*(usd|\$)?", re.ASCII | re.IGNORECASE)
_FOREIGN: Final = re.compile(rf"{_NUMBER}\s*(eur|gbp|sek|nok|chf|€|£)", re.ASCII | re.IGNORECASE)
_AMOUNT: Final = re.compile(rf"{_NUMBER}(\+?)", re.ASCII)
_ACCELERATOR: Final = re.compile(rf"([A-Za-z][\w. -]{{0,60}}?)(?:\s*:\s*{_NUMBER})?", re.ASCII)


class UnitError(ValueError):
    """A value that cannot be used. `at` is the path below the field where it stands."""

    def __init__(
        self,
        words: str,
        *,
        tip: str | None = None,
        code: str = "005",
        at: tuple[str | int, ...] = (),
    ) -> None:
        super().__init__(words)
        self.words = words
        self.tip = tip
        self.code = code
        self.at = at


def found(value: Any) -> str:
    """What stands in the file, in plain words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_short(value)!r}"
    if isinstance(value, int | float):
        return f"the number {_short(str(value))}"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def hours(value: Any) -> Decimal:
    """`6h`, `90m`, `1h30m`, `1d` (24 h), `1w` in hours. A bare number is refused."""
    tip = "write `6h`, `90m` or `1d`"
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _DURATION.fullmatch(text):
        raise UnitError(f"wants a duration, found {found(value)}", tip=tip, code="011")
    parts = (Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    total = _EXACT.divide(sum(parts, Decimal(0)), Decimal(3600))
    if not 0 < total <= MAX_HOURS:
        raise UnitError(
            f"wants a duration above zero and up to ten years, found {found(value)}",
            tip=tip,
            code="011",
        )
    return total


def days(value: Any) -> Decimal:
    """As `hours`, in days: `30d`, `12h`."""
    try:
        return _EXACT.divide(hours(value), Decimal(24))
    except UnitError as exc:
        exc.tip = "write `30d` or `12h`"
        raise


def usd(value: Any) -> Decimal:
    """`12`, `12.50`, `12usd`, `$12`. Nothing here knows the rate of other currencies."""
    tip = "write `12usd`"
    text = _plain(value)
    if _FOREIGN.fullmatch(text):
        raise UnitError(f"is counted in US dollars only, found {found(value)}", tip=tip, code="012")
    matched = _MONEY.fullmatch(text)
    if not matched or text.count("$") > 1 or text.lower().count("usd") > 1:
        raise UnitError(f"wants an amount of money, found {found(value)}", tip=tip, code="012")
    amount = Decimal(matched[1])
    if amount > MAX_USD:
        raise UnitError(f"is above {MAX_USD} USD: {found(value)}", tip=tip, code="012")
    return amount


def at_least(value: Any) -> AtLeast:
    """`4` is exactly four, `4+` four or more. Memory is counted in GiB."""
    matched = _AMOUNT.fullmatch(_plain(value))
    if not matched or not 0 < float(matched[1]) <= MAX_AMOUNT:
        raise UnitError(
            f"wants an amount, found {found(value)}",
            tip="write `4` for exactly four, `4+` for four or more; memory is in GiB",
            code="014",
        )
    return AtLeast(float(matched[1]), or_more=bool(matched[2]))


def accelerators(value: Any) -> tuple[tuple[str, float], ...]:
    """Alternatives as (name, count): `A100`, `A100:8`, `{A100: 8}`, or a list of these.

    A name without a count is one of it. Several entries, in a mapping too, mean "any of".
    """
    named = tuple(_alternatives(value))
    if not 0 < len(named) <= MAX_ALTERNATIVES:
        raise UnitError(
            f"wants 1 to {MAX_ALTERNATIVES} accelerators, found {len(named)}", code="013"
        )
    return named


def hours_text(value: Decimal) -> str:
    """The shortest way to write whole seconds: `1h30m`. Inverse of `hours`."""
    left = round(value * 3600)
    parts = []
    for unit in ("d", "h", "m", "s"):
        amount, left = divmod(left, _SECONDS[unit])
        parts += [f"{amount}{unit}"] if amount else []
    return "".join(parts)


def usd_text(value: Decimal) -> str:
    """`12.50usd`. Inverse of `usd`."""
    return f"{value:f}usd"


def at_least_text(value: AtLeast) -> str:
    """`4` or `4+`. Inverse of `at_least`."""
    return _number_text(value.amount) + "+" * value.or_more


def accelerator_text(name: str, count: float) -> str:
    """`A100:8`. Inverse of `accelerators` for one of them."""
    return f"{name}:{_number_text(count)}"


def _alternatives(value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, count in value.items():
            yield _counted(name, count)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _item(item, index)
    else:
        yield _accelerator(value)


def _item(value: Any, index: int) -> Iterator[tuple[str, float]]:
    if isinstance(value, list) or value == {}:
        raise _not_an_accelerator(value, (index,))
    try:
        yield from _alternatives(value)
    except UnitError as exc:
        exc.at = (index, *exc.at)
        raise


def _counted(name: str, count: Any) -> tuple[str, float]:
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise _not_an_accelerator(count, (name,))
    try:
        return _accelerator(f"{name}:{_plain(count)}")
    except UnitError as exc:
        exc.at = (name,)
        raise


def _accelerator(value: Any) -> tuple[str, float]:
    matched = _ACCELERATOR.fullmatch(value.strip()) if isinstance(value, str) else None
    count = float(matched[2] or 1) if matched else 0
    if not matched or not 0 < count <= MAX_AMOUNT:
        raise _not_an_accelerator(value, ())
    return matched[1].rstrip(), count


def _not_an_accelerator(value: Any, at: tuple[str | int, ...]) -> UnitError:
    tip = "write `A100:8`, `{A100: 8}` or a list of alternatives"
    return UnitError(
        f"wants an accelerator and a count, found {found(value)}", tip=tip, code="013", at=at
    )


def _plain(value: Any) -> str:
    """The digits of a text or finite number; empty for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return _number_text(value)


def _number_text(value: float) -> str:
    """All digits of a number, never in exponent notation, no `.0` behind a whole one."""
    text = f"{Decimal(str(value)):f}"
    return text.removesuffix(".0")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
