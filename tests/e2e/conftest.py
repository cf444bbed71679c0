"""The command as a user runs it, in a home of its own, and proof that nothing of it is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)["data"]


class Shell:
    """Runs `broker` in one folder with one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "BROKER_HOME": str(self.home), "NO_COLOR": "1"}

    def __call__(self, *arguments: str, timeout: float = 150) -> Done:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return Done(process.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "broker.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        )

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name

    def processes(self) -> list[str]:
        """Command lines of every process that belongs to this folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if words and str(self.folder).encode() in words + environ:
                found.append(words.decode("utf-8", "replace"))
        return found


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll a real process's effect; the value, or a failure that says it never came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not true within {seconds} s")


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return until


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell whose every process must be gone at the end of the test."""
    one = Shell(tmp_path)
    yield one
    if one.home.exists():
        one("down", "--all")
        for node in one("edge", "list", "-o", "json").data:
            one("edge", "revoke", node["id"])  # a node that may come back keeps an engine up
    until(lambda: not one.processes(), 30)
