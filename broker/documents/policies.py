"""Policy files: rules about where a demand may go, read into `broker.policy` values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from broker.diagnostics import Diagnostic
from broker.documents.check import check, in_order
from broker.documents.classes import classes_of, repeated_classes, wrong_parents
from broker.documents.expressions import wrong_expressions
from broker.documents.loader import read
from broker.documents.policy_rules import rules_of
from broker.documents.policy_shape import HINTS, VERBS, PolicyShape, exactly_one
from broker.documents.tree import Document
from broker.errors import DocumentError
from broker.policy.rules import Policy

AREA: Final = "POL"


def load_policies(paths: Iterable[str | os.PathLike[str]]) -> Policy:
    """All these files as one policy; a file that is named twice counts once.

    DocumentError: everything that is wrong in any of them, rule ids that stand twice and classes
    that descend from nothing included.
    """
    documents: list[Document] = []
    read_ones: list[tuple[Document, PolicyShape]] = []
    problems: list[Diagnostic] = []
    for path in _each_once(paths):
        try:
            documents.append(document := read(path))
            read_ones.append((document, check_policy(document)))
        except DocumentError as exc:
            problems += exc.diagnostics
    problems += wrong_parents(read_ones, complete=not problems)
    problems += _repeated(documents)
    if problems:
        raise DocumentError(_by_file(problems))
    return Policy(
        rules=tuple(rule for one in read_ones for rule in rules_of(*one)),
        names=tuple(shape.policy for _, shape in read_ones),
        files=tuple(document.file for document, _ in read_ones),
        classes=tuple(each for one in read_ones for each in classes_of(*one)),
    )


def check_policy(document: Document) -> PolicyShape:
    """One file by itself. DocumentError: everything that is wrong with it, expressions included."""
    found = [*repeated_classes(document), *wrong_expressions(document), *_two_verbs(document)]
    try:
        shape = check(document, PolicyShape, AREA, hints=HINTS)
    except DocumentError as exc:
        raise DocumentError(in_order([*exc.diagnostics, *found])) from exc
    if found:
        raise DocumentError(in_order(found))
    return shape


def _by_file(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """File by file as they were read, each from its top."""
    files = list(dict.fromkeys(one.location.file for one in problems))
    return sorted(in_order(problems), key=lambda one: files.index(one.location.file))


def _each_once(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """In the given order."""
    named: dict[str, str | os.PathLike[str]] = {}
    for path in paths:
        named.setdefault(os.path.realpath(path), path)
    return list(named.values())


def _repeated(documents: Iterable[Document]) -> Iterator[Diagnostic]:
    """Rule ids that an earlier rule has already, in files that are wrong otherwise too."""
    first: dict[str, str] = {}
    for document in documents:
        for index, rule in _written(document):
            given = rule.get("id")
            if not isinstance(given, str):
                continue
            where = document.place(["rules", index, "id"])
            if given in first:
                words = f"rule id `{given}` is already used at {first[given]}"
                yield document.problem("POL020", words, where, "give every rule an id of its own")
            first.setdefault(given, f"{where.file}:{where.line}")


def _two_verbs(document: Document) -> Iterator[Diagnostic]:
    """Rules with more than one verb: their shape says so only where all else is right."""
    for index, rule in _written(document):
        named = [verb for verb in VERBS if verb in rule]
        if len(named) > 1:
            words = f"`rules[{index}]` {exactly_one(named)}"
            yield document.problem("POL021", words, document.place(["rules", index]))


def _written(document: Document) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rules as they stand in the file, as far as they are mappings."""
    root = document.root.value
    rules = root.get("rules") if isinstance(root, dict) else None
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            yield index, rule
