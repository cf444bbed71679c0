"""What the broker itself asks of classed data, whatever the rules say. Pure.

- A class that no rule names goes nowhere. A rule covers a class when it requires, denies or bounds
  residency, binds the demand wherever it goes, and its `when` names the class or an ancestor.
- Data that a site owner's file names must be covered by that owner's own rules as well.
- A class, or an ancestor, may be bound to purposes: the demand must state one of them.
- An offer that is known to hold named data of another class is refused: the demand must say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.model import Demand, Location, Offer
from broker.policy.conditions import Condition, Question, always
from broker.policy.facts import words
from broker.policy.rules import DataClass, Policy, Rule, Verb
from broker.policy.scopes import in_order, is_owners, owned, reaches

DATA_CLASS: Final = "data-class"
PURPOSE: Final = "purpose"
_COVERING: Final = frozenset({Verb.REQUIRE, Verb.DENY, Verb.RESIDENCY})


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of the broker's own. `scope`: whose data it is about, "" for anybody's."""

    rule: str
    condition: Condition
    scope: str = ""


def covers(policy: Policy, demand: Demand) -> tuple[Rule, ...]:
    """The rules that cover the demand's class of data, in the order of scopes."""
    data_class = demand.data.data_class
    lineage = policy.lineage(data_class) if data_class else frozenset[str]()
    found = (rule for rule in in_order(policy.rules) if _names(rule, lineage))
    return tuple(rule for rule in found if reaches(rule.scope, demand))


def owners_checks(policy: Policy, asked: Question) -> tuple[Check, ...]:
    """One for each data set and site that owns it: its class is covered by the owner's rules."""
    if asked.demand.data.data_class is None:
        return ()
    covering = covers(policy, asked.demand)
    return tuple(
        _covered(asked, [rule for rule in covering if _is_from(rule, site, name)], (site, name))
        for site, name in _owned_data(policy, asked.demand)
    )


def own_checks(policy: Policy, asked: Question) -> tuple[Check, ...]:
    """What is asked for everybody: coverage, purposes, classes of named data."""
    found: list[Check] = []
    if asked.demand.data.data_class is not None:
        found.append(_covered(asked, covers(policy, asked.demand)))
    bound = (one for one in policy.classes if one.name in asked.lineage)
    found += [_purposed(asked, one) for one in bound if one.purposes is not None]
    if asked.demand.data.datasets:
        found.append(Check(DATA_CLASS, _declared(asked)))
    return tuple(found)


def _names(rule: Rule, lineage: frozenset[str]) -> bool:
    named = (clause for clause in rule.when if clause.field == "data_class")
    return rule.verb in _COVERING and any(not lineage.isdisjoint(words(one)) for one in named)


def _owned_data(policy: Policy, demand: Demand) -> Iterator[tuple[str, str]]:
    """Site and data set, each pair once, in the order of the rules."""
    scopes = {rule.scope: None for rule in policy.rules if is_owners(rule)}
    pairs = (
        (str(scope), name)
        for scope in scopes
        if owned(scope, demand)
        for name in demand.data.datasets
        if name in scope.datasets
    )
    yield from dict.fromkeys(pairs)


def _is_from(rule: Rule, site: str, dataset: str) -> bool:
    return is_owners(rule) and str(rule.scope) == site and dataset in rule.scope.datasets


def _covered(asked: Question, covering: Iterable[Rule], owner: tuple[str, str] = ("", "")) -> Check:
    """That there is such a rule. `owner`: the site and its data set."""
    data_class, (site, dataset) = asked.demand.data.data_class, owner
    who, what = f"rule of {site}" if site else "policy", f" of {dataset}" if dataset else ""
    by = ", ".join(rule.id for rule in covering)
    no = f"no {who} covers data class {data_class}{what}"
    saw = f"data class {data_class}{what} is covered by {by}" if by else no
    wanted = f"a {who if site else 'policy rule'} with `when: {{data_class: [{data_class}]}}`"
    return Check(DATA_CLASS, always(bool(by), (saw, wanted), _at(asked, "data.class")), site)


def _purposed(asked: Question, data_class: DataClass) -> Check:
    """That the demand states one of the class' purposes."""
    stated, purposes = asked.demand.data.purpose, data_class.purposes or ()
    saw = f"purpose {stated or 'not stated'}"
    wanted = f"purpose in [{', '.join(purposes)}] for data class {data_class.name}"
    where = asked.demand.locations.get("data.purpose", data_class.location)
    return Check(PURPOSE, always(stated in purposes, (saw, wanted), where))


def _declared(asked: Question) -> Condition:
    """That named data which an offer holds is of a class that the demand states, or an ancestor."""

    def others(offer: Offer) -> list[tuple[str, str]]:
        named = (pair for pair in offer.classes if pair[0] in asked.demand.data.datasets)
        return [(name, one) for name, one in named if one not in asked.lineage]

    def saw(offer: Offer) -> str:
        found = [f"{name} is of data class {one}" for name, one in others(offer)]
        return ", ".join(found) or "no named data of another class"

    return Condition(
        ("classes",),
        lambda offer: not others(offer),
        saw,
        "a demand that states the class of the data it names",
        _at(asked, "data.class", "data.datasets"),
    )


def _at(asked: Question, *names: str) -> Location | None:
    """The first of these places that the demand has, else its own."""
    places = asked.demand.locations
    return next((places[name] for name in names if name in places), asked.demand.location)
