"""The init process of a machine: `python machine_init.py FOLDER GRACE_S [PARENT]`.

It detaches, holds a lock on `FOLDER/lock` for its whole life, adopts every orphan below it, runs
`FOLDER/user-data` with bash, and ends with everything below it when the script ends, when it is
asked to (SIGTERM, SIGINT), or when the process named PARENT ("pid:start") is gone. The command
returns 0 as soon as the machine lives or has lived before: one folder is one life.

Standard library only and run by path, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

MARKER = "BROKER_MACHINE"
PR_SET_CHILD_SUBREAPER = 36
LOCK_WAIT_S = 5.0
KILL_WAIT_S = 10.0
PARENT_POLL_S = 0.25
ASKED = {signal.SIGTERM, signal.SIGINT}


def main(argv: list[str]) -> int:
    """Fork the init and return once it reports; 1 when it could not start."""
    folder, grace_s, parent = Path(argv[0]), float(argv[1]), (argv[2:] or [""])[0]
    ear, mouth = os.pipe()
    if os.fork():
        os.close(mouth)
        return 0 if os.read(ear, 1) else 1
    os.setsid()
    os.close(ear)
    live(folder, grace_s, parent, mouth)
    os._exit(0)


def live(folder: Path, grace_s: float, parent: str, mouth: int) -> None:
    """The whole life of the machine. The lock goes with this process."""
    lock = _take_lock(folder)
    if lock is None:  # another init lives or has lived here
        os.write(mouth, b"1")
        return
    _adopt_orphans()
    ears = _listen()
    write(folder / "born", identity(os.getpid()))
    script = _run(folder)
    os.write(mouth, b"1")
    os.close(mouth)
    cause = _wait(ears, script.pid, parent)
    end_descendants(grace_s)
    write(folder / "ended", json.dumps({"cause": cause, "at": time.time()}))
    (folder / "user-data").unlink(missing_ok=True)  # it held a join token


def identity(pid: int) -> str:
    """`pid:start`, which no later process can have; "" when there is no such process."""
    fields = _stat(pid)
    return f"{pid}:{fields[19]}" if fields and fields[0] != "Z" else ""


def is_there(name: str) -> bool:
    """Whether the process with this identity still runs."""
    return identity(int(name.partition(":")[0])) == name


def write(path: Path, text: str) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def descendants(root: int) -> list[int]:
    """Every process below `root`, as /proc shows it now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all we want of thousands of entries
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def end_descendants(grace_s: float) -> None:
    """Ask all of them to end, then kill; returns when none is left (or none can be killed)."""
    asked_until = time.monotonic() + grace_s
    killed_until = asked_until + KILL_WAIT_S
    _signal_all(signal.SIGTERM)
    while _reap_leaves_children() and time.monotonic() < asked_until:
        time.sleep(0.01)
    while _reap_leaves_children() and time.monotonic() < killed_until:
        _signal_all(signal.SIGKILL)  # again and again: the killed leave us their children
        time.sleep(0.01)


def _take_lock(folder: Path) -> int | None:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + LOCK_WAIT_S
    while not (folder / "born").exists() and time.monotonic() < until:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
            continue
        # Between the look and the lock another init may have lived its whole life.
        return None if (folder / "born").exists() else descriptor
    return None


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _listen() -> int:
    """A descriptor on which every signal we care for shows as one byte."""
    ears, bell = os.pipe()
    os.set_blocking(ears, False)
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    for number in (*ASKED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return ears


def _run(folder: Path) -> subprocess.Popen[bytes]:
    """To be held on to: a Popen that is let go reaps its process, and we would wait for ever."""
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return subprocess.Popen(["bash", str(folder / "user-data")], cwd=home, stdin=subprocess.DEVNULL)


def _wait(ears: int, script: int, parent: str) -> str:
    """Why the machine ends."""
    while True:
        select.select([ears], [], [], PARENT_POLL_S if parent else None)
        heard = _heard(ears)
        if heard & ASKED:
            return "asked to end"
        if (code := _reaped(script)) is not None:
            return f"user data ended with {code}"
        if parent and not is_there(parent):
            return "its host is gone"


def _heard(ears: int) -> set[int]:
    try:
        return set(os.read(ears, 4096))
    except BlockingIOError:
        return set()


def _reaped(script: int) -> int | None:
    """Reap all that ended; the script's exit code if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == script:
            code = os.waitstatus_to_exitcode(status)


def _reap_leaves_children() -> bool:
    _reaped(0)
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal_all(number: int) -> None:
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: [0] state, [1] parent, [19] start time."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - called for every process
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
