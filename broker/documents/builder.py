"""Turns a YAML parser's events into a tree, one at a time, and says what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from broker.diagnostics import Diagnostic
from broker.documents.scalars import NumberError, resolve
from broker.documents.tree import Node, source_line
from broker.model import Location

MAX_DEPTH: Final = 32
MAX_NODES: Final = 10_000
MAX_PROBLEMS: Final = 50  # more than anybody reads at once
NO_ALIAS: Final = "write the value out where it is used"


class StopReading(Exception):  # noqa: N818  not an error of the program: the file is refused
    """The rest of the file is not worth reading."""


@dataclass(slots=True)
class Open:
    """A mapping or list whose end has not been seen. `key` waits for its value."""

    node: Node
    key: str | None = None
    key_at: Location | None = None


@dataclass(slots=True)
class Builder:
    """Feed it events; then `root` is the tree, unless `broken`."""

    file: str
    lines: Sequence[str]
    root: Node | None = None
    broken: bool = False
    last: Location = field(init=False)  # how far it was read
    problems: list[Diagnostic] = field(default_factory=list)
    _open: list[Open] = field(default_factory=list)
    _nodes: int = 0
    _anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.last = Location(self.file)

    def take(self, event: Any) -> None:
        """One event. StopReading when the file is beyond a bound."""
        self.last = self._at(event)
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            self._begin(event, {} if kind == "MappingStartEvent" else [])
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            self._end(event)
        elif kind == "AliasEvent":
            self._alias(event)
        elif kind == "DocumentStartEvent" and self.root is not None:
            self._refuse("DOC014", "a second document starts here", self.last, "use one file each")
            self._stop()

    def _scalar(self, event: Any) -> None:
        self._count(event)
        where = self.last
        value: Any = event.value
        if event.style in (None, ""):
            try:
                value = resolve(event.value)
            except NumberError as exc:
                self._refuse("DOC016", str(exc), where, "put it in quotes if it is text")
        self._put(Node(value, where, event.value, style=event.style or ""))

    def _begin(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        self._count(event)
        node = Node(value, self.last, block=not event.flow_style)
        self._put(node)
        self._open.append(Open(node))
        if len(self._open) > MAX_DEPTH:
            self._refuse("DOC008", f"nested more than {MAX_DEPTH} deep", node.location)
            self._stop()

    def _end(self, event: Any) -> None:
        """A list in brackets is underlined to its end, if that stands on the same line."""
        node = self._open.pop().node
        start, end = node.location, event.end_mark
        if not node.block:
            width = len(self.lines[start.line - 1])
            last = end.column if end.line + 1 == start.line else width
            node.location = replace(start, span=max(1, last - start.col + 1))

    def _alias(self, event: Any) -> None:
        """The value is not known, so the tree is of no use; other problems are still looked for."""
        self._count(event)
        self.broken = True
        if str(event.anchor) not in self._anchors:
            self._no_anchor(str(event.anchor), f"alias `*{_brief(event.anchor)}`")
        self._put(Node(None, self.last))

    def _count(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse("DOC009", f"more than {MAX_NODES:,} values", self.last)
            self._stop()
        anchor = getattr(event, "anchor", None)
        if anchor is not None and type(event).__name__ != "AliasEvent":
            self._no_anchor(str(anchor), f"anchor `&{_brief(anchor)}`")
        if getattr(event, "ctag", None) is not None:
            tag = _brief(str(event.ctag).replace("tag:yaml.org,2002:", "!!"))
            self._refuse("DOC011", f"tag `{tag}` is not allowed", self.last, "leave it out")

    def _no_anchor(self, name: str, words: str) -> None:
        self._anchors.add(name)
        self._refuse("DOC010", f"{words} is not allowed", self.last, NO_ALIAS)

    def _put(self, node: Node) -> None:
        """Hang a value where it belongs: the root, a list, a key, or behind a key."""
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if isinstance(top.node.value, list):
            top.node.children[len(top.node.value)] = node
            top.node.value.append(node.value)
        elif top.key_at is None:
            self._key(top, node)
        else:
            if top.key is not None:
                top.node.value[top.key] = node.value
                top.node.children[top.key] = node
            top.key = top.key_at = None

    def _key(self, top: Open, node: Node) -> None:
        top.key_at = node.location
        if not node.text:
            self._refuse("DOC013", "a key must be plain text", node.location)
        elif node.text in top.node.keys:
            first = top.node.keys[node.text].line
            words = f"`{_brief(node.text)}` stands twice in this mapping, first on line {first}"
            self._refuse("DOC012", words, node.location, "keep one of them")
        else:
            top.key = node.text
            top.node.keys[node.text] = node.location

    def _at(self, event: Any) -> Location:
        start, end = event.start_mark, event.end_mark
        line, col = start.line + 1, start.column + 1
        width = len(self.lines[start.line]) if start.line < len(self.lines) else col
        last = end.column if end.line == start.line else width
        return Location(self.file, line, col, max(1, last - start.column))

    def _refuse(self, code: str, message: str, where: Location, tip: str | None = None) -> None:
        line = source_line(self.lines, where)
        self.problems.append(Diagnostic(code, message, where, tip, line))
        if len(self.problems) >= MAX_PROBLEMS:
            self._stop()

    def _stop(self) -> None:
        self.broken = True
        raise StopReading


def _brief(text: object) -> str:
    words = str(text)
    return words if len(words) <= 40 else f"{words[:37]}..."
