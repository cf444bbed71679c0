"""What an order has said, kept on disk until the broker has it.

A runner's reports go into three files that only grow: `states.jsonl`, `events.jsonl` and `log`. How
much of each the broker has confirmed stands in `sent.json`. Writing never waits for the network; a
reply that is lost is repaired by sending the same again, which the broker ignores.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from broker.model import ENDED, OrderState
from edge.files import write_file

MAX_LOG_BYTES = 64 * 1024 * 1024
CUT = b"\n[the log is cut here: the order wrote more than the agent keeps]\n"
log = logging.getLogger("broker.edge")
_MAX_DEPTH = 25


@dataclass(frozen=True, slots=True)
class Sent:
    """How many states, events and bytes of log the broker has confirmed."""

    states: int = 0
    events: int = 0
    log: int = 0


class Spool:
    """The `Report` of one order, and what is left to be sent of it. Safe to use from many threads.

    `wake` is called after each write. After the first final state all others are dropped.
    """

    def __init__(
        self, folder: Path, wake: Callable[[], None], max_log_bytes: int = MAX_LOG_BYTES
    ) -> None:
        self.order_id = folder.name
        self._folder = folder
        self._wake = wake
        self._max_log_bytes = max_log_bytes
        self._lock = threading.Lock()
        self._states = _Lines(folder / "states.jsonl")
        self._events = _Lines(folder / "events.jsonl")
        self._log = folder / "log"
        self._size = self._log.stat().st_size if self._log.exists() else 0
        self._sent = _read_sent(folder / "sent.json")

    # ------------------------------------------------------------------ what a runner says

    def state(
        self,
        state: OrderState,
        *,
        exit_code: int | None = None,
        detail: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        said = {"state": state, "exit_code": exit_code, "detail": detail, "data": data or {}}
        with self._lock:
            if self._ended():
                return
            self._states.append(said)
        self._wake()

    def event(self, item: dict[str, Any]) -> None:
        with self._lock:
            self._events.append(item)
        self._wake()

    def log(self, data: bytes) -> None:
        """OSError when the disk is full. Beyond 64 MiB the log is cut, with a line that says so."""
        with self._lock:
            room = self._max_log_bytes - len(CUT) - self._size
            if room < 0:
                return
            kept = data if len(data) <= room else data[:room] + CUT
            with self._log.open("ab", buffering=0) as file:
                self._size += _write_all(file.fileno(), kept)
        self._wake()

    # -------------------------------------------------------------------- what is to be sent

    @property
    def ended(self) -> bool:
        with self._lock:
            return self._ended()

    @property
    def sent(self) -> Sent:
        with self._lock:
            return self._sent

    @property
    def delivered(self) -> bool:
        """Whether the order has ended and the broker has everything of it."""
        with self._lock:
            return self._ended() and self._sent == self._all()

    @property
    def pending(self) -> bool:
        """Whether there is something that the broker does not have."""
        with self._lock:
            return self._sent != self._all()

    def next_state(self) -> dict[str, Any] | None:
        """The next state to send.

        The final one waits until the broker has all events and the log: after it the broker may
        take the machine away.
        """
        with self._lock:
            place = self._sent.states
            if place >= len(self._states.items):
                return None
            said = self._states.items[place]
            whole = replace(self._all(), states=place)
            return None if said["state"] in ENDED and self._sent != whole else said

    def next_events(self, most: int) -> tuple[int, list[dict[str, Any]]]:
        """The number of the first event that is not sent yet, and up to `most` from there."""
        with self._lock:
            first = self._sent.events
            return first, self._events.items[first : first + most]

    def next_log(self, most: int) -> tuple[int, bytes]:
        """The offset of the first byte that is not sent yet, and up to `most` bytes from there."""
        with self._lock:
            offset, size = self._sent.log, self._size
        if offset >= size:
            return offset, b""
        with self._log.open("rb") as file:
            file.seek(offset)
            return offset, file.read(min(most, size - offset))

    def confirm(self, **moved: int) -> None:
        """The broker has so many `states`, `events`, bytes of `log`."""
        with self._lock:
            self._sent = replace(self._sent, **moved)

    def settle(self) -> None:
        """Remember across a restart what was confirmed. Losing it only means sending again."""
        with contextlib.suppress(OSError):
            note = json.dumps(asdict(self.sent)).encode()
            write_file(self._folder / "sent.json", note, durable=False)

    def rewind(self) -> None:
        """Send all states again: the broker does not have the end of an order that has ended."""
        self.confirm(states=0)
        self._wake()

    def abandon(self) -> None:
        """The broker does not know the order: there is nobody to send to."""
        with self._lock:
            self._sent = self._all()
        self.settle()

    def _ended(self) -> bool:
        return bool(self._states.items) and self._states.items[-1]["state"] in ENDED

    def _all(self) -> Sent:
        return Sent(len(self._states.items), len(self._events.items), self._size)


class _Lines:
    """A file of JSON lines and its items. A line that was cut off by a crash is cut away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.items: list[dict[str, Any]] = []
        if path.exists():
            good = 0
            for line in path.read_bytes().split(b"\n")[:-1]:
                try:
                    self.items.append(json.loads(line))
                except ValueError:
                    break
                good += len(line) + 1
            os.truncate(path, good)

    def append(self, item: Mapping[str, Any]) -> None:
        """Durable, unless the disk is full: then the item is only kept in memory."""
        line = json.dumps(plain(item))
        self.items.append(json.loads(line))
        try:
            with self._path.open("ab", buffering=0) as file:
                _write_all(file.fileno(), line.encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("%s cannot be written, kept in memory: %s", self._path, error)


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it: NaN and infinities become None, unknown objects their text."""
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def _write_all(handle: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
    return len(data)


def _read_sent(path: Path) -> Sent:
    try:
        return Sent(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return Sent()  # the broker ignores what it has already
