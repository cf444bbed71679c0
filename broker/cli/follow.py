"""Following a run: new log bytes, new events, until it has ended."""

from __future__ import annotations

from typing import BinaryIO

from broker.cli import find
from broker.cli.output import note
from broker.home import Home
from broker.host import Session
from broker.model import FINAL, RUN_ENDED, Event, Run
from broker.ports import Store

QUIET = frozenset({"fed.log"})


class LogTail:
    """Hands out the bytes of all orders of a run once, in the order in which they were given."""

    def __init__(self, store: Store, home: Home, run: Run) -> None:
        self._store = store
        self._logs = home.logs
        self._run = run
        self._sent: dict[str, int] = {}

    def write_new(self, out: BinaryIO) -> None:
        for order in find.orders_of(self._store, self._run):
            path = self._logs / f"{order.id}.log"
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._sent.get(order.id, 0))
                while chunk := file.read(65_536):
                    out.write(chunk)
                self._sent[order.id] = file.tell()
        out.flush()


class EventTail:
    """Hands out the events of a run once."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._run = run
        self._seen: set[str] = set()

    def new(self) -> list[Event]:
        found = [
            event
            for event in self._store.find(Event, run_id=self._run.id)
            if event.id not in self._seen
        ]
        self._seen |= {event.id for event in found}
        return found


def follow(session: Session, home: Home, run: Run, out: BinaryIO) -> Run:
    """Stream a run's logs to `out` and its events to standard error until it has ended."""
    logs, events = LogTail(session.store, home, run), EventTail(session.store, run)
    for _ in session.watch():
        current = session.store.find(Run, id=run.id)[0]
        for event in events.new():
            if event.kind not in QUIET:
                note(f"{event.at:%H:%M:%S}  {event.message}")
        logs.write_new(out)
        if current.state in RUN_ENDED:
            return current
    raise AssertionError("watch never ends by itself")


def settled(store: Store, run: Run) -> bool:
    """The run has ended and all its machines are confirmed gone."""
    current = store.find(Run, id=run.id)[0]
    leases = find.leases_of(store, run)
    return current.state in RUN_ENDED and all(lease.state in FINAL for lease in leases)
