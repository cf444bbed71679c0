"""Classes of data over all policy files: parents that exist, and no circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from broker.diagnostics import Diagnostic, suggest
from broker.documents.policy_shape import PolicyShape
from broker.documents.tree import Document
from broker.policy.rules import DataClass

Read = tuple[Document, PolicyShape]


def classes_of(document: Document, shape: PolicyShape) -> Iterator[DataClass]:
    """In the file's order, each with the place of its name."""
    for written in document.node(["classes"]).keys if document.has(["classes"]) else ():
        one = shape.classes[written.lower()]
        where = document.key(["classes", written])
        yield DataClass(written.lower(), one.parents or (), one.purposes, where)


def repeated_classes(document: Document) -> Iterator[Diagnostic]:
    """Names that differ in the case of their letters alone."""
    first: dict[str, str] = {}
    for written, where in document.node(["classes"]).keys.items() if _has(document) else ():
        known = first.setdefault(written.lower(), written)
        if known != written:
            words = (
                f"class `{written}` is the same as `{known}` above: letters' case does not count"
            )
            yield document.problem("DOC012", words, where, "keep one of them")


def wrong_parents(read_ones: Sequence[Read], *, complete: bool) -> Iterator[Diagnostic]:
    """Parents that no file defines, if all files could be read, and descent in a circle."""
    parents: dict[str, set[str]] = {}
    for _, shape in read_ones:
        for name, one in shape.classes.items():
            parents.setdefault(name, set()).update(one.parents or ())
    for document, shape in read_ones:
        for own in classes_of(document, shape):
            where = document.place(["classes", _written(document, own.name), "is"])
            for name in own.parents:
                if complete and name not in parents:
                    words = f"class `{own.name}` is a `{name}`, which no policy file defines"
                    tip = suggest(name, parents.keys() - {own.name}) or f"define it: `{name}: {{}}`"
                    yield document.problem("POL022", words, where, tip)
            circle = _circle(own.name, parents) if own.parents else []
            if circle and own.name == min(circle):  # each circle once
                words = f"class `{own.name}` descends from itself: {' is a '.join(circle)}"
                yield document.problem("POL023", words, where, "take one of them out of `is`")


def _has(document: Document) -> bool:
    return document.has(["classes"]) and isinstance(document.node(["classes"]).value, dict)


def _written(document: Document, name: str) -> str:
    return next(one for one in document.node(["classes"]).keys if one.lower() == name)


def _circle(name: str, parents: Mapping[str, set[str]]) -> list[str]:
    """The shortest way from a class to itself; empty when there is none."""
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for parent in sorted(parents.get(way[-1], ())):
            if parent == name:
                return [*way, name]
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return []
