"""A real process tree that stands for a machine. Used by `local` and by the AWS sandbox.

Each machine has its own folder, private to the user:

    machine.json   what the caller noted about it, and a digest of how it was booted
    user-data      the script (0600), removed when the machine has ended
    lock           held by the init process for its whole life: held = alive
    born, ended    "pid:start" of the init; why and when it ended
    log, home/     output of everything in it; its HOME

Every process in it carries `BROKER_MACHINE=<folder>` in its environment, so that even when the
init is killed with -9 all of them are found again. A folder has one life: booting it twice, at
once or after a crash at any point, gives the same machine, dead or alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.errors import ConflictError, UnknownOutcomeError
from providers import machine_init
from providers.machine_init import MARKER, identity, write

BOOT_WAIT_S = 30.0
GRACE_S = 2.0
SWEEP_ROUNDS = 200
BASE = ("PATH", "LANG", "LC_ALL", "TZ")  # all that a machine takes from its host's environment


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that has been born. `ended_at` is seconds since 1970, None while it lives."""

    folder: Path
    born_at: float
    alive: bool
    ended_at: float | None = None
    cause: str = ""
    note: dict[str, Any] = field(default_factory=dict)


def boot(
    folder: Path,
    user_data: str,
    env: Mapping[str, str],
    *,
    note: Mapping[str, Any] | None = None,
    host: str = "",
    grace_s: float = GRACE_S,
) -> Machine:
    """The machine of this folder, started if it never was. Returns once its init runs.

    `host` ("pid:start") makes the machine end with that process. ConflictError: the folder already
    has a machine that was booted from something else. UnknownOutcomeError: its init did not report.
    """
    digest = hashlib.sha256(f"{user_data}\0{sorted((note or {}).items())}".encode()).hexdigest()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / "boot"):
        if not _born(folder):
            write(folder / "machine.json", json.dumps({"note": dict(note or {}), "digest": digest}))
            write(folder / "user-data", user_data)
            _spawn(folder, env, [str(grace_s), *([host] if host else [])])
    if _card(folder)["digest"] != digest:
        raise ConflictError(f"{folder.name} was booted from other user data")
    machine = look(folder)
    if machine is None:
        raise UnknownOutcomeError(f"{folder.name} did not come up: {log_tail(folder)}")
    return machine


def look(folder: Path) -> Machine | None:
    """The machine of this folder; None when none was ever born. A dead one has no process left."""
    if not _born(folder):
        return None
    living = alive(folder)
    if not living and not (folder / "ended").exists():  # its init was killed
        sweep(folder)
        write(folder / "ended", json.dumps({"cause": "killed", "at": time.time()}))
    end = {} if living else json.loads((folder / "ended").read_text())
    return Machine(
        folder=folder,
        born_at=(folder / "born").stat().st_mtime,
        alive=living,
        ended_at=end.get("at"),
        cause=end.get("cause", ""),
        note=_card(folder)["note"],
    )


def alive(folder: Path) -> bool:
    """Whether its init runs. Asks the lock, so a recycled pid cannot deceive."""
    if not _born(folder):  # also keeps this probe out of the way of an init that takes the lock
        return False
    with (folder / "lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def stop(folder: Path, grace_s: float = GRACE_S) -> None:
    """End the machine and everything in it; quiet when it has ended before.

    UnknownOutcomeError: a process of it cannot be killed.
    """
    if not _born(folder):
        return
    _ask(folder)
    until = time.monotonic() + grace_s + 1
    while alive(folder) and time.monotonic() < until:
        time.sleep(0.01)
    sweep(folder)
    look(folder)  # notes the end if the init could not


def sweep(folder: Path) -> None:
    """Kill every process that carries this machine's marker, until none is left."""
    marker = f"{MARKER}={folder}".encode()
    for _ in range(SWEEP_ROUNDS):
        found = [pid for pid in _pids() if marker in _environ(pid)]
        if not found:
            return
        for pid in found:
            _kill(pid, signal.SIGKILL, marker)
        time.sleep(0.01)
    raise UnknownOutcomeError(f"a process of {folder.name} cannot be killed")


def here(pid: int | None = None) -> str:
    """The identity of a process (this one), for `boot(host=...)`."""
    return identity(os.getpid() if pid is None else pid)


def log_tail(folder: Path, size: int = 2000) -> str:
    """The last of what the machine printed."""
    path = folder / "log"
    return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on this file, between processes and between threads."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _spawn(folder: Path, env: Mapping[str, str], options: list[str]) -> None:
    base = {name: os.environ[name] for name in BASE if name in os.environ}
    command = [sys.executable, "-I", "-S", machine_init.__file__, str(folder), *options]
    with (folder / "log").open("ab") as log:
        subprocess.run(
            command,
            check=False,  # `look` tells whether it was born
            env={**base, "HOME": str(folder / "home"), **env, MARKER: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=BOOT_WAIT_S,
        )


def _born(folder: Path) -> bool:
    return (folder / "born").exists()


def _card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "machine.json").read_text())
    return card


def _ask(folder: Path) -> None:
    pid = int((folder / "born").read_text().partition(":")[0])
    if alive(folder):
        _kill(pid, signal.SIGTERM, f"{MARKER}={folder}".encode())


def _kill(pid: int, number: int, marker: bytes) -> None:
    """Signal a process of this machine, and never a later one that got its pid."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if marker in _environ(pid):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _pids() -> list[int]:
    own = os.getpid()
    names = os.listdir("/proc")  # noqa: PTH208 - names are all we want of thousands of entries
    return [int(name) for name in names if name.isdigit() and int(name) != own]


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # ended, or another user's
        return []
