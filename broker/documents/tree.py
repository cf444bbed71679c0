"""A YAML file as plain values that know where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.diagnostics import Diagnostic
from broker.model import Location

Path_ = Sequence[str | int]
WIDEST = 200  # columns of a source line that a message still shows


@dataclass(slots=True)
class Node:
    """One value: plain Python in `value`, the scalar as it is written in `text`."""

    value: Any
    location: Location
    text: str = ""
    block: bool = False  # a mapping or list in block style, which starts below its key
    style: str = ""  # of a scalar: ', ", | or >; empty for a plain one
    keys: dict[str, Location] = field(default_factory=dict)
    children: dict[str | int, Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is YAML. `problems` are those that did not keep it from being read."""

    path: Path
    file: str  # how messages name it
    lines: tuple[str, ...]
    root: Node
    problems: tuple[Diagnostic, ...] = ()

    def node(self, path: Path_) -> Node:
        """The value at a path, or the nearest one above it."""
        return self._walk(path)[0]

    def text(self, path: Path_) -> str:
        """A scalar as it is written."""
        return self.node(path).text

    def place(self, path: Path_) -> Location:
        """Where the value stands; its key, where the value is empty or in block style."""
        node, parent, step = self._walk(path)
        if parent is not None and step in parent.keys and (node.block or node.value is None):
            return parent.keys[str(step)]
        return node.location

    def key(self, path: Path_) -> Location:
        """Where the last key of the path stands; the value's place where it has no key."""
        parent = self.node(path[:-1])
        return parent.keys.get(str(path[-1]), self.place(path)) if path else self.place(path)

    def places(self, paths: Iterable[str]) -> dict[str, Location]:
        """Of these dotted paths, those that the file has."""
        split = {path: path.split(".") for path in paths}
        return {path: self.place(parts) for path, parts in split.items() if self.has(parts)}

    def has(self, path: Path_) -> bool:
        node = self.root
        for step in path:
            if step not in node.children:
                return False
            node = node.children[step]
        return True

    def problem(
        self, code: str, message: str, location: Location, tip: str | None = None
    ) -> Diagnostic:
        return Diagnostic(code, message, location, tip, source_line(self.lines, location))

    def _walk(self, path: Path_) -> tuple[Node, Node | None, str | int]:
        node: Node = self.root
        parent: Node | None = None
        last: str | int = ""
        for step in path:
            if step not in node.children:
                break
            parent, node, last = node, node.children[step], step
        return node, parent, last


def source_line(lines: Sequence[str], location: Location) -> str | None:
    """The line as a message may print it: no tabs or control characters, not endless."""
    if not 0 < location.line <= len(lines) or location.col > WIDEST:
        return None
    line = lines[location.line - 1][:WIDEST]
    return "".join(char if char.isprintable() else " " for char in line)
