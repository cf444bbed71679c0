"""What a run needs next, from what the ledger shows. Pure.

A task's orders are made together, one for each lease, when every machine is there, and they fail,
restart and end together. A run ends in three moves: its orders end, its leases are given back, and
when every machine is confirmed gone it is what its `outcome` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from broker.actions import Save
from broker.converge import abandon, cost
from broker.ids import NewId
from broker.model import (
    ENDED,
    FINAL,
    RUN_ENDED,
    Event,
    Lease,
    LeaseState,
    Node,
    NodeState,
    Order,
    OrderState,
    Row,
    Run,
    RunState,
)

SIGNALLED = 128  # a shell adds the signal's number to this


@dataclass(frozen=True, slots=True)
class World:
    """One run and all that belongs to it, as the ledger shows it at `now`.

    `leases` are all of the run's, by rank; `nodes` those of its attempts, offers and orders;
    `orders` all it ever had, oldest first. `new_id("or")` makes a fresh id that sorts after them.
    `listening_since`: agents could reach the broker from then on; silence before says nothing.
    """

    run: Run
    leases: tuple[Lease, ...]
    nodes: tuple[Node, ...]
    orders: tuple[Order, ...]
    now: datetime
    new_id: NewId
    listening_since: datetime | None = None


Advance = Callable[[World], list[Row]]
"""The rows to commit in one transaction: changed ones, new ones, Events. Empty: nothing to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for agents."""

    lost: timedelta = timedelta(seconds=30)  # a node silent for longer is LOST
    boot: timedelta = timedelta(seconds=600)  # a machine without an agent for longer is replaced
    cancel: timedelta = timedelta(seconds=20)  # for agents to end cancelled orders
    settle: timedelta = timedelta(seconds=10)  # for a cloud to tell that it took a machine away


# ------------------------------------------------------------------- what every kind of run shares


def node_states(
    nodes: Iterable[Node], now: datetime, lost_after: timedelta, since: datetime | None = None
) -> list[Node]:
    """The nodes that change: LOST by silence, ONLINE by talking again. `since`: see `World`."""
    changed = []
    for node in nodes:
        if node.state is NodeState.ONLINE and silence(node, now, since) > lost_after:
            changed.append(replace(node, state=NodeState.LOST))
        elif node.state is NodeState.LOST and silence(node, now, None) <= lost_after:
            changed.append(replace(node, state=NodeState.ONLINE))
    return changed


def silence(node: Node | None, now: datetime, since: datetime | None) -> timedelta:
    """How long the broker has listened to a node without hearing it."""
    heard = [moment for moment in (node.seen_at if node else None, since) if moment]
    return now - max(heard) if heard else timedelta.max


def node_of(lease: Lease, nodes: Iterable[Node]) -> Node | None:
    """The node of a lease's current attempt: the machine it launched, or the edge node it chose."""
    if lease.attempt is None:
        return None
    attempt = lease.attempt
    return next(
        (
            node
            for node in nodes
            if node.attempt_id == attempt.id or (node.id == attempt.offer.node_id)
        ),
        None,
    )


def ready(lease: Lease, nodes: Iterable[Node]) -> Node | None:
    """The lease's node when the machine runs and its agent is online: it can take orders."""
    node = node_of(lease, nodes)
    if lease.state is not LeaseState.RUNNING or lease.attempt is None or lease.attempt.abandoned:
        return None
    return node if node and node.state is NodeState.ONLINE else None


def stale_orders(world: World) -> list[Order]:
    """Open orders whose machine is no longer their lease's: LOST now."""
    held = {
        (lease.id, lease.attempt.id)
        for lease in world.leases
        if lease.attempt and lease.state not in FINAL
    }
    return [
        replace(
            order,
            state=OrderState.LOST,
            finished_at=world.now,
            detail="its machine went away",
        )
        for order in world.orders
        if order.state not in ENDED and (order.lease_id, order.attempt_id) not in held
    ]


def lost(world: World, order: Order) -> bool:
    """Its machine went away: also when the work was killed, and said so, a moment before."""
    if order.state is OrderState.LOST:
        return True
    lease = next(lease for lease in world.leases if lease.id == order.lease_id)
    held = lease.attempt.id if lease.attempt else None
    return order.state in ENDED - {OrderState.SUCCEEDED} and held != order.attempt_id


def just_ended(world: World, order: Order, patience: Patience) -> bool:
    """So lately that the cloud may still have to tell that it took the machine away."""
    return order.finished_at is not None and world.now - order.finished_at < patience.settle


