"""Compares a document with its shape and says what is wrong where, in plain words, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from broker.diagnostics import Diagnostic, suggest
from broker.documents.fields import TYPE, VALUE, Shape
from broker.documents.tree import Document, Node
from broker.documents.units import found
from broker.errors import DocumentError

S = TypeVar("S", bound=Shape)
Step = str | int

MISSPELT: Final = 0.85  # how alike a word is to a field that was surely meant
UNKNOWN: Final = "002"
MISSING: Final = "003"
UNSUPPORTED: Final = "006"
KEY: Final = "[key]"  # how a shape check marks that a mapping's key, not its value, is wrong
WANTED: Final = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
}
NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Hints:
    """What to say of fields that a shape does not have, by the field's name.

    `unsupported`: known from elsewhere, with a tip or "". `tips`: where it belongs instead.
    """

    unsupported: Mapping[str, str] = field(default_factory=dict)
    tips: Mapping[str, str] = field(default_factory=dict)


NO_HINTS: Final = Hints()


def check(
    document: Document,
    shape: type[S],
    area: str,
    *,
    context: Mapping[str, Any] = NOTHING,
    hints: Hints = NO_HINTS,
    nulls: bool = False,
) -> S:
    """The document as this shape. DocumentError: everything that is wrong with it.

    `area` is the letters of its codes. Without `nulls` an empty value is a problem everywhere,
    because `budget:` must not read as "no budget".
    """
    empty = [] if nulls else list(_empty(document.root))
    walker = _Walker(document, shape, area, hints)
    problems = [*document.problems, *(walker.empty(path) for path in empty)]
    told = {(one.location.line, one.location.col) for one in problems}
    try:
        value = shape.model_validate(document.root.value, context=dict(context))
    except ValidationError as exc:
        found_ = (walker.problem(error) for error in exc.errors(include_url=False))
        problems += [one for one in found_ if (one.location.line, one.location.col) not in told]
    if problems:
        raise DocumentError(in_order(problems))
    return value


def in_order(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """By file and place, each once."""
    places = {
        (p.location.file, p.location.line, p.location.col, p.code, p.message): p for p in problems
    }
    return [places[key] for key in sorted(places)]


def dotted(path: Sequence[Step]) -> str:
    """`rules[0].require.country`."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(parts).removeprefix(".")


def fields_of(shape: Any, path: Sequence[Step]) -> list[str]:
    """The names of the fields that a shape has at a path, as they stand in a file."""
    for step in path:
        shape = _below(shape, step)
    model = _model(shape)
    if model is None:
        return []
    return [info.alias or name for name, info in model.model_fields.items()]


class _Walker:
    def __init__(self, document: Document, shape: type[Shape], area: str, hints: Hints) -> None:
        self._document = document
        self._shape = shape
        self._area = area
        self._hints = hints

    def problem(self, error: Any) -> Diagnostic:
        path: tuple[Step, ...] = error["loc"]
        if error["type"] == "extra_forbidden":
            return self._unknown(path)
        if error["type"] == "missing":
            return self._missing(path)
        if path[-1:] == (KEY,):
            words = f"{_subject(path[:-1])} {error['ctx']['words']}"
            where = self._document.key(path[:-1])
            return self._say(error["type"], words, where, error["ctx"]["tip"])
        if error["type"] in WANTED:
            words = f"wants {WANTED[error['type']]}, found {found(error['input'])}"
            return self._at(TYPE, path, f"{_subject(path)} {words}")
        facts = error["ctx"]
        words = f"{_subject(path)} {facts['words']}"
        return self._at(error["type"], (*path, *facts["at"]), words, facts["tip"])

    def empty(self, path: tuple[Step, ...]) -> Diagnostic:
        tip = 'leave it out, or fill it; an empty text is written ""'
        return self._at(VALUE, path, f"{_subject(path)} is empty", tip)

    def _unknown(self, path: tuple[Step, ...]) -> Diagnostic:
        word = str(path[-1])
        where = self._document.key(path)
        if word in self._hints.unsupported:
            tip = self._hints.unsupported[word] or None
            return self._say(UNSUPPORTED, f"field `{word}` is not supported yet", where, tip)
        known = fields_of(self._shape, path[:-1])
        near = get_close_matches(word, known, n=1, cutoff=MISSPELT)
        tip = None if near else self._hints.tips.get(word)
        tip = tip or suggest(word, known)
        return self._say(UNKNOWN, f"unknown field `{word}`", where, tip)

    def _missing(self, path: tuple[Step, ...]) -> Diagnostic:
        above = path[:-1]
        inside = f" in `{dotted(above)}`" if above else ""
        where = self._document.key(above) if above else self._document.root.location
        return self._say(MISSING, f"field `{path[-1]}` is missing{inside}", where)

    def _at(
        self, number: str, path: tuple[Step, ...], words: str, tip: str | None = None
    ) -> Diagnostic:
        return self._say(number, words, self._document.place(path), tip)

    def _say(self, number: str, words: str, where: Any, tip: str | None = None) -> Diagnostic:
        return self._document.problem(f"{self._area}{number}", words, where, tip)


def _empty(node: Node, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    if node.value is None:
        yield path
    for step, child in node.children.items():
        yield from _empty(child, (*path, step))


def _subject(path: Sequence[Step]) -> str:
    return f"`{dotted(path)}`" if path else "the file"


def _below(shape: Any, step: Step) -> Any:
    """The annotation one step down; None where there is none."""
    model = _model(shape)
    if model is not None:
        fields = model.model_fields.items()
        return next((info.annotation for name, info in fields if step in (name, info.alias)), None)
    return next(iter(_parts(shape)[-1:]), None)


def _model(shape: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `Model | None`."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return shape
    options = [part for part in get_args(shape) if part is not type(None)]
    return _model(options[0]) if len(options) == 1 and type(None) in get_args(shape) else None


def _parts(shape: Any) -> list[Any]:
    return [part for part in get_args(shape) if part is not Ellipsis]
