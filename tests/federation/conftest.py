"""A federation of three sites as the ledger shows it, and a hand that moves it on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.documents.federation import Federation, Sites
from broker.federation import advance
from broker.federation.admit import Agreed, admit_federation
from broker.federation.app import App
from broker.federation.cohort import choose
from broker.model import (
    Attempt,
    Data,
    Dataset,
    Decision,
    Event,
    Lease,
    LeaseState,
    Market,
    Node,
    NodeState,
    Offer,
    Order,
    OrderState,
    Placement,
    Plan,
    Price,
    Resources,
    Row,
    Run,
    Site,
)
from broker.runs import World

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTRIES = {"oslo": "NO", "berlin": "DE", "lyon": "FR"}
APP = App("hospitals", b"bundle", {"num-server-rounds": 3, "lr": 0.1})


def site_offer(name: str, country: str | None = None, **changes: Any) -> Offer:
    offer = Offer(
        cloud="edge",
        region=name,
        zone=None,
        instance_type="node",
        market=Market.OWNED,
        vcpus=4,
        memory_gib=8,
        price=Price(Decimal(0), "2026-03-01", "owner"),
        site=Site(country=country or COUNTRIES.get(name)),
        node_id=f"nd_{name}",
        datasets=("ct",),
    )
    return replace(offer, **changes)


def cloud_offer(zone: str = "a") -> Offer:
    return Offer("aws", "eu-north-1", f"eu-north-1{zone}", "m5.large", Market.SPOT, 2, 8)


def federation(**changes: Any) -> Federation:
    fed = Federation(
        name="hospitals",
        app=Path("app"),
        rounds=3,
        sites=Sites(2, 3),
        data=Data("phi", ("ct",)),
        aggregator=(Resources(),),
        run_config={"lr": 0.5},
    )
    return replace(fed, **changes)


def aggregator_plan() -> Plan:
    placement = Placement("hospitals-aggregator", 1, cloud_offer(), (cloud_offer("b"),))
    return Plan((placement,), (), 9, 2, policies=("eu.yaml",))


def ids() -> Iterator[str]:
    return (f"{number:04d}" for number in itertools.count(1))


@dataclass
class Story:
    """The rows of one run. `tick` moves it on once; the rest is what the world does to it."""

    fed: Federation = field(default_factory=federation)
    now: datetime = NOW
    events: list[Event] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids = ids()
        cohort = choose([site_offer(name) for name in COUNTRIES], self.fed, Decision)
        agreed = Agreed(self.fed, APP, cohort, aggregator_plan())
        self.run: Run
        self.run, *leases = admit_federation(agreed, self.now, self.new_id)  # type: ignore[assignment]
        self.leases: dict[str, Lease] = {lease.id: lease for lease in leases}  # type: ignore[union-attr,misc]

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids)}"

    def world(self) -> World:
        return World(
            self.run,
            tuple(self.leases.values()),
            tuple(self.nodes.values()),
            tuple(self.orders.values()),
            self.now,
            self.new_id,
        )

    def tick(self, seconds: float = 1) -> list[Row]:
        self.now += timedelta(seconds=seconds)
        rows = advance(self.world())
        for row in rows:
            self._write(row)
        return rows

    def settle(self) -> None:
        for _ in range(20):
            if not self.tick(0):
                return
        raise AssertionError("it does not come to rest")

    def _write(self, row: Row) -> None:
        match row:
            case Run():
                self.run = row
            case Lease():
                self.leases[row.id] = row
            case Order():
                self.orders[row.id] = row
            case Event():
                self.events.append(row)
            case _:
                raise AssertionError(row)

    # what the world does

    def lease(self, name: str) -> Lease:
        if name == "aggregator":
            return next(lease for lease in self.leases.values() if lease.role == "aggregator")
        seats = self.run.spec["seats"]
        return next(
            one for one in self.leases.values() if seats.get(one.id, {}).get("name") == name
        )

    def runs_on(self, name: str, attempt: str = "1", *, key: str = "key") -> None:
        """The lease's machine runs and its agent is online."""
        lease = self.lease(name)
        made = Attempt(
            f"at_{name}_{attempt}", lease.candidates[0], self.now, instance_id="i", launched_at=NOW
        )
        self.leases[lease.id] = replace(lease, attempt=made, state=LeaseState.RUNNING)
        offer = lease.candidates[0]
        node = Node(
            id=offer.node_id or f"nd_{name}_{attempt}",
            name=name,
            kind="edge" if offer.node_id else "cloud",
            created_at=NOW,
            state=NodeState.ONLINE,
            attempt_id=None if offer.node_id else made.id,
            country=COUNTRIES.get(name, "SE"),
            datasets=(Dataset("other", 1), Dataset("ct", 100)),
            labels={"flower-key": key},
        )
        self.nodes[node.id] = node

    def everybody(self) -> None:
        for name in ("aggregator", *COUNTRIES):
            self.runs_on(name)

    def change_lease(self, name: str, **changes: Any) -> None:
        lease = self.lease(name)
        self.leases[lease.id] = replace(lease, **changes)

    def change_node(self, node_id: str, **changes: Any) -> None:
        self.nodes[node_id] = replace(self.nodes[node_id], **changes)

    def links(self) -> list[Order]:
        return [order for order in self.orders.values() if order.kind == "superlink"]

    def at(self, name: str) -> list[Order]:
        lease = self.lease(name)
        return [o for o in self.orders.values() if o.lease_id == lease.id]

    def report(self, order: Order, state: OrderState, **changes: Any) -> None:
        self.orders[order.id] = replace(self.orders[order.id], state=state, **changes)

    def serves(self, address: str = "10.0.0.1:5") -> None:
        data = {"address": address, "name": "nd_agg.node.fedbroker"}
        self.report(self.links()[-1], OrderState.READY, data=data)

    def training(self) -> None:
        """Everything up to the sites at work."""
        self.everybody()
        self.settle()
        self.serves()
        self.settle()
        for name in COUNTRIES:
            self.report(self.at(name)[-1], OrderState.READY)

    def stop_unwanted(self) -> list[str]:
        """The agents end what is not wanted; its kinds."""
        ended = [
            order
            for order in self.orders.values()
            if not order.wanted and order.state not in {OrderState.CANCELLED, OrderState.SUCCEEDED}
        ]
        for order in ended:
            self.report(order, OrderState.CANCELLED)
        return [order.kind for order in ended]


@pytest.fixture
def story() -> Story:
    return Story()
