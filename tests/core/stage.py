"""A stage for the engine: a clock that we move, clouds in memory, agents that do their orders."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from broker import runs
from broker.engine import Engine, Pace, TickReport
from broker.model import (
    ENDED,
    FINAL,
    RUN_ENDED,
    InstanceState,
    Lease,
    LeaseState,
    Market,
    Node,
    NodeState,
    Offer,
    Order,
    OrderState,
    Price,
    Run,
    RunState,
    Site,
)
from broker.store import MemoryStore
from providers.fake import FakeCloud, Habits

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(seconds=5)


HONEST = Habits()


class CrashError(BaseException):
    """The process dies here: nothing may catch it."""


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def advance(self, step: timedelta = TICK) -> None:
        self.time += step


@dataclass
class Crasher:
    """Counts the calls that go through it; dies at call `at`, before or after it took effect."""

    at: int | None = None
    after: bool = False
    calls: int = 0
    log: list[str] = field(default_factory=list)

    def call(self, name: str, act: Callable[[], Any]) -> Any:
        self.calls += 1
        self.log.append(name)
        if self.calls == self.at and not self.after:
            raise CrashError(name)
        result = act()
        if self.calls == self.at:
            raise CrashError(name)
        return result


class CrashingStore:
    def __init__(self, store: Any, crasher: Crasher) -> None:
        self.store, self.crasher = store, crasher

    def find(self, kind: Any, **equal: Any) -> Any:
        return self.crasher.call("find", lambda: self.store.find(kind, **equal))

    def commit(self, *rows: Any) -> Any:
        return self.crasher.call("commit", lambda: self.store.commit(*rows))


class CrashingCloud:
    def __init__(self, cloud: Any, crasher: Crasher) -> None:
        self.cloud, self.crasher, self.name = cloud, crasher, cloud.name

    def offers(self) -> Any:
        return self.cloud.offers()

    def launch(self, *args: Any) -> Any:
        return self.crasher.call("launch", lambda: self.cloud.launch(*args))

    def instances(self) -> Any:
        return self.crasher.call("instances", self.cloud.instances)

    def terminate(self, *args: Any) -> Any:
        return self.crasher.call("terminate", lambda: self.cloud.terminate(*args))


def make_offer(zone: str, cloud: str = "sim", usd: str | None = "1.00", **more: Any) -> Offer:
    return Offer(
        cloud=cloud,
        region=zone[:-1],
        zone=zone,
        instance_type="m5",
        market=Market.SPOT,
        vcpus=2,
        memory_gib=4,
        price=Price(Decimal(usd), "2026-01-01", "test") if usd is not None else None,
        site=Site("DE", frozenset({"EU"})),
        **more,
    )


class Stage:
    """One ledger, some clouds, and engines that come and go over them."""

    def __init__(
        self,
        habits: Habits = HONEST,
        zones: Iterable[str] = ("eu-1a", "eu-1b", "us-1a"),
        clouds: Iterable[str] = ("sim",),
        seed: int = 0,
    ) -> None:
        self.clock, self.store, self.random = Clock(), MemoryStore(), random.Random(seed)
        self.offers = [make_offer(zone, cloud) for cloud in clouds for zone in zones]
        self.clouds = {
            name: FakeCloud(
                name, [one for one in self.offers if one.cloud == name], self.clock.now, habits
            )
            for name in clouds
        }
        self.numbers = iter(range(10**9))
        self.durations: defaultdict[str, int] = defaultdict(lambda: 10**9)  # run id -> ticks
        self.exit_codes: defaultdict[str, int] = defaultdict(int)
        self.worked: defaultdict[str, int] = defaultdict(int)  # order id -> ticks
        self.mute: set[str] = set()  # instance ids whose agent is silent
        self.crasher = Crasher()
        self.engine = self.boot()

    @property
    def cloud(self) -> FakeCloud:
        return next(iter(self.clouds.values()))

    def boot(self, crasher: Crasher | None = None) -> Engine:
        """Another process takes over: nothing is left of the engine before it."""
        self.crasher = crasher or Crasher()
        self.engine = Engine(
            CrashingStore(self.store, self.crasher),
            {name: CrashingCloud(cloud, self.crasher) for name, cloud in self.clouds.items()},
            {"task": runs.advance},
            lambda lease: f"join {lease.attempt and lease.attempt.id}",
            pace=Pace(threads=0, sweep_every=timedelta(seconds=15)),
            monotonic=lambda: 0.0,
            entropy=self.random.randbytes,
        )
        return self.engine

    # --------------------------------------------------------------------------------- wishes

    def up(self, offers: list[Offer] | None = None, nodes: int = 1, keep: bool = False) -> str:
        """Admit a run, as a command would; the clock's time makes the ids."""
        number = next(self.numbers)
        run = Run(
            f"run_{number:04d}",
            f"task-{number}",
            "task",
            {"run": "true"},
            self.clock.now(),
            keep=keep,
        )
        leases = [
            Lease(
                f"ls_{number:04d}_{rank}",
                run.id,
                "task",
                rank,
                tuple(self.offers if offers is None else offers),
                self.clock.now(),
            )
            for rank in range(nodes)
        ]
        self.store.commit(run, *leases)
        return run.id

    def down(self, run_id: str) -> None:
        run = self.run(run_id)
        if run.state not in RUN_ENDED:
            self.store.commit(replace(run, wanted=False))
        else:
            held = [one for one in self.leases(run_id) if one.wanted]
            self.store.commit(*(replace(lease, wanted=False) for lease in held))

    # ------------------------------------------------------------------------------- time goes by

    def tick(self, times: int = 1) -> TickReport:
        """Engine, then agents, then time."""
        for _ in range(times):
            report = self.engine.tick(self.clock.now())
            self.agents()
            self.clock.advance()
        return report

    def until(self, true: Callable[[], bool], most: int = 60) -> None:
        for _ in range(most):
            if true():
                return
            self.tick()
        raise AssertionError(f"not within {most} ticks: {self.words()}")

    def settle(self) -> list[str]:
        """Until nothing has changed for longer than any grace; what was broken on the way."""
        quiet, broken = 0, []
        for _ in range(400):
            report = self.tick()
            broken += self.broken_now()
            quiet = 0 if report.changed or not self.settled() else quiet + 1
            if quiet > 12:
                return broken
        raise AssertionError(f"it does not come to rest: {self.words()}")

    def settled(self) -> bool:
        return all(cloud.settled for cloud in self.clouds.values())

    def agents(self) -> None:
        """Each machine that runs has an agent that heartbeats and works on its orders."""
        for machine in self.machines():
            if machine.state is InstanceState.RUNNING and machine.id not in self.mute:
                node = self.heartbeat(machine.token)
                if node.state is NodeState.ONLINE:
                    self.work(node)

    def heartbeat(self, token: str) -> Node:
        node_id = f"nd_{token}"
        found = self.store.find(Node, id=node_id)
        node = (
            found[0]
            if found
            else Node(node_id, "node", "cloud", self.clock.now(), attempt_id=token)
        )
        if node.state is NodeState.GONE:
            return node
        node = replace(
            node, state=NodeState.ONLINE, seen_at=self.clock.now(), address=f"10.0.0.{len(token)}"
        )
        return self.store.commit(node)[0]

    def work(self, node: Node) -> None:
        for order in self.store.find(Order, node_id=node.id):
            if order.state in ENDED:
                continue
            self.worked[order.id] += 1
            self.store.commit(self.worked_on(order))

    def worked_on(self, order: Order) -> Order:
        now = self.clock.now()
        if not order.wanted:
            return replace(order, state=OrderState.CANCELLED, finished_at=now)
        if self.worked[order.id] <= self.durations[order.run_id]:
            return replace(order, state=OrderState.RUNNING)
        code = self.exit_codes[order.run_id]
        state = OrderState.FAILED if code else OrderState.SUCCEEDED
        return replace(order, state=state, exit_code=code, finished_at=now)

    # ------------------------------------------------------------------------------------- looking

    def run(self, run_id: str) -> Run:
        return self.store.find(Run, id=run_id)[0]

    def leases(self, run_id: str | None = None) -> list[Lease]:
        return self.store.find(Lease, run_id=run_id) if run_id else self.store.find(Lease)

    def lease(self) -> Lease:
        (lease,) = self.leases()
        return lease

    def orders(self, run_id: str) -> list[Order]:
        return self.store.find(Order, run_id=run_id)

    def machines(self) -> list[Any]:
        return [machine for cloud in self.clouds.values() for machine in cloud.alive()]

    def running(self) -> bool:
        return all(lease.state is LeaseState.RUNNING for lease in self.leases())

    def words(self) -> str:
        leases = [
            (one.id, one.state.value, one.wanted, one.attempt and one.attempt.id, one.reason)
            for one in self.leases()
        ]
        machines = [(one.id, one.token, one.lease_id, one.state.value) for one in self.machines()]
        runs_ = [(one.id, one.state.value, one.reason) for one in self.store.find(Run)]
        return f"leases {leases} machines {machines} runs {runs_}"

    # -------------------------------------------------------------------------------------- laws

    def broken_at_rest(self) -> list[str]:
        """What is wrong once all has settled: leaks, duplicates, phantoms, lost wishes."""
        return [*self._leaks(), *self._lost_wishes(), *self._broken_runs()]

    def broken_now(self) -> list[str]:
        """What must not be even for a moment, whatever fails, on clouds that honour tokens."""
        return [*self._doubles(), *self._closed_alive(), *self._strays()]

    def _leaks(self) -> Iterator[str]:
        held = {
            lease.attempt.instance_id
            for lease in self.leases()
            if lease.attempt and lease.state not in FINAL
        }
        alive = {machine.id for machine in self.machines()}
        yield from (f"orphan {one}" for one in alive - held)
        yield from (f"phantom {one}" for one in held - alive)

    def _lost_wishes(self) -> Iterator[str]:
        for lease in self.leases():
            if lease.wanted and lease.state not in (LeaseState.RUNNING, LeaseState.FAILED):
                yield f"{lease.id} is wanted and {lease.state}"
            if not lease.wanted and lease.state not in FINAL:
                yield f"{lease.id} is not wanted and {lease.state}"

    def _broken_runs(self) -> Iterator[str]:
        for run in self.store.find(Run):
            if not run.wanted and run.state not in RUN_ENDED:
                yield f"{run.id} is not wanted and {run.state}"
            if run.state in (RunState.PENDING, RunState.CLOSING):
                yield f"{run.id} is stuck: {run.state}"

    def _doubles(self) -> Iterator[str]:
        count: defaultdict[str, list[str]] = defaultdict(list)
        for machine in self.machines():
            if self.clouds[machine.offer.cloud].habits.honours_tokens:
                count[machine.lease_id].append(machine.id)
        yield from (f"{key} has {ids}" for key, ids in count.items() if len(ids) > 1)

    def _closed_alive(self) -> Iterator[str]:
        alive = {machine.id for machine in self.machines()}
        for lease in self.leases():
            if lease.state in FINAL and lease.attempt and lease.attempt.instance_id in alive:
                yield f"{lease.id} is {lease.state} and its machine lives"

    def _strays(self) -> Iterator[str]:
        allowed = {lease.id: {offer.key for offer in lease.candidates} for lease in self.leases()}
        for machine in self.machines():
            if machine.offer.key not in allowed.get(machine.lease_id, {machine.offer.key}):
                yield f"{machine.id} is outside of its lease's candidates"
