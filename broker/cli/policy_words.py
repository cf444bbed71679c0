"""A rule in plain words: what it applies to, and what it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from broker.policy.rules import (
    BlastRadius,
    Budget,
    Carbon,
    Clause,
    Disruption,
    Level,
    Residency,
    Rule,
    Spot,
    Terms,
    Verb,
)
from broker.policy.written import hours, window, words

SAID: Final[dict[str, Callable[[str], str]]] = {
    "data_class": lambda said: f"data of class {said}, or of a class that descends from it",
    "purpose": lambda said: f"the purpose {said}",
    "role": lambda said: f"the role {said}",
    "project": lambda said: f"project {said}",
    "max_usd_per_hour": lambda said: f"at most {said} USD an hour for all nodes together",
    "max_usd_per_accelerator_hour": lambda said: f"at most {said} USD an accelerator and hour",
    "budget_usd": lambda said: f"at most {said} USD for the whole run",
    "max_carbon_g_per_kwh": lambda said: f"power of at most {said} g of CO2 per kWh",
    "max_price_age": lambda said: f"a price at most {said} days old",
    "expr": lambda said: f"`{said}`",
}
HOLDS: Final = "a machine that holds the named data sets"


def applies(rule: Rule) -> str:
    """What demands and offers the rule is about."""
    said = [_of_scope(rule), *(_clause(one) for one in rule.when)]
    return " and ".join(filter(None, said)) or "every demand"


def wants(rule: Rule) -> str:
    """What the rule says of them."""
    for kind, said in OF_TERMS.items():
        if isinstance(rule.terms, kind):
            return "; ".join(said(rule.terms))
    clauses = " and ".join(_clause(one) for one in rule.clauses)
    deed = {Verb.REQUIRE: "requires", Verb.DENY: "refuses where it is", Verb.PREFER: "prefers"}
    return f"{deed[rule.verb]} {clauses}"


def _of_scope(rule: Rule) -> str:
    if rule.scope.level is Level.PROJECT:
        return f"demands of project {_either(rule.scope.names)}"
    if rule.scope.level is Level.SITE:
        data = rule.scope.datasets
        reading = f" or demands that read {_either(data)}" if data else ""
        return f"offers at {_either(rule.scope.names)}{reading}"
    return ""


def _clause(clause: Clause) -> str:
    if isinstance(clause.wanted, bool):
        return HOLDS if clause.wanted else f"no {HOLDS.removeprefix('a ')}"
    said = _either(clause.wanted) if isinstance(clause.wanted, tuple) else words(clause.wanted)
    if clause.field in SAID:
        return SAID[clause.field](said)
    return f"{clause.field.replace('_', ' ')} {said}"


def _residency(terms: Residency) -> Iterator[str]:
    places = [*terms.countries, *terms.blocs, *terms.subdivisions]
    inside = f" in {_either(places)}" if places else ""
    law = terms.operator_countries
    under = f" under an operator of {_either(law)}" if law else ""
    yield f"keeps {_all(str(one) for one in terms.of)}{inside}{under}"


def _spot(terms: Spot) -> Iterator[str]:
    if terms.allow is not None:
        yield "allows spot" if terms.allow else "refuses spot"
    if terms.max_duration_h is not None:
        yield f"spot only for runs of at most {hours(terms.max_duration_h)}"
    if terms.needs_checkpoint:
        yield "spot only with a checkpoint"
    if terms.max_preemptions is not None:
        yield f"no spot after {terms.max_preemptions} preemptions of a lease"


def _carbon(terms: Carbon) -> Iterator[str]:
    if terms.max_g_per_kwh is not None:
        yield f"power of at most {words(terms.max_g_per_kwh)} g of CO2 per kWh"
    if terms.max_kg is not None:
        yield f"at most {words(terms.max_kg)} kg of CO2 for the run, as estimated"
    if terms.usd_per_kg is not None:
        yield f"ranks as if a kg of CO2 cost {words(terms.usd_per_kg)} USD"
    if terms.shift_hours or terms.shift_within_h is not None:
        within = terms.shift_within_h
        most = f" up to {hours(within)}" if within is not None else ""
        when = f" for {words(terms.shift_hours)} UTC" if terms.shift_hours else ""
        yield f"lets a start wait{most}{when}"


def _budget(terms: Budget) -> Iterator[str]:
    warned = ", ".join(f"{one} %" for one in terms.warn_at)
    tells = f", warns at {warned}" if warned else ""
    yield f"at most {words(terms.usd_per_month)} USD a month for each project{tells}"


def _disruption(terms: Disruption) -> Iterator[str]:
    when = ", ".join(window(one) for one in terms.windows)
    inside = f" only within {when} ({terms.timezone})" if when else ""
    most = f", at most {terms.max_at_once} at once" if terms.max_at_once is not None else ""
    yield f"lets the broker interrupt running work{inside}{most}"


def _blast_radius(terms: BlastRadius) -> Iterator[str]:
    if terms.max_nodes_per_run is not None:
        yield f"at most {terms.max_nodes_per_run} machines a run"
    if terms.max_machines is not None:
        yield f"at most {terms.max_machines} machines open at once in a project"
    if terms.max_usd_per_hour is not None:
        yield f"at most {words(terms.max_usd_per_hour)} USD an hour open at once in a project"


def _either(names: Sequence[str]) -> str:
    """`NO, SE or DE`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1] if names else "")))


def _all(names: Iterable[str]) -> str:
    found = list(names)
    return " and ".join(filter(None, (", ".join(found[:-1]), found[-1] if found else "")))


OF_TERMS: Final[dict[type[Terms], Callable[[Any], Iterator[str]]]] = {
    Residency: _residency,
    Spot: _spot,
    Carbon: _carbon,
    Budget: _budget,
    Disruption: _disruption,
    BlastRadius: _blast_radius,
}
