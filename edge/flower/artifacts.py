"""What a run leaves behind: every file named with its hash; small ones go home with the report."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

INLINE_LIMIT = 256 * 1024  # all files together; a report is one JSON message
FILE_LIMIT = 100


def collect(folder: Path) -> list[dict[str, Any]]:
    """`name`, `bytes`, `sha256` of each file, and `content_b64` while there is room. By name."""
    found: list[dict[str, Any]] = []
    room = INLINE_LIMIT
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    for path, _ in zip(files, range(FILE_LIMIT), strict=False):
        size = path.stat().st_size
        item: dict[str, Any] = {"name": path.relative_to(folder).as_posix(), "bytes": size}
        if size <= room:
            content = path.read_bytes()
            item["content_b64"] = base64.b64encode(content).decode("ascii")
            item["sha256"] = hashlib.sha256(content).hexdigest()
            room -= size
        else:
            item["sha256"] = _hash(path)
        found.append(item)
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
