"""What the broker would disturb by its own doing, held against the policy's hours for that."""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.codec import from_json
from broker.model import (
    RUN_ENDED,
    Allocation,
    Demand,
    Finding,
    Lease,
    Node,
    NodeState,
    Run,
    RunState,
    Verdict,
)
from broker.policy import Policy
from broker.policy.windows import may_disrupt
from broker.ports import Store

STEP = timedelta(minutes=5)  # how finely the next opening is looked for
AHEAD = timedelta(days=8)

Against = tuple[Run, Finding, datetime | None]


def work_on(store: Store, node: Node) -> list[Run]:
    """The open runs that have a share of the node."""
    shares = store.find(Allocation, node_id=node.id, released=False)
    leases = store.find(Lease, id=[share.lease_id for share in shares])
    open_runs = [state for state in RunState if state not in RUN_ENDED]
    return store.find(Run, id={lease.run_id for lease in leases}, state=open_runs)


def against_drain(store: Store, policy: Policy, node: Node, now: datetime) -> Against | None:
    """The first run at work there that may not be disturbed now, the rule that says so, and when
    it would be allowed: None where that is not a question of the hour.
    """
    drained = store.find(Node, kind="edge", state=NodeState.DRAINED)
    under_way = sum(1 for one in drained if one.id != node.id and work_on(store, one))
    for run in work_on(store, node):
        demand = demand_of(run)

        def judged(at: datetime, demand: Demand = demand) -> Finding:
            return may_disrupt(policy, demand, at, node=node.name, under_way=under_way)

        found = judged(now)
        if found.verdict is Verdict.REFUSES:
            first = now.replace(second=0, microsecond=0)
            first -= timedelta(minutes=first.minute % 5)
            moments = (first + STEP * count for count in range(1, AHEAD // STEP))
            opening = (at for at in moments if judged(at).verdict is not Verdict.REFUSES)
            return run, found, next(opening, None)
    return None


def demand_of(run: Run) -> Demand:
    """What the run was asked for; without a record of it, a demand of the run's name alone."""
    kept = run.spec.get("demand")
    return from_json(Demand, kept) if kept else Demand(run.name, ())
