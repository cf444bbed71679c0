"""Carries what the orders have said to the broker, as often as it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from broker.errors import NotFoundError, RequestError
from edge.spool import Spool

LOG_CHUNK = 256 * 1024
CHUNKS_A_TURN = 16  # then other orders have their turn
EVENTS_A_CALL = 100
EVENT_BYTES_A_CALL = 512 * 1024
log = logging.getLogger("broker.edge")


class Post(Protocol):
    """Where it goes: `edge.wire.Wire`."""

    def report(self, order_id: str, said: Mapping[str, Any]) -> None: ...

    def log(self, order_id: str, offset: int, data: bytes) -> int: ...

    def events(self, order_id: str, first: int, items: list[dict[str, Any]]) -> None: ...


def deliver(spool: Spool, post: Post) -> None:
    """Send what is there; once a turn's worth of log is sent, the rest is left for the next turn.

    The order: states, events, log, and the final state last. UnknownOutcomeError and AuthError stop
    it; calling again goes on where it stopped.
    """
    try:
        _states(spool, post)
        _events(spool, post)
        _log(spool, post)
        _states(spool, post)
    except NotFoundError:
        log.warning("%s: the broker does not know this order", spool.order_id)
        spool.abandon()
    except OSError as error:
        log.warning("%s: its files cannot be read: %s", spool.order_id, error)
        spool.abandon()
    finally:
        spool.settle()


def _states(spool: Spool, post: Post) -> None:
    while said := spool.next_state():
        try:
            post.report(spool.order_id, said)
        except RequestError as error:
            _bare_report(spool, post, said, error.message)
        spool.confirm(states=spool.sent.states + 1)


def _bare_report(spool: Spool, post: Post, said: Mapping[str, Any], why: str) -> None:
    """The state itself must arrive, even when what came with it does not please the broker."""
    log.warning("%s: a report was refused: %s", spool.order_id, why)
    detail = f"{said['detail'][:1000]} (the data of this report was refused: {why})".strip()
    try:
        post.report(spool.order_id, {"state": said["state"], "detail": detail})
    except RequestError as error:
        log.warning("%s: %s was refused: %s", spool.order_id, said["state"], error.message)


def _events(spool: Spool, post: Post) -> None:
    while True:
        first, items = spool.next_events(EVENTS_A_CALL)
        if not items:
            return
        items = _bounded(items)
        try:
            post.events(spool.order_id, first, items)
        except RequestError:
            _one_by_one(spool, post, first, items)
        spool.confirm(events=first + len(items))


def _one_by_one(spool: Spool, post: Post, first: int, items: list[dict[str, Any]]) -> None:
    """One record that the broker does not want must not keep the others back."""
    for place, item in enumerate(items, start=first):
        try:
            post.events(spool.order_id, place, [item])
        except RequestError as error:
            log.warning("%s: event %d was refused: %s", spool.order_id, place, error.message)


def _log(spool: Spool, post: Post) -> None:
    for _ in range(CHUNKS_A_TURN):
        offset, data = spool.next_log(LOG_CHUNK)
        if not data:
            return
        end = offset + len(data)
        try:
            # a broker that claims more than was sent has another log: never skip what we have
            spool.confirm(log=min(post.log(spool.order_id, offset, data), end))
        except RequestError as error:
            log.warning("%s: %d bytes of log were refused: %s", spool.order_id, len(data), error)
            spool.confirm(log=end)


def _bounded(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as fit into one call, at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(json.dumps(item))
        if size > EVENT_BYTES_A_CALL and count:
            return items[:count]
    return items
