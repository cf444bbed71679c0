"""The parent of one process tree: `python warden.py GRACE_S COMMAND...`.

It adopts every orphan below it, so a process that daemonises (`setsid`, `nohup`, a double fork, an
empty environment) stays in the tree. The tree ends when the command ends, when this process is
asked to (SIGTERM, SIGINT), or when the agent that holds the other end of its stdin is gone, however
it went. Exits with the command's code once nothing is left, 128 + N for a death by signal N.

Standard library only and run by path, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LINGER_S = 0.5  # for what ends by itself with the command, such as `tee` at the end of a pipe
KILL_WAIT_S = 10.0
POLL_S = 0.01
ASKED = frozenset({signal.SIGTERM, signal.SIGINT})


def main(argv: list[str]) -> int:
    grace_s, command = float(argv[0]), argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ears = _listen()
    try:
        child = _start(command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        return 127 if isinstance(error, FileNotFoundError) else 126
    _let_go()
    status = _watch(ears, child)
    linger_until = time.monotonic() + (LINGER_S if status is not None else 0)
    while time.monotonic() < linger_until and _some_left():
        time.sleep(POLL_S)
    status = _end_tree(child, grace_s, status)
    return 128 + signal.SIGKILL if status is None else exit_code(status)


def exit_code(status: int) -> int:
    """As a shell tells it, from what `waitpid` gave."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def descendants(root: int) -> list[int]:
    """Every process below `root`, as /proc shows it now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all we want of thousands of entries
        if entry.isdigit() and (parent := _parent(entry)):
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _start(command: list[str]) -> int:
    """In a session of its own: what it sends to its group does not reach us."""
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ignored_by_python = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[nothing],
        setsid=True,
        setsigdef=ignored_by_python,
    )


def _watch(ears: int, child: int) -> int | None:
    """The command's status when it ended by itself; None when the tree is to end."""
    lifeline = 0  # nobody writes to it: that it can be read means that its other end is closed
    while True:
        ready, _, _ = select.select([ears, lifeline], [], [])
        heard = set(os.read(ears, 4096)) if ears in ready else set()
        if (status := _reap(child)) is not None:
            return status
        if heard & ASKED or lifeline in ready:
            return None


def _end_tree(child: int, grace_s: float, status: int | None) -> int | None:
    """Ask everything to end, then kill. Returns the command's status, None when it is not known."""
    asked_until = time.monotonic() + grace_s
    killed_until = asked_until + KILL_WAIT_S
    if _some_left():
        _signal_all(signal.SIGTERM, signal.SIGCONT)
    while True:
        found = _reap(child)
        status = found if found is not None else status
        now = time.monotonic()
        if not _some_left() or now > killed_until:
            return status
        if now > asked_until:
            _signal_all(signal.SIGKILL)  # again and again: the killed leave us their children
        time.sleep(POLL_S)


def _listen() -> int:
    """A descriptor on which every signal we care for shows as one byte."""
    ears, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    for number in (*ASKED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return ears


def _let_go() -> None:
    """The output is the tree's alone: its reader sees the end of it when the tree has ended."""
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)


def _reap(child: int) -> int | None:
    """Collect all that ended; the status of `child` if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _some_left() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal_all(*numbers: int) -> None:
    for pid in descendants(os.getpid()):
        for number in numbers:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                break


def _parent(pid: str) -> int:
    """0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - called for every process
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
