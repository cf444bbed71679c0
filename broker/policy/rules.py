"""Policy as values.

A rule is `when` it applies and what it then wants: `require` (every clause holds), `deny` (not all
clauses hold) or `prefer` (counts in favour where all hold). Several policy files are one policy:
every rule of every file applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from broker.model import Location

Wanted = tuple[str, ...] | Decimal | bool


class Verb(StrEnum):
    REQUIRE = "require"
    DENY = "deny"
    PREFER = "prefer"


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison. `field` is a key of `facts.FACTS`, or one of the money fields below.

    `wanted` is a set of words for a fact, an upper bound for a `max_...` field, or a yes or no.
    """

    field: str
    wanted: Wanted
    location: Location | None = None


MAX_USD_PER_HOUR = "max_usd_per_hour"  # of all nodes of the demand together
BUDGET_USD = "budget_usd"  # nodes x price x duration
MONEY = frozenset({MAX_USD_PER_HOUR, BUDGET_USD})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `when` without clauses applies to every demand and offer."""

    id: str
    verb: Verb
    clauses: tuple[Clause, ...]
    when: tuple[Clause, ...] = ()
    why: str = ""
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order of their files. Without rules everything is allowed but classed data."""

    rules: tuple[Rule, ...] = ()
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def covers(self, data_class: str) -> bool:
        """Whether any rule names this class of data in its `when`."""
        named = (clause for rule in self.rules for clause in rule.when)
        return any(
            clause.field == "data_class"
            and isinstance(clause.wanted, tuple)
            and data_class in clause.wanted
            for clause in named
        )
