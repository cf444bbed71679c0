"""Reads the text of a CEL expression before the compiler does: its words, and what it may cost. Pure.

Expressions come from people, and one is evaluated for every offer, so each is bounded before it
runs. The bound is on a model of its work, in steps:

- every word of the text is one step, and `matches`, which runs RE2 in linear time, is 16;
- inside a macro (`all`, `exists`, `exists_one`, `map`, `filter`) every word counts once for each
  entry of the list that the macro runs over. A list is taken to have 64 entries for every operand
  that the expression could join with `+`, whatever the list: no literal and no fact has more;
- a macro may stand in one other macro, not in two.

Depth is bounded by the compiler itself (32 levels).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MAX_TEXT: Final = 2_000  # characters
MAX_STRING: Final = 256  # characters of one literal
MAX_ENTRIES: Final = 64  # of a list or map
MAX_NESTED: Final = 2  # macros around one word
MAX_STEPS: Final = 100_000
MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})

_WORDS = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* )
  | (?P<string> [bB]? (?:
        [rR] (?: '''.*?''' | \"\"\".*?\"\"\" | '[^'\n\r]*' | "[^"\n\r]*" )
      | '''(?:\\.|[^\\])*?''' | \"\"\"(?:\\.|[^\\])*?\"\"\"
      | '(?:\\.|[^\\'\n\r])*' | "(?:\\.|[^\\"\n\r])*" ) )
  | (?P<double> \d+\.\d+(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ | \.\d+(?:[eE][+-]?\d+)? )
  | (?P<int> 0x[0-9a-fA-F]+[uU]? | \d+[uU]? )
  | (?P<name> [A-Za-z_][A-Za-z_0-9]* )
  | (?P<sign> && | \|\| | [=!<>]= | . )
    """,
    re.VERBOSE | re.DOTALL,
)


class CelError(ValueError):
    """An expression that cannot be used. `line` and `col` count from 1 in the expression's text."""

    def __init__(self, words: str, line: int = 1, col: int = 1) -> None:
        super().__init__(f"{line}:{col}: {words}")
        self.words = words
        self.line = line
        self.col = col


class Token(NamedTuple):
    """One word of an expression; `at` is where it begins. White space and comments are none."""

    kind: str  # "string" | "double" | "int" | "name" | "sign"
    text: str
    at: int


def tokens(text: str) -> tuple[Token, ...]:
    """The words of an expression that the compiler accepts; of any other text, some words."""
    found = ((match.lastgroup or "", match) for match in _WORDS.finditer(text))
    return tuple(Token(kind, match[0], match.start()) for kind, match in found if kind != "space")


def names(words: Sequence[Token]) -> tuple[str, ...]:
    """Dotted names of two parts, `offer.country`, in the order in which they first stand there."""
    pairs = zip(words, words[1:], words[2:], strict=False)
    found = (f"{a.text}.{c.text}" for a, dot, c in pairs if dot.text == "." and _are_names(a, c))
    return tuple(dict.fromkeys(found))


def check_readable(text: str) -> None:
    """Raises CelError where the compiler could not even be handed the text."""
    if len(text) > MAX_TEXT:
        raise CelError(f"an expression has at most {MAX_TEXT} characters; this has {len(text)}")
    for at, char in enumerate(text):
        if char == "\0" or "\ud800" <= char <= "\udfff":
            raise error_at(text, at, f"the character {char!a} cannot stand in an expression")


def check_cost(text: str, words: Sequence[Token]) -> None:
    """Raises CelError where a literal is too long or the expression could do too much work."""
    for word in words:
        if word.kind == "string" and len(word.text) > MAX_STRING:
            raise error_at(text, word.at, f"a string has at most {MAX_STRING} characters")
    entries = MAX_ENTRIES * (1 + sum(word.text == "+" for word in words))
    steps = 0
    for word, macros in _nesting(text, words):
        if macros > MAX_NESTED:
            raise error_at(text, word.at, "a macro may stand in one other macro, not in two")
        steps += (16 if word.text == "matches" else 1) * entries**macros
        if steps > MAX_STEPS:
            raise error_at(text, word.at, "the expression is too much work for every offer")


def error_at(text: str, at: int, words: str) -> CelError:
    before = text[:at]
    return CelError(words, before.count("\n") + 1, at - before.rfind("\n"))


def _are_names(*words: Token) -> bool:
    return all(word.kind == "name" for word in words)


def _nesting(text: str, words: Sequence[Token]) -> Iterator[tuple[Token, int]]:
    """Each word with how many macros stand around it. Raises CelError for a literal too long."""
    open_: list[tuple[Token, bool]] = []
    commas: list[int] = []
    for at, word in enumerate(words):
        if word.text in (")", "]", "}"):
            if open_:
                open_.pop()
                commas.pop()
        elif word.text == "," and open_:
            commas[-1] += 1
            if open_[-1][0].text in ("[", "{") and commas[-1] >= MAX_ENTRIES:
                raise error_at(text, open_[-1][0].at, f"a list has at most {MAX_ENTRIES} entries")
        yield word, sum(macro for _, macro in open_)
        if word.text in ("(", "[", "{"):
            open_.append((word, word.text == "(" and at > 0 and words[at - 1].text in MACROS))
            commas.append(0)
