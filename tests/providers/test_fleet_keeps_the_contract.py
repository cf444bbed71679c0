"""The fleet keeps the laws of `ports.Provider`, over the ledger in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.errors import BrokerError
from broker.fleet import Fleet
from broker.model import Allocation, Instance, Node, NodeState, Offer
from broker.ports import Store
from broker.store.ledger import Ledger
from broker.store.memory import MemoryStore
from tests.providers.conformance import SCRIPT, ProviderLaws, Stand

NOW = datetime.now(UTC)


class Fragile:
    """A ledger that can be made unreadable."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.broken = False

    def find(self, kind: Any, /, **equal: object) -> Any:
        if self.broken:
            raise BrokerError("the ledger cannot be read")
        return self.store.find(kind, **equal)

    def commit(self, *rows: Any) -> Any:
        return self.store.commit(*rows)


class FleetStand(Stand):
    """Two nodes of one name, so that taking one away leaves the neighbour's share."""

    loses_replies = False

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fragile = Fragile(store)
        for number in (0, 1):
            store.commit(
                Node(f"nd_{number}", "oslo-01", "edge", NOW, state=NodeState.ONLINE, country="NO")
            )
        store.commit(Node("nd_cloud", "task-0", "cloud", NOW, state=NodeState.ONLINE))
        self.provider = Fleet(self.fragile)
        self.both: list[Offer] = list(self.provider.offers())
        self.offer = self.both[0]

    def launch(self, token: str, lease_id: str = "ls_1", script: str = SCRIPT) -> Instance:
        offer = self.both[int(token[-4:]) % 2]
        return self.provider.launch(offer, token, lease_id, script)

    def alive(self) -> list[str]:
        here = {node.id for node in self.store.find(Node, state=NodeState.ONLINE)}
        shares = self.store.find(Allocation, released=False)
        return [share.id for share in shares if share.node_id in here]

    def sell_out(self) -> None:
        self._turn(NodeState.DRAINED)

    def restock(self) -> None:
        self._turn(NodeState.ONLINE)

    def add_foreign(self) -> str:
        return "nd_cloud"

    def foreign_lives(self, instance_id: str) -> bool:
        return self.store.find(Node, id=instance_id)[0].state is NodeState.ONLINE

    def break_listing(self) -> None:
        self.fragile.broken = True

    def mend_listing(self) -> None:
        self.fragile.broken = False

    def take_away(self, instance_id: str) -> None:
        (share,) = self.store.find(Allocation, id=instance_id)
        (node,) = self.store.find(Node, id=share.node_id)
        self.store.commit(replace(node, state=NodeState.REVOKED))

    def _turn(self, state: NodeState) -> None:
        for node in self.store.find(Node, kind="edge"):
            self.store.commit(replace(node, state=state))


class TestFleetInMemory(ProviderLaws):
    @pytest.fixture
    def stand(self) -> Stand:
        return FleetStand(MemoryStore())


class TestFleetOnDisk(ProviderLaws):
    @pytest.fixture
    def stand(self, tmp_path: Path) -> Iterator[Stand]:
        with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
            yield FleetStand(ledger)
