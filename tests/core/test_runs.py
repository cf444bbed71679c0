"""Law: the orders of a task start, restart and end together; a run ends after its machines."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker import planned, runs
from broker.codec import from_json, to_json
from broker.errors import CapacityError
from broker.model import (
    ENDED,
    FINAL,
    Artefact,
    Attempt,
    Decision,
    Demand,
    Event,
    Lease,
    LeaseState,
    Location,
    Node,
    NodeState,
    Order,
    OrderState,
    Placement,
    Plan,
    Resources,
    Run,
    RunState,
    Storage,
    Task,
)
from broker.runs import World, advance
from tests.core.stage import START, Stage, make_offer

S = timedelta(seconds=1)
NOW = START + 3600 * S
OFFER, OTHER = make_offer("eu-1a"), make_offer("eu-1b")


def world(*ranks: tuple[Lease, Node | None, Order | None], **run: Any) -> World:
    numbers = itertools.count()
    return World(
        run=replace(Run("run_1", "train", "task", {"run": "true"}, START), **run),
        leases=tuple(lease for lease, _, _ in ranks),
        nodes=tuple(node for _, node, _ in ranks if node),
        orders=tuple(order for _, _, order in ranks if order),
        now=NOW,
        new_id=lambda prefix: f"{prefix}_{next(numbers):04d}",
    )


def rank(
    number: int = 0,
    order: OrderState | None = None,
    node: NodeState | None = NodeState.ONLINE,
    **more: Any,
) -> tuple[Lease, Node | None, Order | None]:
    attempt = Attempt(f"at_{number}", OFFER, START, f"i-{number}", launched_at=NOW - 60 * S)
    lease = Lease(f"ls_{number}", "run_1", "task", number, (OFFER,), START, attempt=attempt)
    lease = replace(lease, **{"state": LeaseState.RUNNING, **more})
    machine = Node(f"nd_{number}", "n", "cloud", START, node or NodeState.GONE, f"at_{number}")
    work = Order(f"or_{number}", "run_1", lease.id, attempt.id, machine.id, "process", {}, START)
    return (
        lease,
        replace(machine, seen_at=NOW, address=f"10.0.0.{number}") if node else None,
        replace(work, state=order) if order else None,
    )


def one(rows: list[Any], kind: type[Any]) -> Any:
    (found,) = [row for row in rows if isinstance(row, kind)]
    return found


# --------------------------------------------------------------------------------------- admission


def test_a_plan_becomes_a_run_and_one_lease_for_each_node() -> None:
    plan = Plan((Placement("train", 2, OFFER, (OTHER,)), Placement("train", 1, OTHER)), (), 9, 2)
    task = Task(
        Demand("train", ()), "python train.py", setup="pip install x", envs={"A": "1"}, keep=True
    )
    numbers = itertools.count()
    run, *leases = planned.admit(plan, task, NOW, lambda prefix: f"{prefix}_{next(numbers)}")
    assert isinstance(run, Run)
    assert (run.name, run.kind, run.keep) == ("train", "task", True)
    assert run.spec == {
        "name": "train",
        "setup": "pip install x",
        "run": "python train.py",
        "envs": {"A": "1"},
        "demand": to_json(Demand("train", ())),
        "project": "default",
    }
    assert run.plan["considered"] == 9
    assert {each.not_before for each in leases if isinstance(each, Lease)} == {None}
    assert [(each.rank, each.candidates) for each in leases if isinstance(each, Lease)] == [
        (0, (OFFER, OTHER)),
        (1, (OFFER, OTHER)),
        (2, (OTHER,)),
    ]
    assert len({row.id for row in (run, *leases)}) == 4


# ---------------------------------------------------------------------------------- starting work


def test_a_run_keeps_its_demand_without_the_places_in_files() -> None:
    where = Location("task.yaml", 3)
    demand = Demand(
        "train",
        (Resources(cloud="aws", locations={"cloud": where}),),
        project="research",
        location=where,
        locations={"name": where},
        storage=(Storage(Artefact.BUCKET, "NO", location=where),),
    )
    plan = Plan((Placement("train", 1, OFFER),), (), 1, 1, decisions=(Decision(OFFER),))
    run, _ = planned.admit(plan, Task(demand, "x"), NOW, lambda prefix: f"{prefix}_1")
    assert isinstance(run, Run)
    assert run.spec["project"] == "research"
    bare = from_json(Demand, run.spec["demand"])
    assert bare.alternatives == (Resources(cloud="aws"),)
    assert bare.storage == (Storage(Artefact.BUCKET, "NO"),)
    assert "task.yaml" not in json.dumps(run.spec)
    assert from_json(Plan, run.plan).decisions == ()


@pytest.mark.parametrize(
    ("hours", "why", "words"),
    [
        (10, "rule green (g.yaml:12:3)", "waits until 22:00 UTC: rule green (g.yaml:12:3)"),
        (14, "", "waits until 2026-03-02 02:00 UTC"),
    ],
)
def test_a_shifted_start_is_on_every_lease_with_its_reason(
    hours: int, why: str, words: str
) -> None:
    noon = NOW.replace(hour=12, minute=0, second=0, microsecond=0)
    later = noon + timedelta(hours=hours)
    early = Placement("train", 1, OFFER, start_after=noon + timedelta(hours=1))
    late = Placement("train", 1, OTHER, start_after=later, start_why=why)
    _, *leases = planned.admit(
        Plan((late, early), (), 2, 2), Task(Demand("train", ()), "x"), noon, lambda prefix: prefix
    )
    found = {(each.not_before, each.reason) for each in leases if isinstance(each, Lease)}
    assert found == {(later, words)}


def test_a_start_that_has_come_is_no_wait() -> None:
    placement = Placement("train", 1, OFFER, start_after=NOW)
    assert planned.start_of(Plan((placement,), (), 1, 1), NOW) == (None, "")


def test_orders_are_made_together_when_every_machine_can_take_one() -> None:
    rows = advance(world(rank(0), rank(1), spec={"run": "x", "setup": "y", "envs": {"A": "1"}}))
    orders = [row for row in rows if isinstance(row, Order)]
    assert one(rows, Run).state is RunState.RUNNING
    assert [(each.lease_id, each.attempt_id, each.node_id) for each in orders] == [
        ("ls_0", "at_0", "nd_0"),
        ("ls_1", "at_1", "nd_1"),
    ]
    assert orders[1].spec == {
        "name": "train",
        "setup": "y",
        "run": "x",
        "envs": {
            "A": "1",
            "BROKER_RUN_ID": "run_1",
            "BROKER_NODE_RANK": "1",
            "BROKER_NUM_NODES": "2",
            "BROKER_NODE_IPS": "10.0.0.0\n10.0.0.1",
        },
    }


def test_addresses_are_left_out_when_one_is_not_known() -> None:
    lease, node, _ = rank(0)
    assert node
    rows = advance(world((lease, replace(node, address=""), None)))
    assert "BROKER_NODE_IPS" not in one(rows, Order).spec["envs"]


def test_nothing_starts_before_every_machine_is_there() -> None:
    lease, node, _ = rank(1)
    assert lease.attempt
    given_up = replace(lease, attempt=replace(lease.attempt, abandoned="silent"))
    for other in (
        rank(1, node=None),
        rank(1, node=NodeState.INVITED),
        rank(1, state=LeaseState.STARTING),
        rank(1, state=LeaseState.PENDING, attempt=None),
        (given_up, node, None),
    ):
        assert advance(world(rank(0), other)) == []
    assert advance(world()) == []


def test_an_edge_node_takes_the_order_of_the_lease_that_chose_it() -> None:
    edge = make_offer("eu-1a", cloud="edge", node_id="nd_edge")
    lease, _, _ = rank(0, attempt=Attempt("at_0", edge, START, "nd_edge", launched_at=NOW))
    node = Node("nd_edge", "pi", "edge", START, NodeState.ONLINE)
    assert one(advance(world((lease, node, None))), Order).node_id == "nd_edge"


# ----------------------------------------------------------------------------------- ending work


@pytest.mark.parametrize(
    ("code", "detail", "reason"),
    [(3, "", "rank 1: exit code 3"), (None, "no bash", "rank 1: failed (no bash)")],
)
def test_a_failed_rank_fails_the_run_when_the_others_have_ended(
    code: int | None, detail: str, reason: str
) -> None:
    lease, node, order = rank(1, OrderState.FAILED)
    assert order
    failed = (lease, node, replace(order, exit_code=code, detail=detail))
    first = advance(world(rank(0, OrderState.RUNNING), failed, state=RunState.RUNNING))
    assert [(row.id, row.wanted) for row in first if isinstance(row, Order)] == [("or_0", False)]
    lease0, node0, order0 = rank(0, OrderState.RUNNING)
    assert order0
    stopping = (lease0, node0, replace(order0, wanted=False))
    assert advance(world(stopping, failed, state=RunState.RUNNING)) == []
    closing = one(advance(world(rank(0, OrderState.CANCELLED), failed)), Run)
    assert (closing.state, closing.outcome) == (RunState.CLOSING, RunState.FAILED)
    assert (closing.reason, closing.closing_at) == (reason, NOW)


def killed(ago: timedelta, **more: Any) -> tuple[Lease, Node | None, Order | None]:
    lease, node, order = rank(0, OrderState.FAILED, **more)
    assert order
    return lease, node, replace(order, exit_code=143, finished_at=NOW - ago)


def test_killed_work_is_no_failure_until_the_cloud_had_time_to_tell_of_its_machine() -> None:
    assert advance(world(killed(1 * S), state=RunState.RUNNING)) == []
    late = advance(world(killed(60 * S), state=RunState.RUNNING))
    assert one(late, Run).outcome is RunState.FAILED
    other_end = replace(killed(1 * S)[2], exit_code=3)  # type: ignore[type-var]
    lease, node, _ = killed(1 * S)
    soon = advance(world((lease, node, other_end), state=RunState.RUNNING))
    assert one(soon, Run).outcome is RunState.FAILED


def test_work_that_was_killed_with_its_machine_is_done_again_on_the_next() -> None:
    """The agent said "failed" with its last breath; the lease is on another machine by now."""
    moved = killed(60 * S, attempt=Attempt("at_new", OTHER, START, "i-new", launched_at=NOW))
    rows = advance(world(moved, state=RunState.RUNNING))
    assert not [row for row in rows if isinstance(row, Run) and row.outcome]
    waiting = killed(60 * S, state=LeaseState.PENDING, attempt=None)
    assert one(advance(world(waiting, state=RunState.RUNNING)), Run).state is RunState.PENDING


def test_a_rank_that_failed_because_another_machine_was_lost_restarts_the_run() -> None:
    gone = rank(0, OrderState.LOST, state=LeaseState.PENDING, attempt=None)
    rows = advance(world(gone, rank(1, OrderState.FAILED), state=RunState.RUNNING))
    assert one(rows, Run).state is RunState.PENDING
    assert advance(world(gone, rank(1, OrderState.FAILED), state=RunState.PENDING)) == []
    again = advance(world(rank(0, OrderState.LOST), rank(1, OrderState.FAILED)))
    assert sum(isinstance(row, Order) for row in again) == 2


def test_an_order_whose_machine_is_no_longer_its_leases_is_lost() -> None:
    lease, node, order = rank(0, OrderState.RUNNING)
    assert lease.attempt
    moved = replace(lease, attempt=replace(lease.attempt, id="at_9"))
    for other in (moved, replace(lease, attempt=None), replace(lease, state=LeaseState.CLOSED)):
        rows = advance(world((other, node, order), state=RunState.RUNNING))
        assert one(rows, Order).state is OrderState.LOST
        assert one(rows, Event).kind == "order.lost"


def test_a_lease_that_failed_fails_the_run_in_the_providers_words() -> None:
    rows = advance(
        world(rank(0), rank(1, state=LeaseState.FAILED, attempt=None, reason="no capacity: x"))
    )
    assert (one(rows, Run).outcome, one(rows, Run).reason) == (RunState.FAILED, "no capacity: x")


def test_a_lease_that_somebody_gave_back_ends_the_run() -> None:
    rows = advance(world(rank(0), rank(1, wanted=False)))
    assert one(rows, Run).outcome is RunState.CANCELLED


def test_an_ended_run_takes_no_step() -> None:
    assert advance(world(rank(0), state=RunState.FAILED)) == []


# ------------------------------------------------------------------------------------------ closing


def closing(*ranks: Any, **run: Any) -> World:
    return world(
        *ranks,
        **{"state": RunState.CLOSING, "outcome": RunState.SUCCEEDED, "closing_at": NOW, **run},
    )


def test_a_cancelled_run_takes_its_orders_back_before_its_leases() -> None:
    first = advance(world(rank(0, OrderState.RUNNING), wanted=False))
    assert one(first, Run).outcome is RunState.CANCELLED
    assert one(first, Run).reason == "cancelled"
    assert one(first, Order).wanted is False
    lease, node, order = rank(0, OrderState.RUNNING)
    assert order
    stopping = (lease, node, replace(order, wanted=False))
    assert advance(closing(stopping)) == []
    given_back = advance(closing(stopping, closing_at=NOW - 20 * S))
    assert one(given_back, Lease).wanted is False
    assert one(advance(closing(rank(0, OrderState.CANCELLED))), Lease).wanted is False


def test_a_closing_run_takes_back_an_order_that_came_late() -> None:
    assert one(advance(closing(rank(0, OrderState.RUNNING))), Order).wanted is False


def test_a_run_ends_only_when_all_its_machines_are_gone() -> None:
    assert advance(closing(rank(0, wanted=False, state=LeaseState.CLOSING))) == []
    done = rank(
        0,
        OrderState.SUCCEEDED,
        wanted=False,
        state=LeaseState.CLOSED,
        usd_spent=Decimal(2),
        closed_at=NOW,
    )
    run = one(advance(closing(done)), Run)
    assert (run.state, run.ended_at) == (RunState.SUCCEEDED, NOW)
    assert run.result == {"usd_spent": "2"}
    assert one(advance(closing(done, outcome=None)), Run).state is RunState.CANCELLED


def test_keep_leaves_the_machines_unless_the_run_is_cancelled() -> None:
    kept = one(advance(closing(rank(0, OrderState.SUCCEEDED), keep=True)), Run)
    assert kept.state is RunState.SUCCEEDED
    for more in ({"outcome": RunState.CANCELLED}, {"wanted": False}):
        rows = advance(closing(rank(0, OrderState.SUCCEEDED), keep=True, **more))
        assert one(rows, Lease).wanted is False


# --------------------------------------------------------------------------------- agents and money


def test_a_silent_node_is_lost_and_a_talking_one_is_online() -> None:
    node = Node("nd_1", "n", "cloud", START, NodeState.ONLINE, seen_at=NOW - 31 * S)
    changed = runs.node_states([node], NOW, 30 * S)
    assert [each.state for each in changed] == [NodeState.LOST]
    back = replace(changed[0], seen_at=NOW - 30 * S)
    assert [each.state for each in runs.node_states([back], NOW, 30 * S)] == [NodeState.ONLINE]
    assert runs.node_states([back, node], NOW, 31 * S)[0].state is NodeState.ONLINE
    assert runs.node_states([replace(node, seen_at=None)], NOW, 30 * S)[0].state is NodeState.LOST


def test_silence_while_the_broker_did_not_listen_says_nothing() -> None:
    node = Node("nd_1", "n", "cloud", START, NodeState.ONLINE, seen_at=START)
    assert runs.node_states([node], NOW, 30 * S, since=NOW - 30 * S) == []
    lost = replace(node, state=NodeState.LOST)
    assert runs.node_states([lost], NOW, 30 * S, since=NOW) == []


def test_a_machine_whose_agent_never_comes_is_given_up() -> None:
    silent = rank(0, node=None)
    assert silent[0].attempt
    old = replace(silent[0].attempt, launched_at=NOW - 601 * S)
    rows = advance(world((replace(silent[0], attempt=old), None, None)))
    assert one(rows, Lease).attempt.abandoned == "its agent was not heard for 600 s"
    assert one(rows, Event).kind == "lease.abandoned"
    young = replace(old, launched_at=NOW - 600 * S)
    assert advance(world((replace(silent[0], attempt=young), None, None))) == []
    listening = replace(world((replace(silent[0], attempt=old), None, None)), listening_since=NOW)
    assert advance(listening) == []


def test_a_run_is_taken_back_when_its_budget_is_spent() -> None:
    spec = {"run": "x", "budget_usd": "0.02"}
    rows = runs.overspent(world(rank(0), rank(1), spec=spec))
    assert one(rows, Run).wanted is False
    assert one(rows, Run).reason == "the budget of 0.02 $ is reached"
    assert runs.overspent(world(rank(0), spec=spec)) == []
    assert runs.overspent(world(rank(0), rank(1), spec={"run": "x", "budget_usd": None})) == []
    assert runs.overspent(world(rank(0), rank(1), spec=spec, wanted=False)) == []
    assert runs.overspent(world(rank(0), rank(1), spec=spec, state=RunState.FAILED)) == []
    reason = one(advance(world(rank(0), wanted=False, reason="the budget is reached")), Run).reason
    assert reason == "the budget is reached"


# ------------------------------------------------------------------------------------ whole lives


def test_a_task_runs_and_gives_its_machines_back() -> None:
    stage = Stage()
    run = stage.up(nodes=2)
    stage.durations[run] = 3
    stage.until(lambda: stage.run(run).state is RunState.SUCCEEDED)
    assert all(lease.state is LeaseState.CLOSED for lease in stage.leases())
    assert stage.machines() == []
    assert Decimal(stage.run(run).result["usd_spent"]) > 0


def test_a_preempted_rank_restarts_all_of_them_elsewhere() -> None:
    stage = Stage()
    run = stage.up(nodes=2)
    stage.until(lambda: stage.run(run).state is RunState.RUNNING)
    stage.tick(2)
    stage.cloud.preempt(stage.machines()[0].id)
    stage.cloud.capacity["eu-1a"] = 1
    stage.until(lambda: len(stage.orders(run)) == 4)
    old, new = stage.orders(run)[:2], stage.orders(run)[2:]
    assert [order.state for order in old] == [OrderState.LOST, OrderState.CANCELLED]
    assert all(order.state not in ENDED for order in new)
    stage.durations[run] = 1
    stage.until(lambda: stage.run(run).state is RunState.SUCCEEDED)
    assert stage.broken_at_rest() == []


def test_a_silent_agents_machine_is_replaced() -> None:
    stage = Stage()
    run = stage.up()
    stage.tick()
    first = stage.machines()[0].id
    stage.mute.add(first)
    stage.until(lambda: stage.run(run).state is RunState.RUNNING, most=300)
    assert [machine.id for machine in stage.machines()] != [first]
    assert stage.lease().failed == {OFFER.key: "its agent was not heard for 600 s"}


def test_a_task_that_finds_no_machine_fails_and_holds_nothing() -> None:
    stage = Stage()
    stage.cloud.capacity = {"us-1a": 0}
    stage.cloud.fail("launch", CapacityError("sold out"), times=2)
    run = stage.up(nodes=1)
    stage.until(lambda: stage.run(run).state is RunState.FAILED)
    assert stage.run(run).reason.startswith("no capacity: sim/eu-1a/m5/spot: sold out; ")
    assert all(lease.state in FINAL for lease in stage.leases())


def test_down_cancels_the_work_and_waits_for_the_machines() -> None:
    stage = Stage()
    run = stage.up(nodes=2)
    stage.until(lambda: stage.run(run).state is RunState.RUNNING)
    stage.tick(2)
    stage.down(run)
    stage.until(lambda: stage.run(run).state is RunState.CANCELLED)
    assert {order.state for order in stage.orders(run)} == {OrderState.CANCELLED}
    assert stage.machines() == []
