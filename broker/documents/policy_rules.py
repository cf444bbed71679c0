"""The rules of one policy file as values of `broker.policy.rules`, each with its places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from broker.documents.policy_shape import VERBS, PolicyShape, RuleShape, ScopeShape
from broker.documents.terms_shape import (
    BlastRadiusShape,
    BudgetShape,
    CarbonShape,
    DisruptionShape,
    ResidencyShape,
    SpotShape,
)
from broker.documents.tree import Document
from broker.model import Artefact, Location
from broker.policy.rules import (
    COMPARING,
    BlastRadius,
    Budget,
    Carbon,
    Clause,
    Disruption,
    Level,
    Residency,
    Rule,
    Scope,
    Spot,
    Terms,
    Verb,
    Wanted,
)

Path = tuple[str | int, ...]


def rules_of(document: Document, shape: PolicyShape) -> Iterator[Rule]:
    """In the file's order; the limits behind them, one rule each."""
    scope = _scope(shape.scope)
    for index, rule in enumerate(shape.rules):
        yield _rule(document, rule, ("rules", index), scope)
    for name in document.node(["limits"]).keys if document.has(["limits"]) else ():
        clause = _clause(document, shape.limits, ("limits", name))
        yield Rule(f"limits.{name}", Verb.REQUIRE, (clause,), location=clause.location, scope=scope)


def _scope(shape: ScopeShape) -> Scope:
    if shape.project:
        return Scope(Level.PROJECT, shape.project)
    if shape.site:
        return Scope(Level.SITE, shape.site, shape.datasets or ())
    return Scope()


def _rule(document: Document, rule: RuleShape, path: Path, scope: Scope) -> Rule:
    verb = Verb(next(verb for verb in VERBS if verb in rule.model_fields_set))
    shape = getattr(rule, verb)
    compares = verb in COMPARING
    return Rule(
        id=rule.id,
        verb=verb,
        clauses=_clauses(document, shape, (*path, verb)) if compares else (),
        when=_clauses(document, rule.when, (*path, "when")),
        why=rule.why or "",
        location=document.place((*path, "id")),
        scope=scope,
        terms=None if compares else TERMS[verb](shape),
        locations={} if compares else dict(_places(document, (*path, verb))),
    )


def _clauses(document: Document, shape: Any, path: Path) -> tuple[Clause, ...]:
    """In the file's order."""
    named = document.node(path).keys if document.has(path) else ()
    return tuple(_clause(document, shape, (*path, name)) for name in named)


def _clause(document: Document, shape: Any, path: Path) -> Clause:
    name = str(path[-1])
    wanted: Wanted = getattr(shape, name)
    return Clause(name, wanted, document.place(path))


def _places(document: Document, path: Path, above: str = "") -> Iterator[tuple[str, Location]]:
    """Of the fields of a verb's terms; those of a mapping below it as `shift.within`."""
    for name in document.node(path).keys:
        own = (*path, name)
        yield f"{above}{name}", document.place(own)
        if document.node(own).keys:
            yield from _places(document, own, f"{above}{name}.")


def _residency(shape: ResidencyShape) -> Residency:
    return Residency(
        countries=shape.country or (),
        blocs=shape.bloc or (),
        subdivisions=shape.subdivision or (),
        operator_countries=shape.operator_country or (),
        of=tuple(Artefact(one) for one in shape.of),
    )


def _spot(shape: SpotShape) -> Spot:
    return Spot(
        allow=shape.allow,
        max_duration_h=shape.max_duration,
        needs_checkpoint=bool(shape.needs_checkpoint),
        max_preemptions=shape.max_preemptions,
    )


def _carbon(shape: CarbonShape) -> Carbon:
    return Carbon(
        max_g_per_kwh=shape.max_g_per_kwh,
        max_kg=shape.max_kg,
        usd_per_kg=shape.usd_per_kg,
        shift_within_h=shape.shift.within if shape.shift else None,
        shift_hours=shape.shift.hours if shape.shift else (),
    )


def _budget(shape: BudgetShape) -> Budget:
    return Budget(Decimal(shape.usd_per_month), tuple(sorted(set(shape.warn_at or ()))))


def _disruption(shape: DisruptionShape) -> Disruption:
    return Disruption(shape.allow or (), shape.timezone, shape.max_at_once)


def _blast_radius(shape: BlastRadiusShape) -> BlastRadius:
    return BlastRadius(shape.max_nodes_per_run, shape.max_machines, shape.max_usd_per_hour)


TERMS: Final[dict[Verb, Callable[[Any], Terms]]] = {
    Verb.RESIDENCY: _residency,
    Verb.SPOT: _spot,
    Verb.CARBON: _carbon,
    Verb.BUDGET: _budget,
    Verb.DISRUPTION: _disruption,
    Verb.BLAST_RADIUS: _blast_radius,
}
