"""The agent: says that it is there, takes orders, carries them out, and brings back what they say.

Three loops, each with a connection of its own, so that none of them waits for another. A loop
outlives every failure but one: a broker that refuses this node for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from broker.errors import AuthError, BrokerError, ConflictError
from broker.model import Capacity, OrderState
from edge.backoff import pause_s
from edge.channel import host_of
from edge.courier import Courier
from edge.datasets import DatasetBook
from edge.identity import Credentials, NodeHome
from edge.orders import Known, OrderBook, changes
from edge.processes import stop_all
from edge.runner import Identity
from edge.telemetry import capacity
from edge.wire import Beat, Listed, Wire
from edge.workers import Workers

POLL_S = 25  # how long the broker may hold an answer when no order has changed
COALESCE_S = 0.05  # a chatty order is sent in larger pieces
CAPACITY_S = 600.0
SKEW_S = 300.0
STOP_S = 30.0  # for all orders to end at the agent's own end
FLUSH_S = 10.0  # for what they said to reach the broker after that
log = logging.getLogger("broker.edge")


@dataclass(frozen=True, slots=True)
class About:
    """What the node tells of itself beside what is measured."""

    datasets: DatasetBook
    labels: Mapping[str, str] = field(default_factory=dict)
    country: str | None = None


class Agent:
    """`run` works until `stop` is set; AuthError when the broker refuses the node for good."""

    def __init__(self, home: NodeHome, identity: Identity, about: About) -> None:
        self._home = home
        self._identity = identity
        self._about = about
        self._credentials = Credentials(home)
        self._said = threading.Event()
        self._end = threading.Event()
        self._closed = threading.Event()
        self._refusal: AuthError | None = None
        self._courier: Courier | None = None
        self._tag = ""
        self._listed: list[Listed] = []
        self._capacity: tuple[float, Capacity] | None = None
        self._skewed = False

    def run(self, stop: threading.Event) -> None:
        self._end = stop
        with _alone(self._home.root / "agent.lock"):
            self._book = OrderBook(self._home.orders, self._said.set)
            self._workers = Workers(self._identity, self._book)
            self._recover()
            with self._loops():
                stop.wait()
                self._finish()
        if self._refusal:
            raise self._refusal

    def _recover(self) -> None:
        """What an earlier agent had begun is ended, and said to have failed: nothing runs twice."""
        for spool in self._book.unfinished():
            stop_all(spool.order_id)
            spool.state(OrderState.FAILED, detail="agent restarted")
            log.warning("%s: failed: the agent was restarted", spool.order_id)
        self._said.set()

    @contextlib.contextmanager
    def _loops(self) -> Iterator[None]:
        loops = [(self._beat, self._end), (self._take, self._end), (self._carry, self._closed)]
        wires = [Wire(self._credentials) for _ in loops]
        threads = [
            threading.Thread(target=self._keep, args=(step, wire, end), daemon=True)
            for (step, end), wire in zip(loops, wires, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._closed.set()
            self._said.set()
            for wire in wires:
                wire.close()
            for thread in threads:
                thread.join(STOP_S)

    def _finish(self) -> None:
        if not self._workers.stop_all(STOP_S):
            log.error("still at work: %s", ", ".join(self._workers.running))
        until = time.monotonic() + (0 if self._refusal else FLUSH_S)
        while time.monotonic() < until and not all(s.delivered for s in self._book.spools()):
            self._said.set()
            time.sleep(COALESCE_S)

    def _keep(self, step: Callable[[Wire], float], wire: Wire, end: threading.Event) -> None:
        """Take a step again and again; after a failure a little later each time."""
        tries = 0
        while not end.is_set():
            try:
                wait_s = step(wire)
                tries = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the agent goes on and says it
                self._failed(error, tries)
                wait_s = pause_s(tries, random.random())  # noqa: S311 - spreads load
                tries += 1
            end.wait(wait_s)

    def _failed(self, error: Exception, tries: int) -> None:
        if isinstance(error, AuthError) and error.code.startswith("NOD"):
            error.hint = (
                error.hint or "to come back it needs a new invitation: `broker edge invite`"
            )
            self._refusal = error
            self._end.set()
            self._closed.set()
        elif tries == 0 and not self._closed.is_set():
            known = isinstance(error, BrokerError)
            level = logging.WARNING if known else logging.ERROR
            log.log(level, "%s; trying again", error, exc_info=None if known else error)

    # ---------------------------------------------------------------------------- the three steps

    def _beat(self, wire: Wire) -> float:
        """Say that we are there; renew the certificate when it is time."""
        began = datetime.now(UTC)
        at_broker, next_s = wire.heartbeat(self._now())
        self._check_clock((at_broker - began).total_seconds())
        if self._credentials.due(began):
            self._credentials.renew(wire.renew)
            log.info("certificate renewed, good until %s", self._credentials.life[1])
        return next_s

    def _take(self, wire: Wire) -> float:
        """Wait for a change of our orders, and follow the list, changed or not.

        An unchanged list may name an order whose end we told long ago: then the broker has lost
        it since, and is told again.
        """
        if answer := wire.orders(self._tag, POLL_S):
            self._tag, self._listed = answer
        known = Known(self._workers.running, self._book.ended())
        todo = changes([(item.work, item.wanted) for item in self._listed], known)
        for order_id in todo.stop:
            self._workers.stop(order_id)
        for work in (*todo.start, *todo.refuse):
            if self._end.is_set():
                return 0
            if (spool := self._book.take(work)) is None:
                continue
            if work in todo.refuse:
                spool.state(OrderState.CANCELLED, detail="not wanted any more before it began")
            else:
                self._workers.start(work, spool)
        for order_id in todo.tell:
            if (spool := self._book.spool(order_id)) and spool.delivered:
                spool.rewind()
        return 0

    def _carry(self, wire: Wire) -> float:
        """Bring what the orders have said; what could not be brought is tried again."""
        self._courier = self._courier or Courier(wire)
        self._said.wait()
        self._said.clear()
        try:
            for spool in self._book.spools():
                if spool.pending:
                    self._courier.deliver(spool)
        finally:
            if any(spool.pending for spool in self._book.spools()):
                self._said.set()
        self._book.prune()
        return COALESCE_S

    # ------------------------------------------------------------------------------------- facts

    def _now(self) -> Beat:
        return Beat(
            capacity=self._measured(),
            datasets=self._about.datasets.facts(),
            labels=self._about.labels,
            country=self._about.country,
            address=self._identity.address,
            running=self._workers.running,
        )

    def _measured(self) -> Capacity:
        now = time.monotonic()
        if self._capacity is None or now - self._capacity[0] > CAPACITY_S:
            self._capacity = (now, capacity(self._home.root))
        return self._capacity[1]

    def _check_clock(self, ahead_s: float) -> None:
        skewed = abs(ahead_s) > SKEW_S
        if skewed and not self._skewed:
            log.warning(
                "the broker's clock is %+.0f s from this machine's: mend the clock", ahead_s
            )
        self._skewed = skewed


def own_address(url: str) -> str:
    """The address of this machine on the way to the broker, "" without a way. Sends nothing."""
    host, port = host_of(url)
    try:
        family, kind, proto, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One agent for one folder. ConflictError EDG006."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ConflictError(
                f"another agent is at work in {path.parent}",
                code="EDG006",
                hint="give each agent a folder of its own with --home",
            ) from exc
        yield
    finally:
        os.close(handle)
