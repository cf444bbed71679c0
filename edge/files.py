"""Small private files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def make_folder(path: Path) -> Path:
    """The folder, for its owner only, with the folders above it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """In the place of what was there; a reader sees one or the other, also after a power cut.

    Without `durable` the power cut may take it.
    """
    handle, draft = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}."
    )  # 0600 from the start
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(handle)
    Path(draft).replace(path)
    if durable:
        settle(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symbolic link say `target`, in one step and durably."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
    settle(link.parent)


def settle(folder: Path) -> None:
    """Names in the folder survive a power cut from now on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
