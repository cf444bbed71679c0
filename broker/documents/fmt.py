"""The one layout of a policy file: keys in order, two spaces, short lists in brackets.

Remarks stay with what they are about. A text that would come out saying something else, or would
lose a remark, is refused and nothing is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from broker.diagnostics import Diagnostic
from broker.documents.fmt_tree import Entry, Part, Sheet, remarks_of, sheet
from broker.documents.loader import parse
from broker.documents.policies import check_policy
from broker.documents.policy_shape import VERBS
from broker.errors import DocumentError
from broker.model import Location

WIDTH: Final = 100
TOP: Final = ("policy", "description", "scope", "classes", "rules", "limits")
RULE: Final = ("id", "when", *VERBS, "why")
WITH_ROOM: Final = ("classes", "rules", "limits")  # an empty line above
CODE: Final = "POL027"
_HEAD: Final = re.compile(r"[|>][0-9+-]*")
_DIGIT: Final = re.compile(r"[0-9]")


def format_policy(text: str, file: str = "policy.yaml") -> str:
    """The text of a policy file in its one layout; formatted again it stays as it is.

    DocumentError: it is no valid policy, or cannot be laid out without harm. `file` names it there.
    """
    before = parse(text, Path(file), file)
    check_policy(before)
    plain = text.removeprefix("\ufeff")
    made = "\n".join(_Writer(sheet(plain)).lines()) + "\n"
    if not _same(made, before.root.value) or remarks_of(made) != remarks_of(plain):
        words = f"{file} is written in a way that cannot be laid out without harm"
        tip = "lay out by hand what is unusual in it, such as text in several lines"
        raise DocumentError([Diagnostic(CODE, words, Location(file), tip)])
    return made


def _same(made: str, value: Any) -> bool:
    try:
        found = parse(made, Path("draft"), "draft")
        check_policy(found)
    except DocumentError:
        return False
    return json.dumps(found.root.value, sort_keys=True) == json.dumps(value, sort_keys=True)


class _Writer:
    def __init__(self, of: Sheet) -> None:
        self._sheet = of
        self._source = of.lines

    def lines(self) -> Iterator[str]:
        """Of the whole file."""
        yield from self._sheet.header
        for index, entry in enumerate(_sorted(self._sheet.root.entries, TOP)):
            name = entry.key.value if entry.key else ""
            if index and name in WITH_ROOM:
                yield ""
            yield from _above(entry, 0)
            yield from self._pair(entry, 0, rules=name == "rules")
        yield from self._sheet.root.foot

    def _pair(self, entry: Entry, indent: int, *, rules: bool = False) -> Iterator[str]:
        """`key: value`, or the key with a block below it."""
        assert entry.key is not None
        head = f"{' ' * indent}{self._raw(entry.key)}:"
        if entry.value.kind == "scalar":
            yield from self._scalar(entry, f"{head} ", indent)
        elif (text := self._flow(entry.value, len(head) + 1)) and not (rules and text != "[]"):
            yield f"{head} {text}{_behind(entry)}"
        else:
            yield f"{head}{_behind(entry)}"
            yield from self._block(entry.value, indent + 2, rules=rules)

    def _block(self, part: Part, indent: int, *, rules: bool = False) -> Iterator[str]:
        for index, entry in enumerate(part.entries):
            if rules and index:
                yield ""
            if part.kind == "map":
                yield from _above(entry, indent)
                yield from self._pair(entry, indent)
            else:
                yield from self._item(entry, indent)
        yield from (f"{' ' * indent}{remark}" if remark else "" for remark in part.foot)

    def _item(self, entry: Entry, indent: int) -> Iterator[str]:
        """One value of a list behind its dash: a word, or a rule, which is never in brackets."""
        dash = f"{' ' * indent}- "
        if entry.value.kind == "scalar":
            yield from _above(entry, indent)
            yield from self._scalar(entry, dash, indent)
            return
        rule = entry.value
        rule.entries = _sorted(rule.entries, RULE)
        head = rule.entries[0]
        for remark in (*entry.above, *entry.behind, *head.above):
            yield f"{' ' * indent}{remark}" if remark else ""
        head.above = []
        first, *rest = self._block(rule, indent + 2)
        yield dash + first.lstrip()
        yield from rest

    def _scalar(self, entry: Entry, head: str, indent: int) -> Iterator[str]:
        """With its lines, if it has several, two spaces further in."""
        part = entry.value
        behind = _behind(entry)
        if part.style in {"|", ">"}:
            yield from self._text(entry, head, indent)
            return
        first, *rest = self._written(part)
        if not rest:
            yield f"{head}{first}{behind}"
            return
        yield f"{head}{first}"
        for index, line in enumerate(rest):
            last = behind if index == len(rest) - 1 else ""
            yield f"{' ' * (indent + 2)}{line}{last}" if line else ""

    def _text(self, entry: Entry, head: str, indent: int) -> Iterator[str]:
        """A block scalar: its lines keep their indent to each other."""
        part = entry.value
        line, col = part.start
        found = _HEAD.match(self._source[line], col)
        header = found[0] if found else part.style
        yield f"{head}{header}{_behind(entry)}"
        lines = list(self._source[line + 1 : part.end[0] + 1])
        while lines and not lines[-1].strip() and "+" not in header:
            lines.pop()
        digit = _DIGIT.search(header)
        old = _indent_of(lines)
        if digit:
            old = (entry.within.start[1] if line else 0) + int(digit[0])
        new = indent + (int(digit[0]) if digit else 2)
        for each in lines:
            yield f"{' ' * new}{each[old:]}" if each[old:] else ""

    def _written(self, part: Part) -> list[str]:
        """A scalar as it is written, line by line without indent."""
        (line, col), (last, end) = part.start, part.end
        if line == last:
            return [self._source[line][col:end]]
        middle = [each.strip() for each in self._source[line + 1 : last]]
        return [self._source[line][col:].rstrip(), *middle, self._source[last][:end].strip()]

    def _raw(self, part: Part) -> str:
        return " ".join(self._written(part))

    def _flow(self, part: Part, room: int) -> str:
        """In brackets on one line; empty where that is not possible or not wanted."""
        if not part.entries:
            return "" if part.foot else ("{}" if part.kind == "map" else "[]")
        text = self._in_flow(part)
        return text if text and room + len(text) <= WIDTH else ""

    def _in_flow(self, part: Part) -> str:
        if part.kind == "scalar":
            return self._word(part)
        words = all(entry.value.kind == "scalar" for entry in part.entries)
        if _has_remarks(part) or not (part.flow or (part.kind == "list" and words)):
            return ""
        if not part.entries:
            return "{}" if part.kind == "map" else "[]"
        texts = [self._in_flow(entry.value) for entry in part.entries]
        if not all(texts):
            return ""
        if part.kind == "list":
            inner = all(part.flow or _fits_in_brackets(each.value) for each in part.entries)
            return f"[{', '.join(texts)}]" if inner else ""
        keys = [self._raw(entry.key) for entry in part.entries if entry.key]
        return (
            "{" + ", ".join(f"{key}: {text}" for key, text in zip(keys, texts, strict=True)) + "}"
        )

    def _word(self, part: Part) -> str:
        lines = self._written(part) if part.style not in {"|", ">"} else []
        return lines[0] if len(lines) == 1 else ""


def _sorted(entries: Sequence[Entry], order: Sequence[str]) -> list[Entry]:
    """By the order of keys; those that it does not name stay behind, as they stood."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(entries, key=lambda one: places.get(one.key.value if one.key else "", len(order)))


def _above(entry: Entry, indent: int) -> Iterator[str]:
    """The remarks above it; of several behind it all but the first stand there too."""
    for remark in (*entry.above, *entry.behind[1:]):
        yield f"{' ' * indent}{remark}" if remark else ""


def _behind(entry: Entry) -> str:
    return f"  {entry.behind[0]}" if entry.behind else ""


def _has_remarks(part: Part) -> bool:
    inner = (one.above or one.behind or _has_remarks(one.value) for one in part.entries)
    return bool(part.foot) or any(inner)


def _fits_in_brackets(part: Part) -> bool:
    return bool(part.style) or not set(part.value) & set(",[]{}")


def _indent_of(lines: Sequence[str]) -> int:
    first = next((line for line in lines if line.strip()), "")
    return len(first) - len(first.lstrip(" "))