def overdue_leases(world: World, boot: timedelta) -> list[Save]:
    """Running machines whose agent was not heard for longer than `boot`: given up for others."""
    found = []
    for lease in world.leases:
        attempt = lease.attempt
        if lease.state is not LeaseState.RUNNING or not lease.wanted:
            continue
        if attempt is None or attempt.launched_at is None or attempt.abandoned:
            continue
        node = node_of(lease, world.nodes)
        since = max(attempt.launched_at, world.listening_since or attempt.launched_at)
        online = node is not None and node.state is NodeState.ONLINE
        if not online and silence(node, world.now, since) > boot:
            words = f"its agent was not heard for {boot.total_seconds():g} s"
            found.append(abandon(lease, words))
    return found


def overspent(world: World) -> list[Row]:
    """The run, no longer wanted, when its leases have cost what `spec["budget_usd"]` allows."""
    budget = world.run.spec.get("budget_usd")
    if budget is None or not world.run.wanted or world.run.state in RUN_ENDED:
        return []
    spent = sum((cost(lease, world.now) for lease in world.leases), Decimal(0))
    if spent < Decimal(budget):
        return []
    reason = f"the budget of {budget} $ is reached"
    return [replace(world.run, wanted=False, reason=reason), event(world, "run.budget", reason)]


def event(world: World, kind: str, message: str, subject: str = "", **data: Any) -> Event:
    """An event of this run, now. `subject` is the run's id unless it is given."""
    return Event(
        id=world.new_id("ev"),
        at=world.now,
        subject=subject or world.run.id,
        run_id=world.run.id,
        kind=kind,
        message=message,
        data=data,
    )


# -------------------------------------------------------------------------------- closing, any kind


def begin_closing(world: World, outcome: RunState, reason: str) -> list[Row]:
    """The outcome is known: the run closes, its orders are taken back."""
    run = replace(
        world.run, state=RunState.CLOSING, outcome=outcome, reason=reason, closing_at=world.now
    )
    words = f"{run.name}: {outcome}{f': {reason}' if reason else ''}"
    return [run, event(world, "run.closing", words), *_taken_back(world.orders)]


def go_on_closing(world: World, patience: Patience = Patience()) -> list[Row]:
    """The next move of a closing run: orders end, then leases are given back, then it has ended.

    `keep` leaves the leases open, unless the run was cancelled. Orders that do not end within
    `patience.cancel` end with their machines.
    """
    run = world.run
    if back := _taken_back(world.orders):
        return back
    waited = run.closing_at is not None and world.now - run.closing_at >= patience.cancel
    if any(order.state not in ENDED for order in world.orders) and not waited:
        return []
    kept = run.keep and run.outcome is not RunState.CANCELLED and run.wanted
    if kept:
        return _end(world)
    held = [replace(lease, wanted=False) for lease in world.leases if _held(lease)]
    if held:
        return list(held)
    return _end(world) if all(lease.state in FINAL for lease in world.leases) else []


def _held(lease: Lease) -> bool:
    return lease.wanted and lease.state not in FINAL


def _taken_back(orders: Iterable[Order]) -> list[Row]:
    return [
        replace(order, wanted=False)
        for order in orders
        if order.wanted and order.state not in ENDED
    ]


def _end(world: World) -> list[Row]:
    outcome = world.run.outcome or RunState.CANCELLED
    spent = sum((cost(lease, world.now) for lease in world.leases), Decimal(0))
    result = {**world.run.result, "usd_spent": str(spent)}
    run = replace(world.run, state=outcome, ended_at=world.now, result=result)
    return [run, event(world, f"run.{outcome}", f"{run.name}: {outcome}", usd_spent=str(spent))]


# ------------------------------------------------------------------------------------------- tasks


def advance(world: World, patience: Patience = Patience()) -> list[Row]:
    """The next move of a run of kind "task"."""
    if world.run.state in RUN_ENDED:
        return []
    if lost := stale_orders(world):
        return [*lost, *(_lost_event(world, order) for order in lost)]
    if world.run.state is RunState.CLOSING:
        return go_on_closing(world, patience)
    if not world.run.wanted:
        return begin_closing(world, RunState.CANCELLED, world.run.reason or "cancelled")
    return _ended_lease(world) or _overdue(world, patience) or _gang(world, patience)


