"""Law: the fake cloud goes wrong exactly as it is told to, once, and otherwise keeps its word."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from broker.errors import CapacityError, NotFoundError, RequestError, UnknownOutcomeError
from broker.model import InstanceState
from providers.fake import FakeCloud, Habits
from tests.core.stage import Clock, make_offer

A, B = make_offer("eu-1a"), make_offer("eu-1b")


def cloud(clock: Clock | None = None, **habits: Any) -> FakeCloud:
    return FakeCloud("sim", [A, B], (clock or Clock()).now, Habits(**habits))


def launch(sim: FakeCloud, token: str = "at_1", **more: Any) -> Any:
    return sim.launch(more.get("offer", A), token, more.get("lease_id", "ls_1"), "data")


def states(sim: FakeCloud) -> list[InstanceState]:
    return [item.state for item in sim.instances()]


def test_the_same_token_gives_the_same_machine_and_another_request_is_refused() -> None:
    sim = cloud()
    assert launch(sim).id == launch(sim).id
    with pytest.raises(RequestError, match="belongs to another request"):
        launch(sim, offer=B)
    assert len(sim.alive()) == 1


def test_tokens_can_be_ignored() -> None:
    sim = cloud(honours_tokens=False)
    assert launch(sim).id != launch(sim).id


@pytest.mark.parametrize("name", ["eu-1a", "eu-1", A.key])
def test_scarcity_is_state_and_sold_out_offers_stay_listed(name: str) -> None:
    sim = cloud()
    sim.capacity[name] = 1
    first = launch(sim)
    with pytest.raises(CapacityError, match="no capacity for m5"):
        launch(sim, "at_2")
    assert [offer.available for offer in sim.offers()] == [False, name != "eu-1"]
    sim.preempt(first.id)
    assert launch(sim, "at_2").id != first.id


def test_a_machine_is_shown_late_and_lives_through_its_states() -> None:
    sim = cloud(lag=1, boot=1, stop=1, linger=1)
    name = launch(sim).id
    with pytest.raises(NotFoundError):
        sim.terminate(name)
    assert [states(sim) for _ in range(3)] == [
        [],
        [InstanceState.PENDING],
        [InstanceState.RUNNING],
    ]
    sim.terminate(name)
    sim.terminate(name)
    assert [states(sim) for _ in range(3)] == [[InstanceState.STOPPING], [InstanceState.GONE], []]
    with pytest.raises(NotFoundError, match="there is no machine"):
        sim.terminate(name)


def test_a_fault_strikes_once_before_or_after_the_act() -> None:
    sim = cloud()
    sim.fail("launch", CapacityError("sold out"))
    with pytest.raises(CapacityError, match="sold out"):
        launch(sim)
    assert sim.alive() == []
    sim.fail("launch", when="after")
    with pytest.raises(UnknownOutcomeError):
        launch(sim)
    assert [machine.id for machine in sim.alive()] == [launch(sim).id]


def test_a_late_request_acts_in_its_own_time_and_nobody_hears_of_it() -> None:
    clock = Clock()
    sim = cloud(clock, late=timedelta(seconds=10))
    sim.capacity["eu-1a"] = 1
    for token in ("at_1", "at_2"):
        sim.fail("launch", when="late")
        with pytest.raises(UnknownOutcomeError):
            launch(sim, token)
    assert not sim.settled
    clock.advance(timedelta(seconds=9))
    assert sim.instances() == []
    clock.advance(timedelta(seconds=1))
    assert [machine.token for machine in sim.alive()] == ["at_1"]
    assert sim.settled


def test_a_gate_holds_a_call_until_it_is_opened() -> None:
    sim, gate, done = cloud(), threading.Event(), threading.Event()
    sim.fail("instances", gate=gate)
    threading.Thread(target=lambda: (sim.instances(), done.set()), daemon=True).start()
    assert not done.wait(0.02)
    assert sim.alive() == []
    gate.set()
    assert done.wait(5)


def test_strangers_are_never_listed_and_a_vanished_machine_no_more() -> None:
    sim = cloud()
    stranger, ours = sim.add_foreign(A), launch(sim)
    assert [item.id for item in sim.instances()] == [ours.id]
    sim.vanish(ours.id)
    assert sim.instances() == []
    assert sim.alive("somebody else") == [stranger]


def test_every_call_is_recorded_with_its_time() -> None:
    clock = Clock()
    sim = cloud(clock)
    name = launch(sim).id
    clock.advance()
    sim.terminate(name)
    assert [(call.verb, call.args[-1]) for call in sim.calls] == [
        ("launch", "data"),
        ("terminate", name),
    ]
    assert sim.calls_of("terminate")[0].at - sim.calls[0].at == timedelta(seconds=5)
