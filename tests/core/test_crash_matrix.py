"""Law: a crash before or after any call to ledger or cloud leaks, doubles and loses nothing.

Each scenario is run once to count the calls of the engine, then once for each call and side of it
with a crash there; a new engine then takes over the same ledger and cloud until all has settled.
The control: a protocol that is broken on purpose, as a hasty edit would, fails the same plays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker import converge, effects, sweep
from broker.actions import Launch, Save
from broker.engine import Engine
from broker.errors import BrokerError, CapacityError
from broker.model import LeaseState
from broker.ports import Provider
from providers.fake import Habits
from tests.core.stage import Crasher, CrashError, Stage

Patch = pytest.MonkeyPatch
Scenario = Callable[[Stage], Callable[[], bool]]

CLOUDS = {
    "honest": Habits(),
    "slow to show": Habits(lag=2, boot=1, stop=1),
    "ignores tokens": Habits(honours_tokens=False, lag=1),
}


def up(stage: Stage) -> Callable[[], bool]:
    stage.up()
    return stage.running


def up_with_a_lost_reply(stage: Stage) -> Callable[[], bool]:
    stage.up()
    stage.cloud.fail("launch", when="after")
    return stage.running


def up_of_three(stage: Stage) -> Callable[[], bool]:
    stage.up(nodes=3)
    stage.cloud.capacity = {"eu-1a": 1, "eu-1b": 1}
    return stage.running


def failover(stage: Stage) -> Callable[[], bool]:
    stage.up()
    stage.cloud.capacity = {"eu-1a": 0}
    stage.cloud.fail("launch", CapacityError("sold out by the provider's words"))
    return stage.running


def failover_after_an_unknown_outcome(stage: Stage) -> Callable[[], bool]:
    """The first request is late, the second one is refused: the first one still makes a machine."""
    stage.up()
    stage.cloud.fail("launch", when="late")
    stage.cloud.fail("launch", CapacityError("sold out meanwhile"))
    return stage.running


def down(stage: Stage) -> Callable[[], bool]:
    run = stage.up()
    stage.until(stage.running)
    stage.tick()
    stage.down(run)
    return lambda: all(lease.state is LeaseState.CLOSED for lease in stage.leases())


def down_while_unknown(stage: Stage) -> Callable[[], bool]:
    run = stage.up()
    stage.cloud.fail("launch", when="after")
    stage.tick()
    stage.down(run)
    return lambda: all(lease.state is LeaseState.CLOSED for lease in stage.leases())


def down_with_deaf_cloud(stage: Stage) -> Callable[[], bool]:
    stage.cloud.fail("terminate", when="before")
    return down(stage)


def down_with_a_late_launch(stage: Stage) -> Callable[[], bool]:
    """The request arrives when the lease has long been closed."""
    stage.cloud.habits = replace(stage.cloud.habits, late=timedelta(seconds=75))
    run = stage.up()
    stage.cloud.fail("launch", when="late")
    stage.tick()
    stage.down(run)
    return lambda: all(lease.state is LeaseState.CLOSED for lease in stage.leases())


def up_with_failing_listings(stage: Stage) -> Callable[[], bool]:
    stage.up()
    stage.until(stage.running)
    stage.clock.advance(timedelta(seconds=60))
    stage.cloud.fail("instances", times=2)
    return lambda: stage.running() and stage.cloud.settled


def recover(stage: Stage) -> Callable[[], bool]:
    stage.up()
    stage.until(stage.running)
    stage.tick()
    stage.cloud.preempt(stage.machines()[0].id)
    return lambda: stage.running() and stage.lease().preemptions == 1


SCENARIOS = [
    up,
    up_with_a_lost_reply,
    up_of_three,
    failover,
    failover_after_an_unknown_outcome,
    down,
    down_while_unknown,
    down_with_deaf_cloud,
    down_with_a_late_launch,
    up_with_failing_listings,
    recover,
]


def play(stage: Stage, scenario: Scenario, crasher: Crasher) -> list[str]:
    """A scenario over a crasher, then a fresh engine until all rests; what is broken on the way."""
    done = scenario(stage)
    stage.boot(crasher)
    broken: list[str] = []
    try:
        for _ in range(60):
            if done():
                break
            stage.tick()
            broken += stage.broken_now()
    except CrashError:
        stage.clock.advance(timedelta(seconds=2))
        broken += stage.broken_now()
    stage.boot()
    return broken + stage.settle() + stage.broken_at_rest()


def plays(scenario: Scenario, habits: Habits) -> Iterator[str]:
    """Every play of a scenario, one for each call and side of it; what is broken, and where."""
    counter = Crasher()
    yield from (f"without a crash: {one}" for one in play(Stage(habits), scenario, counter))
    for at in range(1, counter.calls + 1):
        for after in (False, True):
            here = Crasher(at, after)
            for one in play(Stage(habits), scenario, here):
                yield f"call {at} ({here.log[-1]}), after={after}: {one}"


@pytest.mark.parametrize("habits", CLOUDS.values(), ids=CLOUDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_crash_at_any_call_leaves_nothing_behind(scenario: Scenario, habits: Habits) -> None:
    assert list(plays(scenario, habits)) == []


# ------------------------------------------------------------------------------------ planted bugs


def token_made_anew(patch: Patch) -> None:
    right, numbers = converge._resolve, iter(range(10**6))

    def resolve(*args: Any) -> Any:
        action = right(*args)
        if not isinstance(action, Launch):
            return action
        attempt = replace(action.attempt, id=f"{action.attempt.id}x{next(numbers)}")
        return Launch(replace(action.lease, attempt=attempt), attempt, action.note)

    patch.setattr(converge, "_resolve", resolve)


def unknown_is_failure(patch: Patch) -> None:
    def uncertain(lease: Any, words: str, now: Any, limits: Any) -> Save:
        failed = {**lease.failed, lease.attempt.offer.key: words}
        return Save(replace(lease, attempt=None, state=LeaseState.PENDING, failed=failed))

    patch.setattr(converge, "uncertain", uncertain)


def forgotten_when_absent(patch: Patch) -> None:
    right = converge._resolve

    def resolve(lease: Any, attempt: Any, found: Any, now: Any, limits: Any) -> Any:
        if found or not lease.wanted:
            return right(lease, attempt, found, now, limits)
        return Save(replace(lease, attempt=None, state=LeaseState.PENDING))

    patch.setattr(converge, "_resolve", resolve)


def refusal_after_unknown_is_definite(patch: Patch) -> None:
    def refused(lease: Any, error: Any, now: Any) -> Save:
        return Save(converge._without(lease, lease.attempt, error.message))

    patch.setattr(converge, "refused", refused)


def no_patience_with_slow_listings(patch: Patch) -> None:
    patch.setattr(converge, "_may_be_unseen", lambda *args: False)


def no_orphan_sweep(patch: Patch) -> None:
    patch.setattr(sweep, "sweep", lambda *args: sweep.Verdict((), {}))


def swept_without_looking_at_the_ledger(patch: Patch) -> None:
    """The sweep believes that no lease holds anything."""
    patch.setattr(sweep, "_orphaned", lambda item, ledger: "no lease")


def closed_when_asked(patch: Patch) -> None:
    right = converge._end

    def end(lease: Any, attempt: Any, now: Any, limits: Any) -> Any:
        if attempt.terminate_asked_at and not lease.wanted:
            return converge._closed(lease, now)
        return right(lease, attempt, now, limits)

    patch.setattr(converge, "_end", end)


def launched_before_it_is_written(patch: Patch) -> None:
    right = effects.Effects._write

    def write(self: Any, action: Any, place: str = "") -> Any:
        if isinstance(action, Launch):
            provider: Provider = self.providers[action.attempt.offer.cloud]
            words = (action.attempt.id, action.lease.id, self.user_data(action.lease))
            with contextlib.suppress(BrokerError):
                provider.launch(action.attempt.offer, *words)
        return right(self, action, place)

    patch.setattr(effects.Effects, "_write", write)


def unlisted_is_empty(patch: Patch) -> None:
    right = Engine._list

    def listed(self: Any, now: Any) -> Any:
        listings, unlisted = right(self, now)
        return {**dict.fromkeys(unlisted, ()), **listings}, {}

    patch.setattr(Engine, "_list", listed)


def closed_without_waiting_for_a_late_launch(patch: Patch) -> None:
    """Alone it leaks nothing, because the sweep finds what is late; without the sweep it would."""
    patch.setattr(
        converge, "_let_go", lambda lease, attempt, now, limits: converge._closed(lease, now)
    )
    no_orphan_sweep(patch)


BUGS: dict[Callable[[Patch], None], Scenario] = {  # with the scenario that shows it
    token_made_anew: up_with_a_lost_reply,
    unknown_is_failure: up_with_a_lost_reply,
    forgotten_when_absent: up_with_a_lost_reply,
    refusal_after_unknown_is_definite: failover_after_an_unknown_outcome,
    no_patience_with_slow_listings: up,
    no_orphan_sweep: down_with_a_late_launch,
    swept_without_looking_at_the_ledger: up,
    closed_when_asked: down_with_deaf_cloud,
    launched_before_it_is_written: up,
    unlisted_is_empty: up_with_failing_listings,
    closed_without_waiting_for_a_late_launch: down_while_unknown,
}


@pytest.mark.parametrize(("bug", "scenario"), BUGS.items(), ids=[each.__name__ for each in BUGS])
def test_a_planted_bug_is_caught(
    monkeypatch: Patch, bug: Callable[[Patch], None], scenario: Scenario
) -> None:
    bug(monkeypatch)
    assert any(_caught(scenario, habits) for habits in CLOUDS.values()), "nothing was noticed"


def _caught(scenario: Scenario, habits: Habits) -> bool:
    try:
        return next(plays(scenario, habits), None) is not None
    except AssertionError:
        return True  # it never came to rest
