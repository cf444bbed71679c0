"""Law: a failpoint does nothing unless the environment asks for a death there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

CODE = """
from broker.failpoints import failpoint
for name in ["a.before-commit", "b.after-call", "a.before-commit"]:
    failpoint(name)
    print(name, flush=True)
"""


def run(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_wish_nobody_dies() -> None:
    done = run()
    assert done.returncode == 0
    assert done.stdout.count("\n") == 3


def test_the_process_kills_itself_at_the_named_place() -> None:
    done = run(BROKER_FAILPOINT="b.after-call")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "a.before-commit\n"


def test_the_nth_time_counts() -> None:
    done = run(BROKER_FAILPOINT="a.before-commit:2")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.count("\n") == 2


def test_places_that_were_reached_can_be_recorded(tmp_path: Path) -> None:
    record = tmp_path / "places"
    assert run(BROKER_FAILPOINT_RECORD=str(record)).returncode == 0
    assert record.read_text().split() == ["a.before-commit", "b.after-call", "a.before-commit"]
