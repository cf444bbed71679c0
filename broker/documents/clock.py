"""Hours of the day and days of the week as people write them: `Mon-Fri 20:00-06:00`."""

from __future__ import annotations

import re
from typing import Any, Final

from broker.diagnostics import suggest
from broker.documents.units import UnitError, found
from broker.policy.rules import Window

WINDOW: Final = "025"  # numbers in `codes.OWN`, of POL
ZONE: Final = "026"
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY: Final = frozenset(range(7))
_HOURS: Final = r"((?:[01]\d|2[0-3]):[0-5]\d)\s*-\s*((?:[01]\d|2[0-3]):[0-5]\d|24:00)"
_DAY: Final = rf"(?:{'|'.join(DAYS)})"
_SPAN: Final = rf"{_DAY}(?:\s*-\s*{_DAY})?"
_DAILY: Final = re.compile(_HOURS, re.ASCII)
_WEEKLY: Final = re.compile(rf"(?:({_SPAN}(?:\s*,\s*{_SPAN})*)\s+)?{_HOURS}", re.ASCII)

_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS_SCHEMA: Final = rf"(?!(.{{5}})\s*-\s*\1){_CLOCK}\s*-\s*(?:{_CLOCK}|24:00)"
_DAY_SCHEMA: Final = "(?:{})".format(
    "|".join(f"[{d[0]}{d[0].upper()}][{d[1]}{d[1].upper()}][{d[2]}{d[2].upper()}]" for d in DAYS)
)
_SPAN_SCHEMA: Final = rf"{_DAY_SCHEMA}(?:\s*-\s*{_DAY_SCHEMA})?"
DAILY_SCHEMA: Final = rf"^\s*{_HOURS_SCHEMA}\s*$"
WEEKLY_SCHEMA: Final = rf"^\s*(?:{_SPAN_SCHEMA}(?:\s*,\s*{_SPAN_SCHEMA})*\s+)?{_HOURS_SCHEMA}\s*$"
_ZONE: Final = re.compile("[A-Za-z][A-Za-z0-9_+/-]*")
ZONE_SCHEMA: Final = f"^{_ZONE.pattern}$"


def daily(value: Any) -> tuple[int, int]:
    """`22:00-06:00` as minutes of the day; the end may lie behind midnight."""
    matched = _DAILY.fullmatch(_plain(value))
    if not matched:
        tip = "write `22:00-06:00`"
        raise UnitError(f"wants hours of the day, found {found(value)}", tip=tip, code=WINDOW)
    return _minutes(matched[1], matched[2])


def weekly(value: Any) -> Window:
    """`Mon-Fri 20:00-06:00`, `Sat,Sun 00:00-24:00`, or hours alone for every day.

    Hours that end behind midnight belong to the day on which they begin.
    """
    matched = _WEEKLY.fullmatch(_plain(value))
    if not matched:
        tip = "write `Mon-Fri 20:00-06:00`, or `22:00-06:00` for every day"
        words = f"wants days and hours, found {found(value)}"
        raise UnitError(words, tip=tip, code=WINDOW)
    since, until = _minutes(matched[2], matched[3])
    return Window(_days(matched[1] or ""), since, until)


def zone(value: Any) -> str:
    """A name of the time zone database, such as Europe/Oslo."""
    words = f"wants a time zone such as Europe/Oslo, found {found(value)}"
    if not isinstance(value, str) or not _ZONE.fullmatch(value):
        raise UnitError(words, tip="the names are those of the time zone database")
    if value != "UTC" and not _known(value):
        raise UnitError(words, tip=_near(value), code=ZONE)
    return value


def _known(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _near(given: str) -> str:
    """Among all zones by the name of the city, then by the whole name."""
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    names = sorted(available_timezones())
    cities = {name.rpartition("/")[2].lower(): name for name in names if "/" in name}
    near = get_close_matches(given.rpartition("/")[2].lower(), cities, n=1, cutoff=0.7)
    if near:
        return f"did you mean `{cities[near[0]]}`?"
    return suggest(given, names) or "write a name such as `Europe/Oslo`, or `UTC`"


def _plain(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _minutes(since: str, until: str) -> tuple[int, int]:
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (since, until))
    if start == end:
        words = f"wants hours that end later than they begin, found {since}-{until}"
        raise UnitError(words, tip="the whole day is `00:00-24:00`", code=WINDOW)
    return start, end


def _days(text: str) -> frozenset[int]:
    """`fri-mon` runs over the end of the week; no text is every day."""
    found_days: set[int] = set()
    for span in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = (part.strip() for part in span.partition("-"))
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % 7
        found_days |= {(start + step) % 7 for step in range(length + 1)}
    return frozenset(found_days) or EVERY_DAY
