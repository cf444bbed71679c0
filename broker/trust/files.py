"""Small private files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def create_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of `path`, made by the first caller; two at once read the same."""
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = _written(path, make())
    try:
        os.link(temporary, path)  # unlike a rename it never replaces what the other process made
        _settle(path.parent)
    except FileExistsError:
        return path.read_bytes()
    finally:
        temporary.unlink()
    return path.read_bytes()


def replace_file(path: Path, content: bytes) -> None:
    """Put new content, 0600, in the place of the old one; a reader sees one or the other."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _written(path, content).replace(path)
    _settle(path.parent)


def _written(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from the start
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
