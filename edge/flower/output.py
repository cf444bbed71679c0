"""Where the output of Flower's processes goes: a file of the order, and further if wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

TAIL = 4000
FILE_LIMIT = 64 * 1024 * 1024  # a SuperLink writes a line for every request, for weeks


class Output:
    """Takes bytes as they come. `seen` is set once `marker` has gone by, also across two pieces."""

    def __init__(
        self,
        path: Path,
        forward: Callable[[bytes], None] | None = None,
        marker: bytes = b"",
    ) -> None:
        self.seen = threading.Event()
        self._path = path
        self._forward = forward
        self._marker = marker
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size > FILE_LIMIT:
            self._path.replace(self._path.with_suffix(".old"))
        with self._path.open("ab") as file:
            file.write(piece)
        if self._marker and not self.seen.is_set():
            self._rest = (self._rest + piece)[-len(piece) - len(self._marker) :]
            if self._marker in self._rest:
                self.seen.set()
        if self._forward is not None:
            self._forward(piece)

    def tail(self) -> str:
        """The last characters of the file, "" when there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - TAIL))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""
