"""An audit file of JSON lines, each of which holds the SHA-256 of the line before it.

Taking out, changing or moving a line breaks the chain at that place; cutting off the end shows
against `head`, the hash of the last line, which is reported elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START = "0" * 64


class Chain:
    """Appends to one file. Not shared between threads; flushed line by line."""

    def __init__(self, path: Path) -> None:
        self.head = START
        self.lines = 0
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def append(self, record: Mapping[str, Any]) -> None:
        """`record` is plain JSON without the key `prev`."""
        line = json.dumps({**record, "prev": self.head}, sort_keys=True, separators=(",", ":"))
        self.head = hashlib.sha256(line.encode()).hexdigest()
        self.lines += 1
        self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


def broken_at(path: Path, head: str) -> int | None:
    """The line (from 1) where the chain breaks; one past the end when only `head` differs."""
    previous, number = START, 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if _previous(line) != previous:
            return number
        previous = hashlib.sha256(line.encode()).hexdigest()
    return None if previous == head else number + 1


def _previous(line: str) -> str | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("prev") if isinstance(value, dict) else None
