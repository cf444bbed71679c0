"""Every ledger keeps the laws of `ports.Store`: in memory, in a file, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ports import Store
from broker.store import Ledger, MemoryStore
from tests.stands.postgres import Postgres
from tests.store.conformance import StoreLaws


class TestMemoryStore(StoreLaws):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLedger(StoreLaws):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            yield ledger


class TestLedgerInPostgres(StoreLaws):
    @pytest.fixture
    def store(self, postgres: Postgres) -> Iterator[Store]:
        with Ledger(postgres.database()) as ledger:
            yield ledger
