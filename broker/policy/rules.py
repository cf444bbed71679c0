"""Policy as values.

A rule is an id, `when` it applies, and one verb with what it wants. `require` (every clause holds),
`deny` (not all clauses hold) and `prefer` (counts in favour where all hold) compare facts; the other
verbs have terms of their own. Several policy files are one policy: every rule of every file applies,
and none can take back what another says.

A file has a scope. An organisation's rules bind every demand, a project's the demands of that
project, a site owner's the offers at its sites and every demand that names its data sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from broker.model import Artefact, Location

Wanted = tuple[str, ...] | Decimal | bool | str


class Verb(StrEnum):
    REQUIRE = "require"
    DENY = "deny"
    PREFER = "prefer"
    RESIDENCY = "residency"
    SPOT = "spot"
    CARBON = "carbon"
    BUDGET = "budget"
    DISRUPTION = "disruption"
    BLAST_RADIUS = "blast_radius"


COMPARING = frozenset({Verb.REQUIRE, Verb.DENY, Verb.PREFER})


class Level(StrEnum):
    ORGANISATION = "organisation"
    PROJECT = "project"
    SITE = "site"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rules these are. `names` are projects or edge nodes; `datasets` a site owner's data."""

    level: Level = Level.ORGANISATION
    names: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.level} {', '.join(self.names)}".rstrip()


@dataclass(frozen=True, slots=True)
class DataClass:
    """A class of data. What is said of a parent holds for it too.

    `purposes` None: any purpose. Otherwise a demand must state one of them, for the parents too.
    """

    name: str
    parents: tuple[str, ...] = ()
    purposes: tuple[str, ...] | None = None
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison. `field` is a key of `facts.FACTS`, one of the money fields below, or `expr`.

    `wanted` is a set of words for a fact, an upper bound for a `max_...` field, a yes or no, or the
    text of a CEL expression.
    """

    field: str
    wanted: Wanted
    location: Location | None = None


MAX_USD_PER_HOUR = "max_usd_per_hour"  # of all nodes of the demand together
MAX_USD_PER_ACCELERATOR_HOUR = "max_usd_per_accelerator_hour"  # caps no machine without one
BUDGET_USD = "budget_usd"  # nodes x price x duration
MONEY = frozenset({MAX_USD_PER_HOUR, MAX_USD_PER_ACCELERATOR_HOUR, BUDGET_USD})
MAX_PRICE_AGE_D = "max_price_age"  # days between the price's date and today
EXPR = "expr"


@dataclass(frozen=True, slots=True)
class Residency:
    """Where data may be: any of the places named, and under any of these operators' law.

    A place is inside when its country, one of its blocs or its subdivision is named. Where
    `operator_countries` is not empty the operator's legal seat must be among them as well.
    `of` says what is bound.
    """

    countries: tuple[str, ...] = ()
    blocs: tuple[str, ...] = ()
    subdivisions: tuple[str, ...] = ()
    operator_countries: tuple[str, ...] = ()
    of: tuple[Artefact, ...] = tuple(Artefact)


@dataclass(frozen=True, slots=True)
class Spot:
    """When a machine may be one that the cloud can take back. None and False: not said."""

    allow: bool | None = None
    max_duration_h: Decimal | None = None
    needs_checkpoint: bool = False
    max_preemptions: int | None = None  # of a lease, before it stops trying spot


@dataclass(frozen=True, slots=True)
class Carbon:
    """Caps on and a price for emissions, and hours to wait for.

    `shift_hours` are (from, to) in minutes of a UTC day; `to` may be below `from`.
    """

    max_g_per_kwh: Decimal | None = None
    max_kg: Decimal | None = None  # of the whole run, as estimated
    usd_per_kg: Decimal | None = None  # weighed in the ranking, never paid
    shift_within_h: Decimal | None = None
    shift_hours: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """What the demands that the rule applies to may cost in one calendar month (UTC), per project."""

    usd_per_month: Decimal
    warn_at: tuple[int, ...] = ()  # per cent


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of some days of the week. `days` 0 is Monday; minutes of the day, `until` may be less."""

    days: frozenset[int]
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Disruption:
    """When the broker may itself interrupt running work (drain, move), and how much at once."""

    windows: tuple[Window, ...] = ()  # empty: at any time
    timezone: str = "UTC"
    max_at_once: int | None = None


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """How much one mistake can start. Bounds over all open runs count per project."""

    max_nodes_per_run: int | None = None
    max_machines: int | None = None  # open at once
    max_usd_per_hour: Decimal | None = None  # of what is open at once


Terms = Residency | Spot | Carbon | Budget | Disruption | BlastRadius


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `when` without clauses applies to every demand and offer in scope.

    A comparing verb has `clauses`, any other has `terms`.
    """

    id: str
    verb: Verb
    clauses: tuple[Clause, ...] = ()
    when: tuple[Clause, ...] = ()
    why: str = ""
    location: Location | None = None
    scope: Scope = Scope()
    terms: Terms | None = None
    locations: dict[str, Location] = field(default_factory=dict)  # of the fields of `terms`


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order of their files. Without rules everything is allowed but classed data."""

    rules: tuple[Rule, ...] = ()
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    classes: tuple[DataClass, ...] = ()

    def lineage(self, data_class: str) -> frozenset[str]:
        """The class and all that it descends from, as far as any file says."""
        known: dict[str, set[str]] = {}
        for one in self.classes:
            known.setdefault(one.name, set()).update(one.parents)
        found, todo = {data_class}, [data_class]
        while todo:
            fresh = known.get(todo.pop(), set()) - found
            found |= fresh
            todo += fresh
        return frozenset(found)
