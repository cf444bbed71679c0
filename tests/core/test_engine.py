"""Law: a tick lists before it reads, writes before it acts, and one fault stops nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from broker import converge, runs
from broker.engine import Engine, Pace
from broker.errors import AuthError, BrokerError, NotFoundError
from broker.ids import new_id
from broker.model import Account, Event, Lease, LeaseState, Node, NodeState, Run, RunState
from broker.store import MemoryStore
from providers.fake import FakeCloud, Habits
from tests.core.stage import START, TICK, Clock, Stage, make_offer

S = timedelta(seconds=1)


def kinds(stage: Stage, prefix: str = "") -> list[str]:
    return [row.kind for row in stage.store.find(Event) if row.kind.startswith(prefix)]


# ------------------------------------------------------------------------------------- the order


def test_every_cloud_is_listed_before_the_leases_are_read_that_decide() -> None:
    stage = Stage(clouds=("one", "two"))
    stage.up()
    stage.tick()
    log = stage.crasher.log
    listed = [at for at, name in enumerate(log) if name == "instances"]
    assert log[: listed[0]] == ["find"], "only which clouds to list"
    assert log[listed[0] : listed[-1] + 4] == ["instances", "instances", "find", "find", "commit"]


def test_every_change_of_a_lease_is_written_with_its_event() -> None:
    stage = Stage()
    run = stage.up()
    stage.until(stage.running)
    stage.tick(2)
    stage.cloud.preempt(stage.machines()[0].id)
    stage.until(lambda: stage.lease().preemptions == 1 and stage.running())
    stage.down(run)
    stage.settle()
    once = ["lease.launching", "lease.launched", "lease.running"]
    end = ["lease.closing", "lease.closed"]
    assert kinds(stage, "lease.") == [*once, "lease.preempted", *once, *end]
    told = stage.store.find(Event)
    assert [event.at for event in told] == sorted(event.at for event in told)
    assert {event.subject for event in told if event.kind.startswith("lease.")} == {"ls_0000_0"}


def test_a_refused_lease_tries_its_next_offer_in_the_same_tick() -> None:
    stage = Stage()
    stage.cloud.capacity = {"eu-1a": 0, "eu-1b": 0}
    stage.up()
    stage.tick()
    assert [machine.offer.zone for machine in stage.machines()] == ["us-1a"]
    assert len(stage.lease().failed) == 2


def test_a_report_is_true_while_something_changes_or_is_under_way() -> None:
    stage = Stage(Habits(boot=3))
    assert not stage.tick()
    stage.up()
    while not stage.running():
        assert stage.tick()
    stage.tick(3)
    assert not stage.tick()


def test_quiet_clouds_are_listed_now_and_then_only() -> None:
    stage = Stage(clouds=("one", "two"))
    stage.up([offer for offer in stage.offers if offer.cloud == "one"])
    stage.tick(13)
    listings = {name: len(cloud.calls_of("instances")) for name, cloud in stage.clouds.items()}
    assert listings == {"one": 13, "two": 5}


# ------------------------------------------------------------------------------ what comes back odd


def test_an_error_that_nobody_translated_counts_as_unknown() -> None:
    stage = Stage()
    stage.cloud.fail("launch", ValueError("truncated body"), "after")
    stage.up()
    stage.tick()
    assert stage.lease().reason == "outcome unknown: ValueError: truncated body"
    stage.until(stage.running)
    assert len(stage.machines()) == 1


def test_user_data_that_fails_is_asked_for_again_and_nothing_was_launched() -> None:
    stage = Stage()
    stage.up()
    faults = iter([BrokerError("no key")])

    def user_data(lease: Lease) -> str:
        for fault in faults:
            raise fault
        return "join"

    engine = Engine(stage.store, stage.clouds, {}, user_data, pace=Pace(threads=0))
    engine.tick(START)
    assert stage.lease().reason == "outcome unknown: no key"
    assert stage.cloud.calls_of("launch") == []
    engine.tick(START + 10 * S)
    assert stage.lease().state is LeaseState.STARTING


def test_a_wish_that_changes_during_a_launch_does_not_lose_its_outcome() -> None:
    stage = Stage()
    stage.up()

    class Meanwhile(FakeCloud):
        def launch(self, *args: Any) -> Any:
            made = super().launch(*args)
            stage.store.commit(replace(stage.lease(), wanted=False))
            return made

    stage.clouds["sim"] = Meanwhile("sim", stage.offers, stage.clock.now)
    stage.boot()
    stage.tick()
    lease = stage.lease()
    assert lease.attempt
    assert lease.attempt.instance_id
    stage.settle()
    assert stage.lease().state is LeaseState.CLOSED
    assert stage.machines() == []


def test_an_outcome_for_an_attempt_that_the_lease_no_longer_has_is_left_to_the_sweep() -> None:
    stage = Stage()
    stage.up()

    class Slow(FakeCloud):
        def launch(self, *args: Any) -> Any:
            made = super().launch(*args)
            if len(self.machines) == 1:
                stage.store.commit(replace(stage.lease(), attempt=None, state=LeaseState.PENDING))
            return made

    stage.clouds["sim"] = Slow("sim", stage.offers, stage.clock.now)
    stage.boot()
    stage.settle()
    assert stage.broken_at_rest() == []
    assert kinds(stage, "gc.") == ["gc.orphan"]


def test_a_lease_that_changes_faster_than_its_outcome_can_be_written_is_left_for_later() -> None:
    stage = Stage()
    stage.up()

    class Restless(MemoryStore):
        def commit(self, *rows: Any) -> Any:
            first = rows[0]
            if isinstance(first, Lease) and first.state is LeaseState.STARTING:
                stage.store.commit(replace(stage.lease(), reason="changed"))
            return stage.store.commit(*rows)

        def find(self, *args: Any, **equal: Any) -> Any:
            return stage.store.find(*args, **equal)

    Engine(Restless(), stage.clouds, {}, lambda lease: "", pace=Pace(threads=0)).tick(START)
    lease = stage.lease()
    assert lease.state is LeaseState.LAUNCHING
    stage.settle()
    assert stage.broken_at_rest() == []


def test_an_end_that_is_refused_is_told_and_asked_for_again() -> None:
    stage = Stage()
    run = stage.up()
    stage.until(stage.running)
    stage.cloud.fail("terminate", AuthError("access denied"), times=3)
    stage.down(run)
    stage.until(lambda: stage.lease().reason == "access denied")
    stage.settle()
    assert stage.lease().state is LeaseState.CLOSED
    assert kinds(stage, "lease.unconfirmed") == ["lease.unconfirmed"]


# ----------------------------------------------------------------------------------------- orphans


def stray(stage: Stage, lease_id: str = "ls_stray", token: str = "at_stray") -> str:
    return stage.cloud.launch(stage.offers[0], token, lease_id, "").id


def test_an_orphan_is_ended_and_told() -> None:
    stage = Stage()
    stage.up()
    stage.until(stage.running)
    orphan = stray(stage)
    foreign = stage.cloud.add_foreign(stage.offers[0])
    stage.settle()
    assert [machine.lease_id for machine in stage.machines()] == ["ls_0000_0"]
    (event,) = [row for row in stage.store.find(Event) if row.kind == "gc.orphan"]
    assert event.subject == orphan
    assert event.message == f"{orphan} in sim is ended: the ledger does not know its lease"
    assert foreign.alive
    assert [call.args[0] for call in stage.cloud.calls_of("terminate")] == [orphan]


def test_an_orphan_that_cannot_be_ended_is_told_and_tried_again() -> None:
    stage = Stage()
    stage.up()
    stage.until(stage.running)
    stray(stage)
    stage.cloud.fail("terminate", AuthError("access denied"))
    stage.cloud.fail("terminate", NotFoundError("not yet shown"))
    stage.settle()
    assert len(stage.machines()) == 1
    assert kinds(stage, "gc.") == ["gc.orphan", "gc.failed", "gc.orphan", "gc.orphan"]


def test_a_lost_ledger_ends_nothing_and_says_so_once() -> None:
    stage = Stage()
    for number in range(20):
        stray(stage, token=f"at_{number}")
    fuses = {stage.tick().fuse for _ in range(20)}
    assert fuses == {"", "the ledger is empty, yet 20 machines carry our tag; nothing is ended"}
    assert len(stage.machines()) == 20
    assert kinds(stage, "gc.") == ["gc.fuse"]
    stage.cloud.machines.clear()
    assert {stage.tick().fuse for _ in range(4)} == {""}
    for number in range(20, 24):
        stray(stage, token=f"at_{number}")
    stage.tick(20)
    assert kinds(stage, "gc.") == ["gc.fuse", "gc.fuse"]


def test_a_ledger_that_was_made_anew_ends_nothing_of_the_one_before() -> None:
    stage = Stage()
    stray(stage, new_id("ls", START, b"12345"))
    stage.store.commit(
        Lease(new_id("ls", START + 60 * S, b"12345"), "r", "task", 0, tuple(stage.offers), START)
    )
    assert any("replaced or restored" in stage.tick().fuse for _ in range(20))
    assert len(stage.machines()) == 2


# ----------------------------------------------------------------------------------- nodes and runs


def node(stage: Stage) -> Node:
    (found,) = stage.store.find(Node)
    return found


def test_a_nodes_state_follows_its_agent_and_its_machine() -> None:
    stage = Stage()
    run = stage.up()
    stage.until(lambda: stage.run(run).state is RunState.RUNNING)
    stage.mute.add(stage.machines()[0].id)
    stage.until(lambda: node(stage).state is NodeState.LOST)
    stage.mute.clear()
    stage.until(lambda: node(stage).state is NodeState.ONLINE)
    stage.down(run)
    stage.settle()
    assert node(stage).state is NodeState.GONE
    assert kinds(stage, "node.") == ["node.lost", "node.gone"]


def test_an_invited_node_of_a_machine_that_is_held_is_left_alone() -> None:
    stage = Stage()
    stage.up()
    stage.tick()
    attempt = stage.lease().attempt
    assert attempt
    stage.store.commit(
        Node("nd_1", "n", "cloud", START, attempt_id=attempt.id),
        Node("nd_2", "n", "cloud", START, attempt_id="at_past"),
        Node("nd_3", "n", "edge", START),
        Node("nd_4", "n", "cloud", START, NodeState.REVOKED, attempt_id="at_past"),
    )
    stage.engine.tick(stage.clock.now())
    states = {one.id: one.state for one in stage.store.find(Node)}
    assert states["nd_1"] is states["nd_3"] is NodeState.INVITED
    assert states["nd_2"] is NodeState.GONE
    assert states["nd_4"] is NodeState.REVOKED


def test_after_a_sleep_no_node_is_lost_for_its_silence_meanwhile() -> None:
    stage = Stage()
    run = stage.up()
    stage.until(lambda: stage.run(run).state is RunState.RUNNING)
    stage.clock.advance(timedelta(hours=8))
    stage.tick(2)
    assert node(stage).state is NodeState.ONLINE
    assert stage.running()
    assert kinds(stage, "lease.abandoned") == []


def test_a_run_whose_move_fails_stops_no_other() -> None:
    stage = Stage()
    for number, kind in enumerate(("broken", "strange", "task")):
        stage.store.commit(Run(f"run_{number}", kind, kind, {"run": "x"}, START, wanted=False))

    def broken(world: runs.World) -> list[Any]:
        raise KeyError("no such site")

    engine = Engine(stage.store, {}, {"broken": broken, "task": runs.advance}, lambda lease: "")
    assert engine.tick(START).problems == ("run_0: KeyError: 'no such site'",)
    assert [stage.run(f"run_{n}").state.value for n in range(3)] == [
        "pending",
        "pending",
        "closing",
    ]


def test_a_run_that_has_spent_its_budget_is_ended() -> None:
    stage = Stage()
    run = stage.up()
    stage.store.commit(replace(stage.run(run), spec={"run": "x", "budget_usd": "0.05"}))
    stage.until(lambda: stage.run(run).state is RunState.CANCELLED, most=100)
    assert stage.run(run).reason == "the budget of 0.05 $ is reached"
    assert stage.machines() == []


def test_the_clock_and_the_offers_of_the_stage_are_what_the_tests_assume() -> None:
    clock = Clock()
    clock.advance()
    assert clock.now() == START + TICK
    assert make_offer("eu-1a").region == "eu-1"


# --------------------------------------------------------------------------- waiting and settling


def test_a_run_that_waits_for_its_hour_keeps_no_cloud_and_no_engine_busy() -> None:
    stage = Stage()
    stage.up()
    stage.store.commit(replace(stage.lease(), not_before=START + 600 * S))
    stage.tick()
    reports = [stage.tick() for _ in range(10)]
    assert not any(report.unsettled or report.changed for report in reports)
    assert stage.crasher.log.count("instances") < 6, "only as often as a quiet cloud is listed"
    assert stage.machines() == []
    stage.clock.advance(600 * S)
    stage.until(stage.running)


def test_what_an_ended_run_held_is_settled_by_the_tick_that_ends_it() -> None:
    stage = Stage()
    run = stage.up()
    held = {run: Decimal(9), "run_gone": Decimal(1)}
    stage.store.commit(Account("b/p/2026-03/usd", "b", "p", "2026-03", "usd", Decimal(10), held))
    stage.until(stage.running)
    (account,) = stage.store.find(Account)
    assert account.held == {run: Decimal(9)}, "a run that is not there took nothing"
    stage.tick(3)
    stage.down(run)
    stage.settle()
    (account,) = stage.store.find(Account)
    assert account.held == {}
    assert account.settled == converge.cost(stage.lease(), stage.clock.now()) > 0
