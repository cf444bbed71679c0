"""What a federation needs next, from what the ledger shows. Pure.

    leases ready -> superlink order --READY--> a supernode order at each site --> rounds
         ^               |                                                          |
         |          its machine lost: sites stop, again on the new one              |
         '---------------'                                  superlink ended: the outcome

An *epoch* is one superlink order with the supernode orders that dial it. The end goes from the
outside in: SuperNodes, SuperLink, leases.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from broker import runs
from broker.federation.admit import AGGREGATOR
from broker.model import (
    ENDED,
    FINAL,
    RUN_ENDED,
    Lease,
    LeaseState,
    Node,
    Order,
    OrderState,
    Row,
    RunState,
)
from broker.runs import World

RESTARTS = 3  # on another machine, after the aggregator's was lost
SITE_TRIES = 3  # of one site's order in one epoch
NAP_S = (0.5, 0.05, 3.0)  # at least; for each site; at most: how long an idle SuperNode sleeps
RECORD = ("result", "traffic", "audit", "artifacts")  # what an aggregator reports at the end


@dataclass(frozen=True, slots=True)
class Patience:
    """`site`: how long a federation waits for the last sites once enough are there."""

    site: timedelta = timedelta(seconds=60)
    agents: runs.Patience = field(default_factory=runs.Patience)


def advance(world: World, patience: Patience = Patience()) -> list[Row]:
    """The next move of a run of kind "fed"."""
    if world.run.state in RUN_ENDED:
        return []
    if lost := runs.stale_orders(world):
        words = f"{world.run.name}: a machine was lost at work"
        return [*lost, *(runs.event(world, "order.lost", words, order.id) for order in lost)]
    if world.run.state is RunState.CLOSING:
        return _close(world, patience)
    if not world.run.wanted:
        return _conclude(world, RunState.CANCELLED, world.run.reason or "cancelled")
    return _overdue(world, patience) or _hopeless(world) or _epoch(world, patience)


# ------------------------------------------------------------------------------------------ leases


def _aggregator(world: World) -> Lease:
    return next(lease for lease in world.leases if lease.role == AGGREGATOR)


def _sites(world: World) -> list[Lease]:
    return [lease for lease in world.leases if lease.role != AGGREGATOR]


def _alive(lease: Lease) -> bool:
    return lease.wanted and lease.state not in FINAL


def _overdue(world: World, patience: Patience) -> list[Row]:
    rows: list[Row] = []
    for save in runs.overdue_leases(world, patience.agents.boot):
        words = f"{world.run.name}: {save.lease.role} {save.lease.rank}: {save.lease.reason}"
        rows += [save.lease, runs.event(world, "lease.abandoned", words, save.lease.id)]
    return rows


def _hopeless(world: World) -> list[Row]:
    """The federation cannot be carried any more, whatever happens."""
    aggregator = _aggregator(world)
    if aggregator.state is LeaseState.FAILED:
        return _conclude(world, RunState.FAILED, f"no aggregator: {aggregator.reason}")
    if not aggregator.wanted:
        return _conclude(world, RunState.CANCELLED, "the aggregator's lease was given back")
    alive = [lease for lease in _sites(world) if _alive(lease)]
    if len(alive) < _minimum(world):
        dead = [lease for lease in _sites(world) if not _alive(lease)]
        why = "; ".join(f"{_name(world, one)}: {one.reason or one.state}" for one in dead)
        return _too_few(world, len(alive), why)
    return []


def _minimum(world: World) -> int:
    return int(world.run.spec["min_sites"])


def _name(world: World, lease: Lease) -> str:
    return str(world.run.spec["seats"][lease.id]["name"])


def _too_few(world: World, left: int, why: str) -> list[Row]:
    words = f"{left} of at least {_minimum(world)} sites are left: {why}"
    return _conclude(world, RunState.FAILED, words)


# ------------------------------------------------------------------------------------------ epochs


def _epoch(world: World, patience: Patience) -> list[Row]:
    links = [order for order in world.orders if order.kind == "superlink"]
    if not links or runs.lost(world, links[-1]):
        return _begin(world, len(links), patience)
    link = links[-1]
    if link.state in ENDED:
        return _ended(world, link, patience)
    if link.state is OrderState.READY:
        return _seat_sites(world, link)
    return []


def _begin(world: World, lost: int, patience: Patience) -> list[Row]:
    """A new epoch, once the sites have left the one before and machine and sites are there."""
    if lost > RESTARTS:
        words = f"the aggregator's machine was lost {lost} times"
        return _conclude(world, RunState.FAILED, words)
    if back := _taken_back(world, "supernode"):
        return back
    node = runs.ready(_aggregator(world), world.nodes)
    present = _present(world)
    if len(present) < _minimum(world) and (mute := _mute(world)):
        return _too_few(world, len(present), f"no Flower on {', '.join(mute)}")
    if node is None or not _enough(world, present, patience):
        return _recovering(world) if lost else []
    order = _order(world, _aggregator(world), node, ("superlink", _superlink(world, present)))
    run = replace(world.run, state=RunState.RUNNING, reason="")
    return [run, order, runs.event(world, "run.running", f"{world.run.name}: running")]


def _recovering(world: World) -> list[Row]:
    if world.run.state is RunState.PENDING:
        return []
    run = replace(world.run, state=RunState.PENDING, reason="recovering")
    words = f"{world.run.name}: waiting for another machine for the aggregator"
    return [run, runs.event(world, "run.recovering", words)]


def _present(world: World) -> list[tuple[Lease, Node]]:
    """Sites that can take an order and whose SuperNode has a key."""
    pairs = [(lease, runs.ready(lease, world.nodes)) for lease in _sites(world)]
    return [(lease, node) for lease, node in pairs if node is not None and node.flower_key]


def _mute(world: World) -> list[str]:
    """All sites are there, and these cannot train."""
    nodes = [runs.ready(lease, world.nodes) for lease in _sites(world) if _alive(lease)]
    if None in nodes:
        return []
    return [node.name for node in nodes if node and not node.flower_key]


def _enough(world: World, present: list[tuple[Lease, Node]], patience: Patience) -> bool:
    """All that are alive; or the minimum, when the others have been waited for."""
    alive = sum(1 for lease in _sites(world) if _alive(lease))
    since = max([world.run.created_at, *(one.not_before for one in world.leases if one.not_before)])
    waited = world.now - since >= patience.site
    return len(present) == alive or (waited and len(present) >= _minimum(world))


def _superlink(world: World, present: list[tuple[Lease, Node]]) -> dict[str, Any]:
    spec = world.run.spec
    return {
        "app": spec["app"],
        "run_config": spec["run_config"],
        "rounds": spec["rounds"],
        "min_sites": spec["min_sites"],
        "sites": [_site(world, lease, node) for lease, node in present],
    }


def _site(world: World, lease: Lease, node: Node) -> dict[str, Any]:
    """What the aggregator must know of a site, and what a receipt will say of it."""
    dataset = str(world.run.spec["seats"][lease.id]["dataset"])
    return {
        "node_id": node.id,
        "name": node.name,
        "flower_key": node.flower_key,
        "country": node.country,
        "dataset": dataset,
        "rows": next((each.rows for each in node.datasets if each.name == dataset), None),
    }


def _seat_sites(world: World, link: Order) -> list[Row]:
    """A supernode order at each site that has none at work; enough must be left."""
    datasets = {str(site["node_id"]): str(site["dataset"]) for site in link.spec["sites"]}
    rows: list[Row] = []
    out: list[str] = []
    for lease in _sites(world):
        dataset = datasets.get(str(world.run.spec["seats"][lease.id]["node_id"]))
        if dataset is None:
            continue
        tried = _orders_of(world, lease, link)
        if why := _out(lease, tried):
            out.append(f"{_name(world, lease)}: {why}")
        elif (not tried or tried[-1].state in ENDED) and (node := runs.ready(lease, world.nodes)):
            rows.append(_order(world, lease, node, ("supernode", _supernode(link, dataset))))
    left = len(datasets) - len(out)
    return rows if left >= _minimum(world) else _too_few(world, left, "; ".join(out))


def _out(lease: Lease, tried: list[Order]) -> str:
    """Why a site will not come back in this epoch, "" when it may."""
    if not _alive(lease):
        return lease.reason or str(lease.state)
    if len(tried) >= SITE_TRIES and tried[-1].state in ENDED:
        return tried[-1].detail or str(tried[-1].state)
    return ""


def _orders_of(world: World, lease: Lease, link: Order) -> list[Order]:
    return [
        order
        for order in world.orders
        if order.lease_id == lease.id and order.spec.get("superlink") == link.id
    ]


def _supernode(link: Order, dataset: str) -> dict[str, Any]:
    least, each, most = NAP_S
    return {
        "aggregator": link.data["address"],
        "aggregator_name": link.data["name"],
        "dataset": dataset,
        "nap_s": min(max(least, each * len(link.spec["sites"])), most),
        "superlink": link.id,
    }


def _order(world: World, lease: Lease, node: Node, work: tuple[str, dict[str, Any]]) -> Order:
    assert lease.attempt is not None
    kind, spec = work
    return Order(
        id=world.new_id("or"),
        run_id=world.run.id,
        lease_id=lease.id,
        attempt_id=lease.attempt.id,
        node_id=node.id,
        kind=kind,
        spec=spec,
        created_at=world.now,
    )


# --------------------------------------------------------------------------------------------- end


def _ended(world: World, link: Order, patience: Patience) -> list[Row]:
    """The superlink's own record is the result; how it ended is the outcome.

    An end that nobody asked for may be the end of its machine: that is waited for a little.
    """
    if link.state is not OrderState.SUCCEEDED and runs.just_ended(world, link, patience.agents):
        return []
    kept = {key: link.data[key] for key in RECORD if key in link.data}
    conclude = partial(_conclude, world, result=kept)
    if link.state is OrderState.SUCCEEDED:
        return conclude(RunState.SUCCEEDED, "")
    return conclude(RunState.FAILED, link.detail or f"the aggregator is {link.state}")


def _conclude(
    world: World, outcome: RunState, reason: str, result: dict[str, Any] | None = None
) -> list[Row]:
    """The outcome is known. The SuperNodes stop first."""
    run = replace(
        world.run,
        state=RunState.CLOSING,
        outcome=outcome,
        reason=reason,
        result={**world.run.result, **(result or {})},
        closing_at=world.now,
    )
    words = f"{run.name}: {outcome}{f': {reason}' if reason else ''}"
    return [run, runs.event(world, "run.closing", words), *_taken_back(world, "supernode")]


def _close(world: World, patience: Patience) -> list[Row]:
    """SuperNodes have stopped, or were waited for: then the rest as any run closes."""
    at_work = [o for o in world.orders if o.kind == "supernode" and o.state not in ENDED]
    since = world.run.closing_at or world.now
    if at_work and world.now - since < patience.agents.cancel / 2:
        return []
    return runs.go_on_closing(world, patience.agents)


def _taken_back(world: World, kind: str) -> list[Row]:
    return [
        replace(order, wanted=False)
        for order in world.orders
        if order.kind == kind and order.wanted and order.state not in ENDED
    ]
