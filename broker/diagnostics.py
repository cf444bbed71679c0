"""What is wrong in a user's file, and how it is shown: code, place, caret, tip. Pure.

error[TSK002]: unknown field `acelerators`
   --> task.yaml:5:3
    |
  5 |   acelerators: A100:1
    |   ^^^^^^^^^^^
    = tip: did you mean `accelerators`?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.model import Location


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem. `source_line` is the text of the line, when there is one to show."""

    code: str
    message: str
    location: Location
    tip: str | None = None
    source_line: str | None = None

    def render(self) -> str:
        return "\n".join(_lines(self))


def render_all(diagnostics: Sequence[Diagnostic]) -> str:
    """Every problem, then how many there are in which files."""
    files = sorted({item.location.file for item in diagnostics})
    count = len(diagnostics)
    total = f"Found {count} error{'s' if count != 1 else ''} in {', '.join(files)}."
    return "\n\n".join([*(item.render() for item in diagnostics), total])


def suggest(word: str, known: Iterable[str]) -> str | None:
    """A tip for a misspelt word: the nearest known one, else the list when it is short."""
    choices = sorted(known)
    near = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    if 0 < len(choices) <= 12:
        return f"known: {', '.join(choices)}"
    return None


def _lines(item: Diagnostic) -> Iterable[str]:
    where = item.location
    gutter = " " * (len(str(where.line)) + 2)
    yield f"error[{item.code}]: {item.message}"
    yield f"{gutter[:-2]} --> {where}"
    if item.source_line is not None:
        room = max(1, len(item.source_line) - where.col + 1)
        yield f"{gutter}|"
        yield f" {where.line} | {item.source_line}"
        yield f"{gutter}| {' ' * (where.col - 1)}{'^' * min(max(1, where.span), room)}"
    if item.tip:
        yield f"{gutter}= tip: {item.tip}"
