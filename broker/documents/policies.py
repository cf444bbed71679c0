"""Policy files: rules about where a demand may go, read into `broker.policy` values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from broker.diagnostics import Diagnostic
from broker.documents.check import check
from broker.documents.loader import read
from broker.documents.policy_shape import HINTS, VERBS, PolicyShape, RuleShape
from broker.documents.tree import Document
from broker.errors import DocumentError
from broker.policy.rules import Clause, Policy, Rule, Verb, Wanted

AREA: Final = "POL"


def load_policies(paths: Iterable[str | os.PathLike[str]]) -> Policy:
    """All these files as one policy; a file that is named twice counts once.

    DocumentError: everything that is wrong in any of them, rule ids that stand twice included.
    """
    read_ones: list[tuple[Document, PolicyShape]] = []
    problems: list[Diagnostic] = []
    for path in _each_once(paths):
        try:
            document = read(path)
            read_ones.append((document, check(document, PolicyShape, AREA, hints=HINTS)))
        except DocumentError as exc:
            problems += exc.diagnostics
    problems += _repeated(read_ones)
    if problems:
        raise DocumentError(problems)
    return Policy(
        rules=tuple(rule for one in read_ones for rule in _rules(*one)),
        names=tuple(shape.policy for _, shape in read_ones),
        files=tuple(document.file for document, _ in read_ones),
    )


def _each_once(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """In the given order."""
    named: dict[str, str | os.PathLike[str]] = {}
    for path in paths:
        named.setdefault(os.path.realpath(path), path)
    return list(named.values())


def _repeated(read_ones: Iterable[tuple[Document, PolicyShape]]) -> Iterator[Diagnostic]:
    """Rule ids that an earlier rule has already."""
    first: dict[str, str] = {}
    for document, shape in read_ones:
        for index, rule in enumerate(shape.rules):
            where = document.place(["rules", index, "id"])
            if rule.id in first:
                words = f"rule id `{rule.id}` is already used at {first[rule.id]}"
                yield document.problem("POL020", words, where, "give every rule an id of its own")
            first.setdefault(rule.id, f"{where.file}:{where.line}")


def _rules(document: Document, shape: PolicyShape) -> Iterator[Rule]:
    for index, rule in enumerate(shape.rules):
        yield _rule(document, rule, index)
    for name in document.node(["limits"]).keys if document.has(["limits"]) else ():
        clause = _clause(document, shape.limits, ("limits", name))
        yield Rule(f"limits.{name}", Verb.REQUIRE, (clause,), location=clause.location)


def _rule(document: Document, rule: RuleShape, index: int) -> Rule:
    verb = next(verb for verb in VERBS if verb in rule.model_fields_set)
    path = ("rules", index)
    return Rule(
        id=rule.id,
        verb=Verb(verb),
        clauses=_clauses(document, getattr(rule, verb), (*path, verb)),
        when=_clauses(document, rule.when, (*path, "when")),
        why=rule.why or "",
        location=document.place((*path, "id")),
    )


def _clauses(document: Document, shape: Any, path: tuple[str | int, ...]) -> tuple[Clause, ...]:
    """In the file's order."""
    named = document.node(path).keys if document.has(path) else ()
    return tuple(_clause(document, shape, (*path, name)) for name in named)


def _clause(document: Document, shape: Any, path: tuple[str | int, ...]) -> Clause:
    name = str(path[-1])
    value = getattr(shape, name)
    wanted: Wanted = Decimal(str(value)) if isinstance(value, float) else value
    return Clause(name, wanted, document.place(path))
