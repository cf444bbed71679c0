"""Logs of orders on disk: bytes at offsets, each stored once, bounded."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from broker.errors import UsageError

MAX_BYTES = 64 * 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class Appended:
    """`size` is where the next byte belongs; `gap`: bytes before the sent ones are missing."""

    size: int
    gap: bool = False


class LogFiles:
    """`<order id>.log` under one folder. The first `max_bytes` are kept, then one line says so."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._marker = f"\n[the log is cut here: it has more than {max_bytes} bytes]\n".encode()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def append(self, order_id: str, offset: int, data: bytes) -> Appended:
        """Store what is new of `data`, which begins at `offset` of the order's log."""
        with self._lock, self._open(order_id) as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._max_bytes:
                return Appended(offset + len(data))  # only counted, so that the agent goes on
            if offset > size:
                return Appended(size, gap=True)
            fresh = data[size - offset :]
            file.write(self._bounded(size, fresh))
            return Appended(max(size, offset + len(data)))

    def _bounded(self, size: int, fresh: bytes) -> bytes:
        room = self._max_bytes - size
        return fresh if len(fresh) <= room else fresh[:room] + self._marker

    def _open(self, order_id: str) -> BinaryIO:
        if not _ID.fullmatch(order_id):
            raise UsageError("not the id of an order", code="USE010")
        return open(self._folder / f"{order_id}.log", "ab", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
