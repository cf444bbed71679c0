"""Writing to the ledger: each change with its event in one transaction, guarded by version."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.errors import ConflictError
from broker.failpoints import failpoint
from broker.ids import new_id
from broker.model import Event, Row
from broker.ports import Store


class Journal:
    """The ledger with a clock and fresh ids.

    The clock is set at the begin of each tick and runs on by `monotonic`; ids that one journal
    makes sort in the order in which they were made.
    """

    def __init__(
        self,
        store: Store,
        monotonic: Callable[[], float] = time.monotonic,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.store = store
        self._monotonic = monotonic
        self._entropy = entropy
        self._numbers = itertools.count()
        self._set_to = datetime.min.replace(tzinfo=UTC)
        self._set_at = 0.0
        self._lock = threading.Lock()
        self.changed = 0  # rows written since the clock was set

    def set_clock(self, now: datetime) -> None:
        self._set_to, self._set_at = now, self._monotonic()
        self.changed = 0

    def now(self) -> datetime:
        return self._set_to + timedelta(seconds=self._monotonic() - self._set_at)

    def new_id(self, prefix: str) -> str:
        """Sorts after the ids made before it; three bytes of chance keep other journals apart."""
        return new_id(prefix, self.now(), self._number() + self._entropy(3))

    def new_token(self) -> str:
        """The id of an attempt: all of its entropy is chance."""
        return new_id("at", self.now(), self._entropy(5))

    def event(self, subject: str, run_id: str, kind: str, message: str, **data: Any) -> Event:
        return Event(
            id=self.new_id("ev"),
            at=self.now(),
            subject=subject,
            run_id=run_id,
            kind=kind,
            message=message,
            data=data,
        )

    def write(self, place: str, *rows: Row) -> tuple[Row, ...] | None:
        """Commit all rows, or None when somebody else changed one of them first.

        `place` names the two failpoints around it.
        """
        failpoint(f"{place}.before-commit")
        try:
            saved = self.store.commit(*rows)
        except ConflictError:
            return None
        failpoint(f"{place}.after-commit")
        with self._lock:
            self.changed += len(rows)
        return saved

    def _number(self) -> bytes:
        return (next(self._numbers) & 0xFFFF).to_bytes(2, "big")
