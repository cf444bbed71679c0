"""Orders at work: one thread each, from its start until no process of it is left."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.model import OrderState
from edge.orders import OrderBook
from edge.runner import Identity, Work
from edge.runners import runner_for
from edge.spool import Spool

log = logging.getLogger("broker.edge")


@dataclass(frozen=True, slots=True)
class _Hand:
    thread: threading.Thread
    stop: threading.Event


class Workers:
    """Whatever a runner does, its order ends with exactly one final state."""

    def __init__(self, identity: Identity, book: OrderBook) -> None:
        self._identity = identity
        self._book = book
        self._hands: dict[str, _Hand] = {}
        self._lock = threading.Lock()

    @property
    def running(self) -> list[str]:
        with self._lock:
            return sorted(self._hands)

    def start(self, work: Work, spool: Spool) -> None:
        stop = threading.Event()
        thread = threading.Thread(
            target=self._carry_out, args=(work, spool, stop), name=work.id, daemon=True
        )
        with self._lock:
            self._hands[work.id] = _Hand(thread, stop)
        log.info("%s: %s begins", work.id, work.kind)
        thread.start()

    def stop(self, order_id: str) -> None:
        """Ask an order to end; it ends in its own thread."""
        with self._lock:
            hand = self._hands.get(order_id)
        if hand and not hand.stop.is_set():
            log.info("%s: is to stop", order_id)
            hand.stop.set()

    def stop_all(self, patience_s: float) -> bool:
        """Ask all to end, and wait. False: some have not ended in time."""
        with self._lock:
            hands = list(self._hands.values())
        for hand in hands:
            hand.stop.set()
        until = time.monotonic() + patience_s
        for hand in hands:
            hand.thread.join(max(0.0, until - time.monotonic()))
        return not self.running

    def _carry_out(self, work: Work, spool: Spool, stop: threading.Event) -> None:
        try:
            runner = runner_for(work.kind, self._identity)
            runner.run(work, self._book.files(work.id), spool, stop)
            spool.state(OrderState.FAILED, detail="its runner ended without a result")
        except BrokerError as error:
            hint = f" ({error.hint})" if error.hint else ""
            spool.state(OrderState.FAILED, detail=f"{error.message}{hint}")
        except Exception as error:
            log.exception("%s: %s failed", work.id, work.kind)
            spool.state(OrderState.FAILED, detail=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                del self._hands[work.id]
            log.info("%s: has ended", work.id)
