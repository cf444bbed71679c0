"""CEL expressions in a policy file: checked when it is read, faults shown where they stand.

What is wrong with an expression is pointed at inside the YAML scalar that holds it: exactly in one
line, plain or quoted, and by line and column below `|`. Where lines are folded the scalar is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from broker.diagnostics import Diagnostic
from broker.documents.check import dotted
from broker.documents.tree import Document, Node
from broker.model import Location
from broker.policy.rules import COMPARING, EXPR

CODE: Final = "POL024"
BLOCKS: Final = ("when", *sorted(COMPARING))
_WORD: Final = re.compile(r"[A-Za-z_][\w.]*|\d[\w.]*|&&|\|\||[=!<>]=|.", re.ASCII)
_ESCAPE: Final = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|[^\\]", re.DOTALL
)


def wrong_expressions(document: Document) -> Iterator[Diagnostic]:
    """Of all rules, whatever else is wrong with them."""
    rules = document.node(["rules"]) if document.has(["rules"]) else document.root
    for index in range(len(rules.children) if isinstance(rules.value, list) else 0):
        for block in BLOCKS:
            path = ("rules", index, block, EXPR)
            if document.has(path):
                yield from _wrong(document, path)


def _wrong(document: Document, path: tuple[str | int, ...]) -> Iterator[Diagnostic]:
    from broker.policy.cel import CelError, compile_expr

    node = document.node(path)
    if not isinstance(node.value, str) or not node.value.strip():
        return  # the shape says so
    try:
        compile_expr(node.value)
    except CelError as exc:
        where = inside(document, node, exc.line, exc.col)
        yield document.problem(CODE, f"`{dotted(path)}`: {exc.words}", where)


def inside(document: Document, node: Node, line: int, col: int) -> Location:
    """Where a place in a scalar's text stands in the file; the scalar where that cannot be said."""
    lines = node.text.splitlines() or [""]
    if not 0 < line <= len(lines) or not 0 < col <= len(lines[line - 1]) + 1:
        return node.location
    where = _in_block(document, node, line) if node.style == "|" else _in_line(document, node, col)
    if where is None:
        return node.location
    at = where.col + col - 1 if node.style == "|" else where.col
    word = _WORD.match(lines[line - 1], col - 1)
    return replace(where, col=at, span=len(word[0]) if word else 1)


def _in_block(document: Document, node: Node, line: int) -> Location | None:
    """Where the text of this line begins: the first one stands below the `|`."""
    text, number = node.text.splitlines()[line - 1], node.location.line + line
    source = document.lines[number - 1] if number <= len(document.lines) else ""
    if not source.endswith(text):
        return None
    return Location(node.location.file, number, len(source) - len(text) + 1)


def _in_line(document: Document, node: Node, col: int) -> Location | None:
    where = node.location
    source = document.lines[where.line - 1][where.col - 1 :]
    if node.style == ">" or "\n" in node.text:
        return None
    widths = _widths(node, source)
    if widths is None:
        return None
    return replace(where, col=where.col + bool(node.style) + sum(widths[: col - 1]))


def _widths(node: Node, source: str) -> list[int] | None:
    """How many columns each character of the text takes; None when they are not on this line."""
    if not node.style:
        return [1] * len(node.text) if source.startswith(node.text) else None
    if node.style == "'":
        written = ["''" if char == "'" else char for char in node.text]
        return [len(one) for one in written] if source[1:].startswith("".join(written)) else None
    found = [one[0] for one in _ESCAPE.finditer(source[1:])][: len(node.text)]
    same = all(
        own.startswith("\\") or own == char for own, char in zip(found, node.text, strict=False)
    )
    return [len(one) for one in found] if same and len(found) == len(node.text) else None
