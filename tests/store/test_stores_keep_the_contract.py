"""Both ledgers keep the laws of `ports.Store`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ports import Store
from broker.store import Ledger, MemoryStore
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
