"""Rules, offers and cases with defaults, so that a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.model import Data, Demand, Location, Market, Offer, Price, Resources, Site
from broker.policy import Clause, Rule, Verb
from broker.policy.cases import Ask, Case, Expected, Given

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday


@pytest.fixture(scope="session")
def an_offer() -> Callable[..., Offer]:
    """`an_offer("1.50", country="NO")`; a price of None is unknown."""

    def make(usd: str | None = "1", country: str | None = "NO", **facts: Any) -> Offer:
        shape: dict[str, Any] = {
            "cloud": "aws",
            "region": "eu-north-1",
            "zone": None,
            "instance_type": "m5.large",
            "market": Market.ON_DEMAND,
            "vcpus": 2.0,
            "memory_gib": 8.0,
            "site": Site(country, frozenset({"EEA"}), 21.0, "regions.csv"),
        }
        price = None if usd is None else Price(Decimal(usd), "2026-11-20", "list price")
        return Offer(price=price, **{**shape, **facts})

    return make


@pytest.fixture(scope="session")
def a_rule() -> Callable[..., Rule]:
    """`a_rule("a", require={"country": ("NO",)})`, or `a_rule("a", Verb.BUDGET, terms=...)`."""

    def clauses(said: dict[str, Any] | None) -> tuple[Clause, ...]:
        return tuple(Clause(name, wanted) for name, wanted in (said or {}).items())

    def make(id_: str, verb: Verb | None = None, **facts: Any) -> Rule:
        named = next((one for one in Verb if one.value in facts), verb)
        assert named, "which verb?"
        return Rule(
            id_,
            named,
            clauses(facts.pop(named.value, None)),
            when=clauses(facts.pop("when", None)),
            location=facts.pop("location", Location("policy.yaml", 3)),
            **facts,
        )

    return make


@pytest.fixture(scope="session")
def a_case(an_offer: Callable[..., Offer]) -> Callable[..., Case]:
    """`a_case(allowed=False, by={"a"}, offer=..., data_class="phi")`."""

    def make(ask: Ask = Ask.OFFER, **facts: Any) -> Case:
        expected = {name: facts.pop(name) for name in list(facts) if name in Expected.__slots__}
        given = {name: facts.pop(name) for name in list(facts) if name in Given.__slots__}
        offer = facts.pop("offer", None) or an_offer()
        data = Data(facts.pop("data_class", None), purpose=facts.pop("purpose", None))
        demand = Demand("the case", (Resources(),), data=data, **facts)
        for name in ("by", "prefers"):
            if expected.get(name) is not None:
                expected[name] = frozenset(expected[name])
        return Case(
            "a case",
            ask,
            demand,
            offer,
            Given(**{"now": NOON, **given}),
            Expected(**expected),
            Location("cases.yaml", 4),
        )

    return make
