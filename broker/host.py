"""The engine and the gateway of one home, in this process, while it holds the home's lock.

One process per home runs them: the command itself while it needs them, or one background process
that ends itself when nothing is open. Whoever holds `state/engine.lock` is it; the lock dies with
the process, so a crashed engine is simply replaced by the next one that looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from broker.home import Home
from broker.model import (
    FINAL,
    RUN_ENDED,
    JoinToken,
    Lease,
    LeaseState,
    Node,
    NodeState,
    Run,
    RunState,
)
from broker.ports import Store

FASTEST_S = 0.25  # between ticks while something changes
SLOWEST_S = 5.0  # between ticks while all is quiet
FLEET_IDLE = timedelta(minutes=2)  # an edge node silent for longer does not keep the engine up


class Ticker(Protocol):
    def tick(self, now: datetime) -> object:
        """One pass; true when something changed or is under way."""


class Listener(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


class Lock:
    """The right to be this home's engine. Released by the kernel when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._file = handle
        return True

    def write(self, facts: dict[str, Any]) -> None:
        """Say who holds the lock, for `broker doctor`."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(facts).encode(), 0)

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def holder(home: Home) -> dict[str, Any] | None:
    """Who runs this home's engine now: `{"pid", "mode", "since", ...}`, or None."""
    lock = Lock(home.state / "engine.lock")
    if not home.state.is_dir():
        return None
    if lock.acquire():
        lock.release()
        return None
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((home.state / "engine.lock").read_text())
        return found
    return {}


@dataclass(slots=True)
class Host:
    """Ticks the engine in a thread and serves the agents, from `start` to `stop`."""

    engine: Ticker
    gateway: Listener
    log: Callable[[str], None]
    _stop: threading.Event
    _poke: threading.Event
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self.gateway.start()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._poke.set()
        if self._thread:
            self._thread.join(timeout=30)
        self.gateway.stop()

    def poke(self) -> None:
        """Something changed in the ledger: tick now."""
        self._poke.set()

    def _loop(self) -> None:
        pause = FASTEST_S
        while not self._stop.is_set():
            pause = self._tick(pause)
            self._poke.wait(pause)
            self._poke.clear()

    def _tick(self, pause: float) -> float:
        try:
            busy = bool(self.engine.tick(datetime.now(UTC)))
        except Exception as error:  # noqa: BLE001 - the engine outlives a bad tick and says so
            self.log(f"tick failed: {type(error).__name__}: {error}")
            return min(pause * 2, SLOWEST_S)
        return FASTEST_S if busy else min(pause * 1.5, SLOWEST_S)


def make_host(engine: Ticker, gateway: Listener, log: Callable[[str], None]) -> Host:
    return Host(engine, gateway, log, threading.Event(), threading.Event())


def open_work(store: Store, now: datetime) -> dict[str, int]:
    """What still needs an engine: open leases and runs, live invitations, edge nodes that talk."""
    leases = store.find(Lease, state=[state for state in LeaseState if state not in FINAL])
    runs = store.find(Run, state=[state for state in RunState if state not in RUN_ENDED])
    invites = [
        token
        for token in store.find(JoinToken, used_at=None)
        if token.expires_at > now
        and store.find(Node, id=token.node_id, kind="edge", state=NodeState.INVITED)
    ]
    nodes = [
        node
        for node in store.find(Node, kind="edge", state=[NodeState.ONLINE, NodeState.LOST])
        if node.seen_at and now - node.seen_at < FLEET_IDLE
    ]
    return {
        "leases": len(leases),
        "runs": len(runs),
        "invitations": len(invites),
        "nodes": len(nodes),
    }


class Session:
    """The ledger with an engine at work on it: our own while nobody else's runs, else theirs.

    Leaving it hands open work to a background engine, unless `hand_over` is False.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        build: Callable[[], Host],
        spawn: Callable[[], None],
        *,
        hand_over: bool = True,
    ) -> None:
        self.store = store
        self._hand_over = hand_over
        self._lock = Lock(home.state / "engine.lock")
        self._build = build
        self._spawn = spawn
        self._host: Host | None = None

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ensure(self) -> None:
        """Become the engine when nobody is: also when the one that was has died."""
        if self._host is None and self._lock.acquire():
            self._lock.write(_facts("command"))
            self._host = self._build()
            self._host.start()

    def poke(self) -> None:
        if self._host:
            self._host.poke()

    def watch(self, every_s: float = 0.2) -> Iterator[None]:
        """Yield again and again, a moment apart, with an engine at work all the time."""
        pause = threading.Event()
        while True:
            self.ensure()
            yield
            pause.wait(every_s)

    def close(self) -> None:
        if self._host:
            self._host.stop()
            self._host = None
            self._lock.release()
        if self._hand_over and any(open_work(self.store, datetime.now(UTC)).values()):
            self._spawn()


def run_background(
    home: Home,
    store: Store,
    build: Callable[[], Host],
    *,
    patience_s: float = 10,
    idle_s: float = 3,
) -> bool:
    """Be the background engine until nothing is open for `idle_s`. False: another one is at work."""
    lock = Lock(home.state / "engine.lock")
    pause = threading.Event()
    for _ in range(int(patience_s * 10)):
        if lock.acquire():
            break
        pause.wait(0.1)
    else:
        return False
    lock.write(_facts("background"))
    host = build()
    host.start()
    try:
        _until_idle(store, idle_s)
    finally:
        host.stop()
        lock.release()
    return True


def _until_idle(store: Store, idle_s: float) -> None:
    pause = threading.Event()
    quiet_since: datetime | None = None
    while True:
        now = datetime.now(UTC)
        busy = any(open_work(store, now).values())
        quiet_since = None if busy else quiet_since or now
        if quiet_since and (now - quiet_since).total_seconds() >= idle_s:
            return
        pause.wait(0.5)


def _facts(mode: str) -> dict[str, Any]:
    return {"pid": os.getpid(), "mode": mode, "since": datetime.now(UTC).isoformat()}
