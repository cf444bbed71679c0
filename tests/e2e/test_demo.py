"""The demo trains, tells, and leaves nothing: after its end, and after an interrupt at any moment."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def sockets_of(shell: Any) -> set[str]:
    """Sockets of the processes that belong to this shell's folder."""
    inodes: set[str] = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if str(shell.folder).encode() in words:
                inodes |= {str(link.readlink()) for link in (entry / "fd").iterdir()}
        except (OSError, ValueError):
            continue
    return {name for name in inodes if name.startswith("socket:")}


def test_three_sites_train_and_the_receipt_says_so(shell: Any) -> None:
    done = shell("demo", "--folder", "d", "-o", "json", timeout=280)
    assert done.code == 0, done.err
    receipt = done.data
    assert len(receipt["sites"]) == 3
    assert [site["country"] for site in receipt["sites"]] == ["DE", "FR", "NO"]
    assert len(receipt["rounds"]) >= 3
    assert all(one["aggregated"] and len(one["sites"]) == 3 for one in receipt["rounds"])
    metrics = receipt["metrics"]
    assert metrics["global_accuracy"] > 0.90
    assert metrics["global_accuracy"] > metrics["best_single_site_accuracy"]
    assert all(site["bytes_up"] > 0 for site in receipt["sites"])
    (aggregator,) = [one for one in receipt["machines"] if one["role"] == "aggregator"]
    assert aggregator["cloud"] == "aws@sandbox"
    plan = re.search(r"^\[1/4\] plan .* ([0-9.]+) s$", done.err, flags=re.MULTILINE)
    assert plan
    assert "Why not the others" in done.err
    assert not shell.processes()
    assert not sockets_of(shell)
    assert {path.name for path in shell.folder.iterdir()} == {"d"}


def test_a_folder_that_no_demo_made_is_left_alone(shell: Any) -> None:
    (shell.folder / "d").mkdir()
    (shell.folder / "d" / "mine").touch()
    assert shell("demo", "--folder", "d").code == 2
    assert (shell.folder / "d" / "mine").exists()


@pytest.mark.parametrize(
    "moment", ["at once", "[1/4]", "[2/4]", "[3/4]", "superlink on aggregator-0: ready", "round 1"]
)
def test_an_interrupt_at_any_moment_leaves_nothing_running(
    moment: str, shell: Any, eventually: Callable[..., Any]
) -> None:
    process = shell.start("demo", "--folder", "d")
    if moment != "at once":
        assert any(moment in line for line in process.stderr), "the moment never came"
    os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does
    _, err = process.communicate(timeout=120)
    before_python_listens = {-signal.SIGINT} if moment == "at once" else set()
    assert process.returncode in {130} | before_python_listens, err
    assert "Traceback" not in err
    assert not shell.processes()
    assert not sockets_of(shell)


def test_a_killed_demo_is_cleaned_up_by_its_own_children(
    shell: Any, eventually: Callable[..., Any]
) -> None:
    """Nobody can tidy up after kill -9 but those who watch: sites and sandbox end by themselves."""
    process = shell.start("demo", "--folder", "d")
    assert any("[3/4]" in line for line in process.stderr)
    assert shell.processes()  # control: there is something to end
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: not shell.processes(), 60)


def test_a_second_demo_in_the_same_folder_starts_afresh(shell: Any) -> None:
    for _ in range(2):
        process = shell.start("demo", "--folder", "d")
        assert any("[3/4]" in line for line in process.stderr)
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode == 130
