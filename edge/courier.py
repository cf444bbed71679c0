"""Carries what the orders have said to the broker, as often as it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from broker.errors import NotFoundError, RequestError, UnknownOutcomeError
from edge.spool import Spool

LARGEST = 256 * 1024  # bytes of log or events in one call
SMALLEST = 2 * 1024
LOG_A_TURN = 4 * 1024 * 1024  # then other orders have their turn
EVENTS_A_CALL = 100
log = logging.getLogger("broker.edge")


class Post(Protocol):
    """Where it goes: `edge.wire.Wire`."""

    def report(self, order_id: str, said: Mapping[str, Any]) -> None: ...

    def log(self, order_id: str, offset: int, data: bytes) -> int: ...

    def events(self, order_id: str, first: int, items: list[dict[str, Any]]) -> None: ...


class Courier:
    """Carries over one wire, even one that always breaks after some kilobytes.

    Pieces shrink while the wire breaks and grow again while it holds.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._piece = LARGEST

    def deliver(self, spool: Spool) -> None:
        """Send what is there; after a turn's worth of log the rest is left for the next turn.

        The order: states, events, log, and the final state last. UnknownOutcomeError and AuthError
        stop it; calling again goes on where it stopped.
        """
        try:
            self._states(spool)
            self._events(spool)
            self._log(spool)
            self._states(spool)
        except UnknownOutcomeError:
            self._piece = max(SMALLEST, self._piece // 4)
            raise
        except NotFoundError:
            log.warning("%s: the broker does not know this order", spool.order_id)
            spool.abandon()
        except OSError as error:
            log.warning("%s: its files cannot be read: %s", spool.order_id, error)
            spool.abandon()
        finally:
            spool.settle()

    def _states(self, spool: Spool) -> None:
        while said := spool.next_state():
            try:
                self._post.report(spool.order_id, said)
            except RequestError as error:
                self._bare_report(spool, said, error.message)
            spool.confirm(states=spool.sent.states + 1)

    def _bare_report(self, spool: Spool, said: Mapping[str, Any], why: str) -> None:
        """The state itself must arrive, even when what came with it does not please the broker."""
        log.warning("%s: a report was refused: %s", spool.order_id, why)
        detail = f"{said['detail'][:1000]} (the data of this report was refused: {why})".strip()
        bare = {"state": said["state"], "exit_code": said["exit_code"], "detail": detail}
        try:
            self._post.report(spool.order_id, bare)
        except RequestError as error:
            log.warning("%s: %s was refused: %s", spool.order_id, said["state"], error.message)

    def _events(self, spool: Spool) -> None:
        while True:
            first, items = spool.next_events(EVENTS_A_CALL)
            if not items:
                return
            items = bounded(items, self._piece)
            try:
                self._post.events(spool.order_id, first, items)
            except RequestError:
                self._one_by_one(spool, first, items)
            self._carried(spool, events=first + len(items))

    def _one_by_one(self, spool: Spool, first: int, items: list[dict[str, Any]]) -> None:
        """One record that the broker does not want must not keep the others back."""
        for place, item in enumerate(items, start=first):
            try:
                self._post.events(spool.order_id, place, [item])
            except RequestError as error:
                log.warning("%s: event %d was refused: %s", spool.order_id, place, error.message)

    def _log(self, spool: Spool) -> None:
        sent = 0
        while sent < LOG_A_TURN:
            offset, data = spool.next_log(self._piece)
            if not data:
                return
            end = offset + len(data)
            try:
                # a broker that claims more than was sent has another log: skip nothing of ours
                at = min(self._post.log(spool.order_id, offset, data), end)
            except RequestError as error:
                log.warning("%s: a piece of log was refused: %s", spool.order_id, error.message)
                at = end
            self._carried(spool, log=at)
            sent += len(data)

    def _carried(self, spool: Spool, **moved: int) -> None:
        self._piece = min(LARGEST, self._piece * 2)
        spool.confirm(**moved)


def bounded(items: list[dict[str, Any]], most_bytes: int) -> list[dict[str, Any]]:
    """As many from the first on as take up to `most_bytes`, at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(json.dumps(item))
        if size > most_bytes and count:
            return items[:count]
    return items
