"""Law: nobody waits for ever, nothing is asked for beside itself, many things happen at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from broker import runs
from broker.engine import Engine, Pace
from broker.errors import BrokerError, CapacityError
from broker.model import Event, LeaseState
from broker.store import MemoryStore
from providers.fake import FakeCloud, Habits
from tests.core.stage import START, TICK, Stage

S = timedelta(seconds=1)


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def threaded(stage: Stage, **pace: Any) -> Engine:
    return Engine(
        stage.store,
        stage.clouds,
        {"task": runs.advance},
        lambda lease: "join",
        pace=Pace(**{"threads": 8, "list_timeout_s": 10, "effect_timeout_s": 10, **pace}),
    )


def kinds(stage: Stage, prefix: str = "") -> list[str]:
    return [row.kind for row in stage.store.find(Event) if row.kind.startswith(prefix)]


def test_a_cloud_that_cannot_be_listed_stops_only_its_own_leases() -> None:
    stage = Stage(clouds=("one", "two"))
    stage.up([offer for offer in stage.offers if offer.cloud == "one"])
    stage.up([offer for offer in stage.offers if offer.cloud == "two"])
    stage.until(stage.running)
    stage.clouds["one"].fail("instances", CapacityError("throttled"), times=3)
    for machine in stage.machines():
        stage.clouds[machine.offer.cloud].vanish(machine.id)
    stage.clock.advance(60 * S)
    report = stage.tick()
    assert report.unlisted == {"one": "throttled"}
    assert [lease.preemptions for lease in stage.leases()] == [0, 1]
    stage.tick(4)
    assert kinds(stage, "cloud.") == ["cloud.unlisted", "cloud.listed"]


def test_a_listing_that_hangs_is_not_waited_for_and_not_doubled() -> None:
    stage, gate = Stage(clouds=("one", "two")), threading.Event()
    stage.clouds["one"].fail("instances", gate=gate)
    engine = threaded(stage, list_timeout_s=0.05)
    stage.up([offer for offer in stage.offers if offer.cloud == "two"])
    for seconds in (0, 100):
        report = engine.tick(START + seconds * S)
        assert report.unlisted == {"one": "it does not answer"}
    assert len(stage.clouds["one"].calls_of("instances")) == 1
    assert stage.running()
    gate.set()
    until(lambda: not engine.tick(START + 200 * S).unlisted)


def test_a_launch_that_hangs_writes_its_outcome_when_it_comes_back() -> None:
    stage, gate = Stage(), threading.Event()
    stage.cloud.fail("launch", gate=gate)
    engine = threaded(stage, effect_timeout_s=0.05)
    stage.up()
    assert engine.tick(START).problems == ("ls_0000_0: still waiting for its cloud",)
    engine.tick(START + 60 * S)
    assert len(stage.cloud.calls_of("launch")) == 1, "it is not asked for beside itself"
    gate.set()
    until(lambda: stage.lease().state is LeaseState.STARTING)


def test_effects_that_no_thread_was_free_for_are_done_in_the_next_tick() -> None:
    stage, gate = Stage(), threading.Event()
    stage.cloud.fail("launch", gate=gate)
    engine = threaded(stage, effect_timeout_s=0.05, threads=1)
    stage.up(nodes=2)
    engine.tick(START)
    gate.set()
    until(lambda: stage.leases()[0].state is LeaseState.STARTING)
    until(lambda: bool(engine.tick(START + 10 * S)) and stage.running())


def test_many_leases_are_launched_at_once() -> None:
    stage, barrier = Stage(), threading.Barrier(8, timeout=10)

    class Together(FakeCloud):
        def launch(self, *args: Any) -> Any:
            barrier.wait()
            return super().launch(*args)

    stage.clouds["sim"] = Together("sim", stage.offers, stage.clock.now)
    stage.up(nodes=8)
    threaded(stage).tick(START)
    assert len(stage.machines()) == 8


def test_two_engines_on_one_ledger_make_each_machine_once() -> None:
    stage = Stage(Habits(honours_tokens=False))
    stage.up(nodes=20)
    engines = [threaded(stage) for _ in range(2)]
    for round_ in range(4):
        now = START + round_ * TICK
        ticks = [threading.Thread(target=engine.tick, args=(now,)) for engine in engines]
        for tick in ticks:
            tick.start()
        for tick in ticks:
            tick.join()
    assert stage.running()
    assert len(stage.machines()) == 20


def test_a_crash_in_a_thread_is_a_crash_of_the_tick() -> None:
    stage = Stage()
    stage.cloud.fail("launch", KeyboardInterrupt())
    stage.up()
    with pytest.raises(KeyboardInterrupt):
        threaded(stage).tick(START)


def test_a_ledger_that_fails_ends_the_tick_before_anything_is_launched() -> None:
    stage = Stage()
    stage.up()

    class Full(MemoryStore):
        find = stage.store.find

        def commit(self, *rows: Any) -> Any:
            raise BrokerError("no space left")

    engine = Engine(Full(), stage.clouds, {}, lambda lease: "")
    with pytest.raises(BrokerError, match="no space left"):
        engine.tick(START)
    assert stage.machines() == []


def test_a_lease_whose_cloud_is_not_configured_waits() -> None:
    stage = Stage(clouds=("one", "two"))
    stage.up()
    stage.until(stage.running)
    held = stage.clouds.pop("one")
    stage.boot()
    stage.clock.advance(600 * S)
    stage.tick(3)
    assert stage.running()
    assert len(held.alive()) == 1


def test_a_slow_listing_proves_absence_only_for_when_it_began() -> None:
    """A machine made ten seconds before a listing that took a minute may not be shown by it."""
    stage, hands = Stage(Habits(lag=9)), iter([0.0] * 40 + [60.0] * 1000)
    stage.up()
    engine = Engine(
        stage.store,
        stage.clouds,
        {},
        lambda lease: "",
        pace=Pace(threads=0),
        monotonic=lambda: next(hands),
    )
    engine.tick(START)
    engine.tick(START + 10 * S)
    engine.tick(START + 20 * S)
    assert stage.lease().preemptions == 0
