"""Says what the CEL compiler says in the words of a policy file. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from broker.diagnostics import suggest
from broker.policy.cel_text import CelError, Token, error_at, tokens

FUNCTIONS = frozenset(
    {
        *("contains", "endsWith", "matches", "startsWith", "size"),
        *("all", "exists", "exists_one", "filter", "map"),
        *("bool", "double", "int", "string", "duration", "timestamp"),
    }
)
_PROBLEM = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \| |\nERROR: |\Z)", re.DOTALL)
_STATUS = re.compile(r"\A(?!ERROR)[A-Z_]+: | \[[A-Z_]+\]\Z")
_SIGNS = {"=": "==", "&": "&&", "|": "||"}
_ENGLISH = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}


def in_words(said: str, text: str, facts: Collection[str]) -> CelError:
    """The first problem that the compiler names, where it is and what to write instead."""
    said = _STATUS.sub("", said)
    if "recursion" in said:
        return CelError("the expression is nested too deeply")
    problem = _PROBLEM.search(said)
    if problem is None:
        return CelError(said.strip() or "the compiler refuses it")
    return _Problem(text, _offset(text, int(problem[1]), int(problem[2])), problem[3]).error(facts)


class _Problem:
    """One problem: what the compiler says of the place `at` of the text."""

    def __init__(self, text: str, at: int, said: str) -> None:
        self.text = text
        self.at = at
        self.said = said
        self.words: Sequence[Token] = tokens(text)

    def error(self, facts: Collection[str]) -> CelError:
        if self.said.startswith("Syntax error: "):
            return self._english() or error_at(self.text, self.at, self._syntax())
        unknown = re.match(r"undeclared reference to '([^']*)'", self.said)
        if unknown:
            return self._unknown(unknown[1], facts)
        mixed = re.match(r"found no matching overload for '(.*)' applied to '\((.*)\)'", self.said)
        if mixed:
            return error_at(self.text, self.at, self._mixed(mixed[1], mixed[2]))
        return error_at(self.text, self.at, self.said)

    def _english(self) -> CelError | None:
        """An operator that is spelt out; the compiler points at it or behind it."""
        for word in (self._word(self.at), self._before(self.at)):
            if word and word.text in _ENGLISH:
                said = f"`{word.text}` is not an operator: write {_ENGLISH[word.text]}"
                return error_at(self.text, word.at, said)
        return None

    def _syntax(self) -> str:
        rest = self.text[self.at :]
        unread = "token recognition" in self.said
        if not rest:
            return "the expression ends too early"
        if rest[0] in "'\"" and unread:
            return "the string has no end"
        if rest[0] in _SIGNS and unread:
            return f"`{rest[0]}` is not an operator: write {_SIGNS[rest[0]]}"
        word = self._word(self.at)
        return f"unexpected `{word.text if word else rest[0]}`"

    def _unknown(self, name: str, facts: Collection[str]) -> CelError:
        """The compiler points at the last dot of a name and at the bracket of a call."""
        if self.text[self.at : self.at + 1] == "(":
            called = self._before(self.at)
            at = called.at if called else self.at
            tip = suggest(name, FUNCTIONS)
            return error_at(self.text, at, _with(f"there is no function `{name}` for that", tip))
        return error_at(
            self.text, self._start(), _with(f"there is no fact `{name}`", near(name, facts))
        )

    def _start(self) -> int:
        """Where the dotted name begins that the place lies in."""
        inside = [word for word in self.words if word.at <= self.at]
        while len(inside) > 1 and "." in (inside[-1].text, inside[-2].text):
            inside.pop()
        return inside[-1].at if inside else self.at

    def _mixed(self, function: str, types: str) -> str:
        said = f"`{function.replace('_', '').lstrip('@')}` does not take {types.replace(', ', ' and ')}"
        if sorted(types.split(", ")) != ["double", "int"]:
            return said
        for word in (self._after(self.at), self._before(self.at)):
            if word and word.kind == "int":
                return f"{said}: write {word.text}.0"
            if word and word.kind == "double" and float(word.text).is_integer():
                return f"{said}: write {float(word.text):.0f}"
        return f"{said}: write double(...) around the int"

    def _word(self, at: int) -> Token | None:
        return next((word for word in self.words if word.at == at), None)

    def _before(self, at: int) -> Token | None:
        return next((word for word in reversed(self.words) if word.at < at), None)

    def _after(self, at: int) -> Token | None:
        return next((word for word in self.words if word.at > at), None)


def near(name: str, facts: Collection[str]) -> str | None:
    """A tip for a name that is no fact: one that is spelt alike, whatever stands before its dot."""
    last = name.rpartition(".")[2]
    by_last: dict[str, list[str]] = {}
    for fact in sorted(facts, key=lambda fact: not fact.startswith("offer.")):
        by_last.setdefault(fact.rpartition(".")[2], []).append(fact)
    tip = suggest(last, by_last)
    found = tip.split("`")[1] if tip and "`" in tip else None
    return f"did you mean `{by_last[found][0]}`?" if found else None


def _with(said: str, tip: str | None) -> str:
    return f"{said}; {tip}" if tip else said


def _offset(text: str, line: int, col: int) -> int:
    lines = text.split("\n")[: max(line - 1, 0)]
    return sum(len(one) + 1 for one in lines) + max(col - 1, 0)
