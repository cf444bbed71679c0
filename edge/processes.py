"""Processes of an order, none of which outlives it.

    with ProcessGroup(work.id) as group:
        child = group.spawn(["bash", "run.sh"], cwd=folder, env=base_env(), on_output=report.log)
        while (code := child.wait(0.1)) is None and not stop.is_set(): ...
    # here nothing of the group is alive, and every byte of output has been handed over

Two nets, each enough for ordinary programs:

1. Every child has a warden (`edge/warden.py`) that adopts its orphans, whatever session they moved
   to and whatever they did to their environment. The warden ends the tree when the command ends,
   when asked to, and when this process dies, even by SIGKILL.
2. Every process inherits `BROKER_ORDER=<id>`; `stop_all(id)` kills what carries that mark. It is
   run at the end of a group and, by the agent, for orders that an earlier agent left behind.

Not caught: a process that both kills its warden and empties its environment, and work that is
handed to a daemon of the machine (a container of dockerd, a unit of systemd).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edge import warden

MARKER = "BROKER_ORDER"
GRACE_S = 5.0
SWEEP_S = 5.0
DRAIN_S = 5.0  # after the tree has ended, for what is still in the pipe
CHUNK = 64 * 1024
_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    "BROKER_MACHINE",  # by which the machine that we run in, if it is one of processes, is cleaned
)

Output = Callable[[bytes], None]


def base_env(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a program needs of the agent's environment, and nothing that may be secret.

    PATH, HOME and LANG are always there: a machine's first script often has none of them.
    """
    kept = {name: environ[name] for name in _INHERITED if name in environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": _home(), **kept}


class Process:
    """One command with everything that it started. Made by `ProcessGroup.spawn` or `spawn`."""

    def __init__(self, popen: subprocess.Popen[bytes], on_output: Output, grace_s: float) -> None:
        self._popen = popen
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._reader = threading.Thread(target=self._read, args=(on_output,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the warden: the command is its child."""
        return self._popen.pid

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code (128 + N: killed by signal N) once the whole tree has ended, else None.

        When there is a code, the output has been handed over, too. (If the warden was killed, the
        tree may live on until the group is stopped.)
        """
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if code < 0:
            return 128 - code
        self._reader.join(DRAIN_S)
        return code

    def stop(self) -> None:
        """SIGTERM to the whole tree, SIGKILL after the grace. Returns when it is gone."""
        self.ask()
        limit_s = self._grace_s + warden.KILL_WAIT_S + 1
        if self.wait(limit_s) is None:
            self._popen.kill()
            self.wait()

    def ask(self) -> None:
        """Begin to stop, without waiting for the end."""
        with self._lock:
            assert self._popen.stdin is not None
            self._popen.stdin.close()

    def check(self) -> None:
        """After the end: wait for the rest of the output, and raise what `on_output` raised."""
        self._reader.join(DRAIN_S)
        if self._failure:
            raise self._failure

    def _read(self, on_output: Output) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as pipe:
            try:
                for chunk in _chunks(pipe):
                    on_output(chunk)
            except Exception as error:  # noqa: BLE001 - raised again by `check`; the pipe is closed
                self._failure = error


class ProcessGroup:
    """All processes of one order. Leaving the `with` block ends them and hands over their output.

    `grace_s`: how long a process may take to end after SIGTERM before SIGKILL.
    """

    def __init__(self, order_id: str, grace_s: float = GRACE_S) -> None:
        self._order_id = order_id
        self._grace_s = grace_s
        self._processes: list[Process] = []

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        on_output: Output,
    ) -> Process:
        """Start a command in a session of its own; `env` is all it gets, beside the order's mark.

        `on_output` gets stdout and stderr as they come, from a thread, at most 64 KiB at a time; a
        slow one slows the command. A command that cannot be started exits with 127 or 126.
        """
        process = spawn(
            argv,
            cwd=cwd,
            env={**env, MARKER: self._order_id},
            on_output=on_output,
            grace_s=self._grace_s,
        )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End every process of the group, together. The group may be used again."""
        for process in self._processes:
            process.ask()
        for process in self._processes:
            process.stop()
        stop_all(self._order_id)
        processes, self._processes = self._processes, []
        for process in processes:
            process.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_output: Output,
    grace_s: float = GRACE_S,
) -> Process:
    """Start one command under a warden of its own. A group does this and cleans up, too."""
    command = [sys.executable, "-I", "-S", warden.__file__, str(grace_s), *argv]
    popen = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )
    return Process(popen, on_output, grace_s)


def stop_all(order_id: str) -> bool:
    """Kill every process that carries the order's mark. False: some are still there after 5 s."""
    mark = f"{MARKER}={order_id}".encode()
    until = time.monotonic() + SWEEP_S
    while marked := list(_marked(mark)):
        for pid in marked:
            _kill(pid, mark)
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _chunks(pipe: IO[bytes]) -> Iterator[bytes]:
    while chunk := os.read(pipe.fileno(), CHUNK):
        yield chunk


def _marked(mark: bytes) -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all we want of thousands of entries
        if entry.isdigit() and int(entry) != own and _carries(int(entry), mark):
            yield int(entry)


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to another user
        return False


def _kill(pid: int, mark: bytes) -> None:
    """Only while it is still the process that carried the mark: a number may be given again."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if _carries(pid, mark):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container may run under a number that has no name
        return "/"