def _lost_event(world: World, order: Order) -> Event:
    return event(world, "order.lost", f"{world.run.name}: a machine was lost at work", order.id)


def _ended_lease(world: World) -> list[Row]:
    """A lease that will never carry the task ends the run."""
    for lease in world.leases:
        if lease.state is LeaseState.FAILED:
            return begin_closing(world, RunState.FAILED, lease.reason)
        if not lease.wanted:
            return begin_closing(world, RunState.CANCELLED, f"lease {lease.id} was given back")
    return []


def _overdue(world: World, patience: Patience) -> list[Row]:
    saves = overdue_leases(world, patience.boot)
    told = [
        event(world, save.note.kind, save.note.message, save.lease.id)
        for save in saves
        if save.note
    ]
    return [*(save.lease for save in saves), *told]


def _gang(world: World, patience: Patience) -> list[Row]:
    """The orders that count are the newest of each lease: make, watch and make them again."""
    newest = {order.lease_id: order for order in world.orders}
    orders = [newest[lease.id] for lease in world.leases if lease.id in newest]
    if not orders:
        return _start(world)
    if all(order.state is OrderState.SUCCEEDED for order in orders):
        return begin_closing(world, RunState.SUCCEEDED, "")
    if not any(order.state in ENDED - {OrderState.SUCCEEDED} for order in orders):
        return []
    return _broken(world, orders, patience)


def _broken(world: World, orders: list[Order], patience: Patience) -> list[Row]:
    """One rank is out: the others stop first. A lost machine restarts all; else the run fails.

    The verdict waits until all have ended: a rank often fails because another's machine went away,
    and the cloud tells that later.
    """
    if back := _taken_back(orders):
        return back
    if any(order.state not in ENDED for order in orders):
        return []
    failed = [order for order in orders if order.state is OrderState.FAILED]
    if failed and not any(lost(world, order) for order in orders):
        if any(_unsettled(world, order, patience) for order in failed):
            return []
        return begin_closing(world, RunState.FAILED, _failure(world, failed[0]))
    return _start(world) or _recovering(world)


def _unsettled(world: World, order: Order, patience: Patience) -> bool:
    """Killed by a signal just now: that is also how the end of a machine looks from inside."""
    killed = order.exit_code is not None and order.exit_code > SIGNALLED
    return killed and just_ended(world, order, patience)


def _failure(world: World, order: Order) -> str:
    rank = next(lease.rank for lease in world.leases if lease.id == order.lease_id)
    words = f"exit code {order.exit_code}" if order.exit_code is not None else "failed"
    detail = f" ({order.detail})" if order.detail else ""
    return f"rank {rank}: {words}{detail}"


def _recovering(world: World) -> list[Row]:
    if world.run.state is RunState.PENDING:
        return []
    run = replace(world.run, state=RunState.PENDING, reason="recovering")
    return [run, event(world, "run.recovering", f"{run.name}: waiting for another machine")]


def _start(world: World) -> list[Row]:
    """One order for each lease, when all of them can take one."""
    nodes = [ready(lease, world.nodes) for lease in world.leases]
    if not nodes or None in nodes:
        return []
    orders = [
        _order(world, lease, node, [each for each in nodes if each])
        for lease, node in zip(world.leases, nodes, strict=True)
        if node
    ]
    run = replace(world.run, state=RunState.RUNNING, reason="")
    return [run, *orders, event(world, "run.running", f"{run.name}: running")]


def _order(world: World, lease: Lease, node: Node, nodes: list[Node]) -> Order:
    assert lease.attempt is not None
    return Order(
        id=world.new_id("or"),
        run_id=world.run.id,
        lease_id=lease.id,
        attempt_id=lease.attempt.id,
        node_id=node.id,
        kind="process",
        spec=_spec(world.run, lease, nodes),
        created_at=world.now,
    )


def _spec(run: Run, lease: Lease, nodes: list[Node]) -> dict[str, Any]:
    """What the agent runs. The task's own variables come first, the broker's win."""
    envs = {
        **run.spec.get("envs", {}),
        "BROKER_RUN_ID": run.id,
        "BROKER_NODE_RANK": str(lease.rank),
        "BROKER_NUM_NODES": str(len(nodes)),
    }
    if all(node.address for node in nodes):
        envs["BROKER_NODE_IPS"] = "\n".join(node.address for node in nodes)
    return {
        "name": run.spec.get("name", run.name),
        "setup": run.spec.get("setup"),
        "run": run.spec["run"],
        "envs": envs,
    }
