"""The rows of a task's run, as its plan agreed on them. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from broker.codec import to_json
from broker.ids import NewId
from broker.model import Demand, Lease, Plan, Run, Task


def admit(plan: Plan, task: Task, now: datetime, new_id: NewId) -> tuple[Run | Lease, ...]:
    """The run of a task, first, and one lease for each node of each placement, ranked from 0.

    Its orders are made together, so no machine is begun before the last placement may start.
    """
    run = Run(
        id=new_id("run"),
        name=task.demand.name,
        kind="task",
        spec={
            "name": task.demand.name,
            "setup": task.setup,
            "run": task.run,
            "envs": task.envs,
            **asked(task.demand),
        },
        created_at=now,
        keep=task.keep,
        plan=recorded(plan),
    )
    offers = [(one.offer, *one.fallbacks) for one in plan.placements for _ in range(one.nodes)]
    start, reason = start_of(plan, now)
    leases = [
        Lease(
            id=new_id("ls"),
            run_id=run.id,
            role=task.demand.role,
            rank=rank,
            candidates=candidates,
            created_at=now,
            not_before=start,
            reason=reason,
        )
        for rank, candidates in enumerate(offers)
    ]
    return run, *leases


def asked(demand: Demand) -> dict[str, Any]:
    """What a run's `spec` keeps of its demand: all but the places in files, and whose it is."""
    bare = replace(
        demand,
        location=None,
        locations={},
        alternatives=tuple(replace(one, locations={}) for one in demand.alternatives),
        storage=tuple(replace(one, location=None) for one in demand.storage),
    )
    return {"demand": to_json(bare), "project": demand.project}


def recorded(plan: Plan) -> dict[str, Any]:
    """A plan as its run keeps it: the decisions over each candidate stand in an `Explanation`."""
    found: dict[str, Any] = to_json(replace(plan, decisions=()))
    return found


def start_of(plan: Plan, now: datetime) -> tuple[datetime | None, str]:
    """When the run's machines may be begun, and what to say until then."""
    late = [one for one in plan.placements if one.start_after and one.start_after > now]
    if not late:
        return None, ""
    last = max(late, key=lambda one: one.start_after or now)
    start = (last.start_after or now).astimezone(UTC)
    day = "" if start.date() == now.astimezone(UTC).date() else f"{start:%Y-%m-%d} "
    why = f": {last.start_why}" if last.start_why else ""
    return start, f"waits until {day}{start:%H:%M} UTC{why}"
