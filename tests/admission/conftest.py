"""Every kind of ledger, and small words for policies, demands, plans and runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker import planned
from broker.model import (
    Account,
    Demand,
    Lease,
    Location,
    Market,
    Offer,
    Placement,
    Plan,
    Price,
    Run,
    Task,
)
from broker.policy import Policy, Rule, Verb
from broker.policy.rules import Budget
from broker.ports import Store
from broker.store import Ledger, MemoryStore
from tests.stands.postgres import Postgres, started

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LINE = Location("team.yaml", 4, 13)
OFFER = Offer(
    "aws", "eu-north-1", None, "m5", Market.ON_DEMAND, 2, 8, price=Price(Decimal(1), "x", "list")
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = started()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same ledger again and again, as processes would."""
    ledgers: list[Ledger] = []
    if request.param == "memory":
        one = MemoryStore()
        yield lambda: one
        return
    url = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").database()

    def again() -> Store:
        ledgers.append(Ledger(url))
        return ledgers[-1]

    yield again
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


def team(usd: str = "100", **more: Any) -> Policy:
    """One budget over everything."""
    terms = Budget(Decimal(usd), **more)
    where = {"usd_per_month": LINE}
    return Policy((Rule("team", Verb.BUDGET, terms=terms, locations=where),))


def asked(hours: int = 10, **more: Any) -> tuple[Demand, Plan]:
    """One machine at one dollar an hour."""
    demand = Demand("train", (), duration_h=Decimal(hours), project="research")
    return replace(demand, **more), Plan((Placement("train", 1, OFFER),), (), 1, 1)


@dataclass
class Desk:
    """Makes the rows of runs, with ids that nobody else makes."""

    name: str = "a"
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def rows(self, agreed: tuple[Demand, Plan]) -> tuple[Run | Lease, ...]:
        task = Task(agreed[0], "true")
        return planned.admit(
            agreed[1], task, NOW, lambda prefix: f"{prefix}_{self.name}{next(self.numbers):06d}"
        )


def only(store: Store) -> Account:
    (account,) = store.find(Account)
    return account
