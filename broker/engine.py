"""What changes the world: each tick lists the clouds, reads the ledger, decides, acts and writes.

The order is the law. The clouds are listed before the ledger is read, so that a machine without a
lease really has none. A row is committed before its effect is asked for, so that a crash between
any two lines leaves something to go on from. Many engines may tick on one ledger: a version guard
on each row makes the slower one lose.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from broker import admission, converge, runs, sweep
from broker.actions import Launch, Terminate
from broker.converge import Limits
from broker.effects import Effects
from broker.errors import BrokerError, NotFoundError
from broker.failpoints import failpoint
from broker.fanout import Fanout
from broker.journal import Journal
from broker.model import (
    FINAL,
    RUN_ENDED,
    Instance,
    Lease,
    LeaseState,
    Node,
    NodeState,
    Order,
    Run,
    RunState,
)
from broker.ports import Provider, Store

OPEN_LEASES = frozenset(LeaseState) - FINAL
OPEN_RUNS = frozenset(RunState) - RUN_ENDED
UNSETTLED = OPEN_LEASES - {LeaseState.RUNNING}

Listings = Mapping[str, Sequence[Instance]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many calls at once, how long each is waited for, how often quiet clouds are looked at."""

    threads: int = 16  # 0: all in the caller's thread, in order, without time limits
    list_timeout_s: float = 30
    effect_timeout_s: float = 180
    sweep_every: timedelta = timedelta(seconds=60)
    asleep_after: timedelta = timedelta(seconds=60)  # after a longer gap agents are heard anew


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick saw and did. True when something changed or is under way."""

    changed: int = 0  # rows that were written
    unsettled: int = 0  # leases on their way to another state
    unlisted: Mapping[str, str] = field(default_factory=dict)  # cloud -> why
    orphans: tuple[str, ...] = ()  # machines whose end was asked for
    fuse: str = ""  # why orphans were spared
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.unsettled)


LIMITS, PATIENCE, PACE = Limits(), runs.Patience(), Pace()


class Engine:
    """Keeps every lease and run of a ledger true.

    `user_data` gives the same bytes each time for the same attempt. `advance` maps a run's kind to
    its next move. What an engine keeps between ticks it may lose: suspects of the sweep, calls that
    have not come back, what it has told already.
    """

    def __init__(
        self,
        store: Store,
        providers: Mapping[str, Provider],
        advance: Mapping[str, runs.Advance],
        user_data: Callable[[Lease], str],
        *,
        limits: Limits = LIMITS,
        patience: runs.Patience = PATIENCE,
        pace: Pace = PACE,
        monotonic: Callable[[], float] = time.monotonic,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._journal = Journal(store, monotonic, entropy)
        self._effects = Effects(self._journal, providers, user_data, limits)
        self._store, self._providers, self._advance = store, providers, advance
        self._limits, self._patience, self._pace = limits, patience, pace
        self._lister: Fanout[str, Sequence[Instance]] = Fanout(pace.threads)
        self._actor: Fanout[str, None] = Fanout(pace.threads)
        self._suspects: Mapping[sweep.Key, sweep.Suspect] = {}
        self._looked_at: dict[str, datetime] = {}
        self._told: dict[str, str] = {}
        self._ticked_at: datetime | None = None
        self._listening_since: datetime | None = None
        self._settled_at: datetime | None = None

    def tick(self, now: datetime) -> TickReport:
        """One pass over everything. Raises what the ledger raises; nothing is lost by that."""
        self._wake(now)
        listings, unlisted = self._list(now)
        nodes = self._store.find(Node)
        leases = self._store.find(Lease, state=OPEN_LEASES)
        problems = self._converge(leases, converge.sightings(listings), now)
        verdict = self._sweep(listings, leases, now)
        problems += self._end_orphans(verdict)
        self._mark_nodes(nodes, leases, now)
        problems += self._move_runs()
        self._settle(now)
        return TickReport(
            changed=self._journal.changed,
            unsettled=sum(_moves(lease, now) for lease in leases),
            unlisted=unlisted,
            orphans=tuple(one.instance.id for one in verdict.condemned),
            fuse=verdict.fuse,
            problems=tuple(problems),
        )

    def _wake(self, now: datetime) -> None:
        """After a start or a long gap nobody's silence counts from before."""
        if self._ticked_at is None or now - self._ticked_at > self._pace.asleep_after:
            self._listening_since = now
        self._ticked_at = now
        self._journal.set_clock(now)

    # ------------------------------------------------------------------------------------- clouds

    def _list(self, now: datetime) -> tuple[Listings, dict[str, str]]:
        """The machines of every cloud that is due, and why others could not be listed."""
        due = self._due(now)
        calls = {name: self._providers[name].instances for name in due}
        failpoint("list.before-call")
        found = self._lister.run(calls, self._pace.list_timeout_s)
        failpoint("list.after-call")
        listings = {name: item for name, item in found.items() if not isinstance(item, Exception)}
        self._looked_at.update(dict.fromkeys(listings, now))
        unlisted = {name: _why(found.get(name)) for name in due if name not in listings}
        self._tell_clouds(listings, unlisted)
        return listings, unlisted

    def _due(self, now: datetime) -> list[str]:
        """Clouds that an open lease needs, and those that nobody has looked at for a while."""
        needed = {
            offer.cloud
            for lease in self._store.find(Lease, state=OPEN_LEASES)
            if not converge.waits(lease, now)
            for offer in ([lease.attempt.offer] if lease.attempt else lease.candidates)
        }
        old = {
            name
            for name in self._providers
            if now - self._looked_at.get(name, datetime.min.replace(tzinfo=now.tzinfo))
            >= self._pace.sweep_every
        }
        return sorted((needed | old) & self._providers.keys())

    def _tell_clouds(self, listings: Listings, unlisted: Mapping[str, str]) -> None:
        for name, why in unlisted.items():
            self._tell(name, "cloud.unlisted", f"{name} could not be listed: {why}")
        for name in self._told.keys() & listings.keys():
            self._tell(name, "cloud.listed", f"{name} is listed again")
            del self._told[name]

    def _tell(self, subject: str, kind: str, message: str) -> None:
        """An event that belongs to no run, once until its kind changes."""
        if self._told.get(subject) != kind:
            self._told[subject] = kind
            self._journal.write("tell", self._journal.event(subject, "", kind, message))

    # ------------------------------------------------------------------------------------- leases

    def _converge(self, leases: Sequence[Lease], seen: converge.Seen, now: datetime) -> list[str]:
        """One step for each lease; those that call a cloud all at once.

        `now` is when the listing began: a machine that is missing from it was missing then.
        """
        effects, calls = self._effects, {}
        for lease in leases:
            if lease.id in self._actor.busy:
                continue
            action = effects.next_action(lease, seen, now)
            if isinstance(action, Launch | Terminate):
                calls[lease.id] = partial(effects.carry_out, action, seen)
            else:
                effects.carry_out(action, seen)
        return self._act(calls)

    def _act(self, calls: Mapping[str, Callable[[], None]]) -> list[str]:
        done = self._actor.run(calls, self._pace.effect_timeout_s)
        late = [f"{key}: still waiting for its cloud" for key in calls if key not in done]
        failed = [error for error in done.values() if isinstance(error, Exception)]
        if failed:
            raise failed[0]
        return late

    # ------------------------------------------------------------------------------------ orphans

    def _sweep(self, listings: Listings, leases: Sequence[Lease], now: datetime) -> sweep.Verdict:
        """`leases` are the open ones, read after the clouds were listed."""
        known = {lease.id: lease for lease in leases}
        named = {item.lease_id for items in listings.values() for item in items}
        others = self._store.find(Lease, id=named - known.keys()) if named - known.keys() else []
        known.update({lease.id: lease for lease in others})
        strangers = named - known.keys()
        ids = sorted(lease.id for lease in self._store.find(Lease)) if strangers else [*known]
        ledger = sweep.Ledger(known, min(ids, default=""), max(ids, default=""))
        verdict = sweep.sweep(listings, ledger, self._suspects, now, self._limits.grace)
        self._suspects = verdict.suspects
        if verdict.fuse:
            self._tell("gc", "gc.fuse", verdict.fuse)
        elif not verdict.suspects:
            self._told.pop("gc", None)
        return verdict

    def _end_orphans(self, verdict: sweep.Verdict) -> list[str]:
        return self._act(
            {one.instance.id: partial(self._end_orphan, one) for one in verdict.condemned}
        )

    def _end_orphan(self, one: sweep.Suspect) -> None:
        item = one.instance
        words = f"{item.id} in {item.cloud} is ended: {one.why}"
        self._journal.write("orphan", self._journal.event(item.id, "", "gc.orphan", words))
        try:
            failpoint("orphan.before-call")
            self._providers[item.cloud].terminate(item.id)
            failpoint("orphan.after-call")
        except NotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - the next sweep asks again
            words = f"{item.id} in {item.cloud} could not be ended: {_why(error)}"
            self._journal.write("orphan", self._journal.event(item.id, "", "gc.failed", words))

    # -------------------------------------------------------------------------------------- nodes

    def _mark_nodes(self, nodes: Sequence[Node], leases: Sequence[Lease], now: datetime) -> None:
        """`nodes` were read before `leases`: a node without an attempt among them is a past one."""
        held = {lease.attempt.id for lease in leases if lease.attempt}
        gone = [
            replace(node, state=NodeState.GONE)
            for node in nodes
            if node.kind == "cloud"
            and node.attempt_id not in held
            and node.state not in {NodeState.GONE, NodeState.REVOKED}
        ]
        ended = {node.id for node in gone}
        rest = [node for node in nodes if node.id not in ended]
        moved = runs.node_states(rest, now, self._patience.lost, self._listening_since)
        for node in [*gone, *moved]:
            words = f"{node.name}: {node.state}"
            event = self._journal.event(node.id, "", f"node.{node.state}", words)
            self._journal.write("node", node, event)

    # --------------------------------------------------------------------------------------- runs

    def _move_runs(self) -> list[str]:
        """One move for each open run, by its kind."""
        problems = []
        open_runs = self._store.find(Run, state=OPEN_RUNS)
        for world in self._worlds(open_runs):
            move = self._advance.get(world.run.kind)
            try:
                rows = runs.overspent(world) or (move(world) if move else [])
            except Exception as error:  # noqa: BLE001 - one run's fault must not stop the others
                problems.append(f"{world.run.id}: {type(error).__name__}: {error}")
                continue
            if rows:
                self._journal.write("run", *rows)
        return problems

    def _settle(self, now: datetime) -> None:
        """Accounts follow what has ended: after each change, and once in a while."""
        last, every = self._settled_at, self._pace.sweep_every
        if self._journal.changed or last is None or now - last >= every:
            self._settled_at = now
            self._journal.changed += admission.settle(self._store, now)

    def _worlds(self, open_runs: Sequence[Run]) -> list[runs.World]:
        ids = [run.id for run in open_runs]
        leases = self._store.find(Lease, run_id=ids) if ids else []
        orders = self._store.find(Order, run_id=ids) if ids else []
        nodes = self._store.find(Node) if ids else []
        return [self._world(run, leases, orders, nodes) for run in open_runs]

    def _world(
        self, run: Run, leases: list[Lease], orders: list[Order], nodes: list[Node]
    ) -> runs.World:
        held = sorted(
            (lease for lease in leases if lease.run_id == run.id), key=lambda one: one.rank
        )
        ordered = tuple(order for order in orders if order.run_id == run.id)
        attempts = {lease.attempt.id for lease in held if lease.attempt}
        names = {order.node_id for order in ordered} | {
            offer.node_id for lease in held for offer in lease.candidates
        }
        return runs.World(
            run=run,
            leases=tuple(held),
            nodes=tuple(n for n in nodes if n.attempt_id in attempts or n.id in names),
            orders=ordered,
            now=self._journal.now(),
            new_id=self._journal.new_id,
            listening_since=self._listening_since,
        )


def _moves(lease: Lease, now: datetime) -> bool:
    """It is on its way to another state, and not by waiting for its hour."""
    return (lease.state in UNSETTLED or not lease.wanted) and not converge.waits(lease, now)


def _why(error: object) -> str:
    if error is None:
        return "it does not answer"
    return error.message if isinstance(error, BrokerError) else f"{type(error).__name__}: {error}"
