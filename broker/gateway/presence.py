"""Who is there: heartbeats are kept in memory and written once a second, changes at once."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from broker.errors import ConflictError
from broker.gateway.wire import Beat
from broker.ids import new_id
from broker.model import Dataset, Event, Node, NodeState
from broker.ports import Store

_RETRIES = 20
_BATCH = 500
_AWAY = {NodeState.REVOKED, NodeState.GONE}
_WAKES = {NodeState.INVITED, NodeState.LOST}


def heard(node: Node, beat: Beat, now: datetime) -> Node:
    """Pure: the node after a heartbeat. The country that its owner gave stands."""
    return replace(
        node,
        state=NodeState.ONLINE if node.state in _WAKES else node.state,
        capacity=beat.capacity.value() if beat.capacity else node.capacity,
        datasets=_datasets(beat) if beat.datasets is not None else node.datasets,
        labels=node.labels if beat.labels is None else beat.labels,
        country=node.country or beat.country,
        address=node.address if beat.address is None else beat.address,
        seen_at=now,
    )


class Presence:
    """One gateway's knowledge of who was heard when. Safe to use from several threads.

    `monotonic` measures silence, so that a clock that jumps makes nobody look lost.
    """

    def __init__(self, store: Store, lost_after: timedelta, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._lost_after = lost_after
        self._monotonic = monotonic
        self._since = monotonic()
        self._heard: dict[str, float] = {}
        self._pending: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def beat(self, node: Node, beat: Beat, now: datetime) -> None:
        with self._lock:
            self._heard[node.id] = self._monotonic()
            self._pending[node.id] = now
        if _differs(node, heard(node, beat, now)):
            self._write(node.id, beat, now)

    def flush(self) -> None:
        """Write when each node was last heard; a row that changes meanwhile waits for a beat."""
        with self._lock:
            pending, self._pending = self._pending, {}
        ids = sorted(pending)
        for start in range(0, len(ids), _BATCH):
            self._flush(ids[start : start + _BATCH], pending)

    def sweep(self, now: datetime) -> None:
        """Online nodes silent for too long, by our own ears and by the ledger, are lost."""
        silent_since = self._monotonic() - self._lost_after.total_seconds()
        for node in self._store.find(Node, state=NodeState.ONLINE):
            if max(self._heard.get(node.id, 0.0), self._since) > silent_since:
                continue
            if node.seen_at is None or now - node.seen_at > self._lost_after:
                lost = replace(node, state=NodeState.LOST)
                with contextlib.suppress(ConflictError):  # it has just been heard, or sent away
                    self._store.commit(lost, node_event(lost, now))

    def _write(self, node_id: str, beat: Beat, now: datetime) -> None:
        for _ in range(_RETRIES):
            (node,) = self._store.find(Node, id=node_id)
            after = heard(node, beat, now)
            if node.state in _AWAY or not _differs(node, after):
                return
            events = [node_event(after, now)] if after.state is not node.state else []
            try:
                self._store.commit(after, *events)
            except ConflictError:
                continue
            return
        raise ConflictError("the ledger is busy", hint="try again")

    def _flush(self, ids: list[str], pending: dict[str, datetime]) -> None:
        rows = list(_seen(self._store.find(Node, id=ids), pending))
        if not rows:
            return
        try:
            self._store.commit(*rows)
        except ConflictError:
            for row in rows:
                with contextlib.suppress(ConflictError):
                    self._store.commit(row)


def node_event(node: Node, now: datetime) -> Event:
    """A node came into its state."""
    return Event(
        id=new_id("ev", now, secrets.token_bytes(10)),
        at=now,
        subject=node.id,
        run_id="",
        kind=f"node.{node.state}",
        message=f"{node.name} is {node.state}",
    )


def _seen(nodes: Iterable[Node], pending: dict[str, datetime]) -> Iterable[Node]:
    for node in nodes:
        at = pending[node.id]
        if node.state not in _AWAY and (node.seen_at is None or node.seen_at < at):
            yield replace(node, seen_at=at)


def _differs(before: Node, after: Node) -> bool:
    return replace(before, seen_at=after.seen_at) != after


def _datasets(beat: Beat) -> tuple[Dataset, ...]:
    return tuple(item.value() for item in beat.datasets or ())
