"""A YAML text as a tree that keeps every remark, for writing it anew.

A remark on a line of its own belongs to what stands below it, or, when it is indented deeper than
that, to the end of the block above. One behind a value belongs to the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.documents.loader import LINE_END

Mark = tuple[int, int]  # line and column, from 0
MAX_COLUMN: Final = 1 << 20


@dataclass(slots=True)
class Part:
    """A scalar, mapping or list with the range of text that it fills."""

    kind: str  # "scalar" | "map" | "list"
    start: Mark
    end: Mark
    flow: bool = False
    style: str = ""  # of a scalar
    value: str = ""  # of a scalar
    entries: list[Entry] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)  # remarks behind the last entry


@dataclass(slots=True)
class Entry:
    """A key with its value, or one value of a list. Remarks above it and behind it."""

    start: Mark
    value: Part
    within: Part
    key: Part | None = None
    above: list[str] = field(default_factory=list)  # "" is an empty line
    behind: list[str] = field(default_factory=list)

    @property
    def end(self) -> Mark:
        return self.value.end


@dataclass(frozen=True, slots=True)
class Remark:
    """`text` begins with #. `alone`: nothing stands before it; `gap`: an empty line is above."""

    line: int
    col: int
    text: str
    alone: bool
    gap: bool


@dataclass(slots=True)
class Sheet:
    """The whole text: its header, the tree with its remarks, its lines."""

    root: Part
    lines: Sequence[str]
    header: list[str] = field(default_factory=list)


def sheet(text: str) -> Sheet:
    """Of a text that is known to be one YAML mapping without anchors and tags."""
    lines = LINE_END.split(text)
    scalars: list[Part] = []
    made = Sheet(_compose(text, scalars), lines)
    entries = sorted(_entries(made.root), key=lambda one: one.start)
    for remark in remarks(lines, scalars):
        _attach(remark, made, entries)
    first = entries[0].start[0] if entries else 0
    if made.header and first and not lines[first - 1].strip():
        made.header.append("")
    return made


def remarks_of(text: str) -> list[str]:
    """All of them, sorted: a layout may move them but lose none."""
    scalars: list[Part] = []
    _compose(text, scalars)
    return sorted(one.text for one in remarks(LINE_END.split(text), scalars))


def remarks(lines: Sequence[str], scalars: Sequence[Part]) -> Iterator[Remark]:
    """Every `#` outside a scalar that has nothing or a space before it."""
    within = [(one.start, one.end) for one in scalars]
    for number, line in enumerate(lines):
        at = line.find("#")
        while at >= 0:
            free = at == 0 or line[at - 1] in " \t"
            if free and not any(start < (number, at) < end for start, end in within):
                gap = number > 0 and not lines[number - 1].strip()
                yield Remark(number, at, line[at:].rstrip(), not line[:at].strip(), gap)
                break
            at = line.find("#", at + 1)


def _compose(text: str, scalars: list[Part]) -> Part:
    from ruamel.yaml import YAML

    events = iter(YAML(typ="safe", pure=True).parse(text))
    for event in events:
        if type(event).__name__ == "MappingStartEvent":
            return _part(event, events, scalars)
    raise AssertionError("a document that was read is a mapping")


def _part(event: Any, events: Iterator[Any], scalars: list[Part]) -> Part:
    start = (event.start_mark.line, event.start_mark.column)
    end = (event.end_mark.line, event.end_mark.column)
    name = type(event).__name__
    if name == "ScalarEvent":
        if event.style in ("|", ">") and end[1] == 0:
            end = (end[0] - 1, MAX_COLUMN)  # the mark is that of the line below
        made = Part("scalar", start, end, style=event.style or "", value=event.value)
        scalars.append(_without_header(made))
        return made
    kind = "map" if name == "MappingStartEvent" else "list"
    made = Part(kind, start, end, flow=bool(event.flow_style))
    for inner in events:
        if type(inner).__name__ in {"MappingEndEvent", "SequenceEndEvent"}:
            made.end = _end(made, inner)
            return made
        first = _part(inner, events, scalars)
        if kind == "map":
            value = _part(next(events), events, scalars)
            made.entries.append(Entry(first.start, value, made, first))
        else:
            made.entries.append(Entry(first.start, first, made))
    raise AssertionError("every block has its end")


def _without_header(scalar: Part) -> Part:
    """A block scalar's text begins on the line below `|`, where a remark may still stand."""
    if scalar.style not in {"|", ">"}:
        return scalar
    return Part("scalar", (scalar.start[0] + 1, -1), scalar.end)


def _end(part: Part, event: Any) -> Mark:
    """A block ends where its last value does, not where the next token stands."""
    if part.flow or not part.entries:
        return event.end_mark.line, event.end_mark.column
    return part.entries[-1].end


def _entries(part: Part) -> Iterator[Entry]:
    for entry in part.entries:
        yield entry
        yield from _entries(entry.value)


def _attach(remark: Remark, made: Sheet, entries: Sequence[Entry]) -> None:
    if not remark.alone:
        _behind(remark, entries, made)
        return
    below = next((one for one in entries if one.start[0] > remark.line), None)
    before = [one for one in entries if one.start[0] < remark.line]
    gap = [""] if remark.gap else []
    if not before:
        made.header += [*(gap if made.header else []), remark.text]
        return
    inside = _flow_around(remark, before)
    if inside is not None and (below is None or below.start > inside.end):
        inside.foot.append(remark.text)
    elif inside is not None or (below is not None and remark.col <= _dash(below)):
        assert below is not None
        below.above += [*(gap if below.above else []), remark.text]
    else:
        _block_around(remark, before[-1], made.root).foot.append(remark.text)


def _behind(remark: Remark, entries: Sequence[Entry], made: Sheet) -> None:
    """Of what ends last on this line the outermost, else the last one that begins on it."""
    at = (remark.line, remark.col)
    ended = [
        one
        for one in entries
        if one.end[0] == remark.line
        and one.end <= at
        and (one.value.flow or one.value.kind == "scalar")
    ]
    begun = [one for one in entries if one.start[0] == remark.line and one.start < at]
    if ended and (not begun or begun[-1].start <= max(one.end for one in ended)):
        last = max(one.end for one in ended)
        next(one for one in ended if one.end == last).behind.append(remark.text)
    elif begun:
        begun[-1].behind.append(remark.text)
    else:
        made.header.append(remark.text)


def _dash(entry: Entry) -> int:
    """The column of the entry; of its dash, when it is the first thing behind one."""
    listed = entry.within.kind == "list" and not entry.within.flow
    return entry.within.start[1] if listed else entry.start[1]


def _flow_around(remark: Remark, before: Sequence[Entry]) -> Part | None:
    """The innermost list in brackets that the remark stands in."""
    at = (remark.line, remark.col)
    around = [
        one.value for one in before if one.value.flow and one.value.start < at < one.value.end
    ]
    return around[-1] if around else None


def _block_around(remark: Remark, last: Entry, root: Part) -> Part:
    """The block that the remark is indented into: the deepest that begins no further right."""
    part = last.within
    parents: dict[int, Part] = {}
    _parents(root, parents)
    if last.value.kind != "scalar" and not last.value.flow:
        part = last.value
    while part is not root and (part.flow or part.start[1] > remark.col):
        part = parents[id(part)]
    return part


def _parents(part: Part, found: dict[int, Part]) -> None:
    for entry in part.entries:
        found[id(entry.value)] = part
        _parents(entry.value, found)
