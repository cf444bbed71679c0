"""What an agent's reports make of an order. Pure decisions first, then the guarded writes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from broker.errors import ConflictError, NotFoundError, UsageError
from broker.gateway.wire import EventItem, ReportBody
from broker.ids import new_id
from broker.model import ENDED, Event, Node, Order, OrderState
from broker.ports import Store

OPEN = [state for state in OrderState if state not in ENDED]
_RANK = {OrderState.PENDING: 0, OrderState.RUNNING: 1, OrderState.READY: 2}
_SAYABLE = set(OrderState) - {OrderState.PENDING, OrderState.LOST}
_DETAIL_CHARS = 4000
_RETRIES = 20


def advance(order: Order, said: ReportBody, now: datetime) -> Order | None:
    """The order after a report, None when the report does not move it forward."""
    if said.state not in _SAYABLE:
        raise UsageError(f"an agent cannot report `{said.state}`", code="USE010")
    if _rank(said.state) <= _rank(order.state):
        return None
    return replace(
        order,
        state=said.state,
        exit_code=said.exit_code,
        detail=said.detail[:_DETAIL_CHARS],
        data={**order.data, **said.data},
        finished_at=now if said.state in ENDED else None,
    )


def own_order(store: Store, order_id: str, node_id: str) -> Order:
    """NotFoundError for an order of another node too: the two look the same from outside."""
    found = store.find(Order, id=order_id, node_id=node_id)
    if not found:
        raise NotFoundError(f"no order {order_id}")
    return found[0]


def report(
    store: Store, order_id: str, node_id: str, said: ReportBody, now: datetime
) -> OrderState:
    """Write a report with its event; returns the state that the ledger now holds."""
    for _ in range(_RETRIES):
        order = own_order(store, order_id, node_id)
        after = advance(order, said, now)
        if after is None:
            return order.state
        try:
            store.commit(after, _changed(store, after, now))
        except ConflictError:
            continue
        return after.state
    raise ConflictError("the ledger is busy", hint="try again")


def record(
    store: Store, order: Order, seq0: int, items: Sequence[EventItem], now: datetime
) -> None:
    """Add events, each once: the id follows from the order and the number in its sequence."""
    events = [_event(order, seq0 + place, item, now) for place, item in enumerate(items)]
    for _ in range(_RETRIES):
        known = {event.id for event in store.find(Event, id=[event.id for event in events])}
        fresh = [event for event in events if event.id not in known]
        if not fresh:
            return
        try:
            store.commit(*fresh)
        except ConflictError:
            continue
        return
    raise ConflictError("the ledger is busy", hint="try again")


def summary(order: Order) -> dict[str, Any]:
    """What the agent is told."""
    return {
        "id": order.id,
        "kind": order.kind,
        "spec": order.spec,
        "wanted": order.wanted,
        "run_id": order.run_id,
    }


def _rank(state: OrderState) -> int:
    return _RANK.get(state, 3)


def _changed(store: Store, order: Order, now: datetime) -> Event:
    """In words for people: what happens, and on which node."""
    nodes = store.find(Node, id=order.node_id)
    where = nodes[0].name if nodes else order.node_id
    verb = order.detail or str(order.state)
    return Event(
        id=new_id("ev", now, secrets.token_bytes(10)),
        at=now,
        subject=order.id,
        run_id=order.run_id,
        kind=f"order.{order.state}",
        message=f"{order.kind} on {where}: {verb}",
        data={"node_id": order.node_id, "exit_code": order.exit_code},
    )


def _event(order: Order, seq: int, item: EventItem, now: datetime) -> Event:
    data = item.model_dump()
    return Event(
        id=f"ev_{order.id.partition('_')[2] or order.id}_{seq:08d}",
        at=now,
        subject=order.id,
        run_id=order.run_id,
        kind=f"fed.{item.kind}",
        message=item.message or _words(data),
        data={**data, "seq": seq, "node_id": order.node_id},
    )


def _words(data: dict[str, Any]) -> str:
    """`round 3 loss 0.21`: the plain values of a record."""
    kind = data["kind"]
    plain = {k: v for k, v in data.items() if k not in ("kind", "message")}
    parts = [f"{k} {v}" for k, v in plain.items() if isinstance(v, str | int | float)]
    return " ".join(parts if kind in plain else [kind, *parts])[:1000]
