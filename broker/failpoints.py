"""Places where a test may kill the process, to prove that a crash there loses and leaks nothing.

BROKER_FAILPOINT="launch.after-commit:2" kills this process with SIGKILL the second time it gets
there. BROKER_FAILPOINT_RECORD=file only writes down, one to a line, which places were reached.
Without these variables `failpoint` does nothing and costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

_KILL = os.environ.get("BROKER_FAILPOINT", "")
_RECORD = os.environ.get("BROKER_FAILPOINT_RECORD", "")
_ACTIVE = bool(_KILL or _RECORD)
_reached: Counter[str] = Counter()
_lock = threading.Lock()


def failpoint(name: str) -> None:
    """Die here when the environment says so. `name` is stable: "subject.before-what"."""
    if _ACTIVE:
        _reach(name)


def _reach(name: str) -> None:
    with _lock:
        _reached[name] += 1
        if _RECORD:
            _write(name)
        wanted, _, nth = _KILL.partition(":")
        if name == wanted and _reached[name] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def _write(name: str) -> None:
    handle = os.open(_RECORD, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{name}\n".encode())
    finally:
        os.close(handle)
