"""A machine of one's own joins with a one-time token, shows what it holds, works, and is sent away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def join(shell: Any, invitation: str, *options: str) -> subprocess.Popen[str]:
    """Start an agent with an invitation on its standard input."""
    agent = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "--join", "-", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=shell.folder,
        env=shell.environ,
    )
    assert agent.stdin
    agent.stdin.write(invitation)
    agent.stdin.close()
    agent.stdin = None
    return agent


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text("age,pulse\n61,80\n35,72\n52,90\n")
    return path


@pytest.fixture
def oslo(shell: Any, data: Path, eventually: Callable[..., Any]) -> Iterator[Any]:
    """An enrolled node with one data set, online."""
    done = shell("edge", "invite", "oslo-01", "--country", "NO")
    agent = join(shell, done.out, "--home", "agent", "--dataset", f"patients={data}")
    eventually(lambda: states(shell) == ["online"])
    yield agent
    agent.terminate()
    agent.communicate(timeout=30)


def states(shell: Any) -> list[str]:
    return [node["state"] for node in shell("edge", "list", "-o", "json").data]


def test_a_node_shows_names_and_counts_of_its_data_and_no_rows(shell: Any, oslo: Any) -> None:
    (node,) = shell("edge", "list", "-o", "json").data
    assert (node["name"], node["country"]) == ("oslo-01", "NO")
    ((name, rows),) = [(one["name"], one["rows"]) for one in node["datasets"]]
    assert (name, rows) == ("patients", 3)
    kept = b"".join(path.read_bytes() for path in (shell.home / "state").glob("ledger.db*"))
    assert b"patients" in kept  # control: what was sent is found
    assert b"61,80" not in kept
    assert "oslo-01" in shell("edge", "list").out


def test_a_task_runs_where_the_data_is(shell: Any, oslo: Any) -> None:
    shell.write(
        "t.yaml",
        "name: count\nresources: {cpus: 1+}\ndata: {class: phi, datasets: [patients]}\n"
        "run: echo here\n",
    )
    shell.write(
        "p.yaml",
        "policy: p\nrules:\n  - id: stays\n    when: {data_class: phi}\n"
        "    require: {holds_data: true, country: NO}\n",
    )
    done = shell("up", "t.yaml", "-p", "p.yaml")
    assert (done.code, done.out) == (0, "here\n"), done.err
    (run,) = shell("status", "--all", "-o", "json").data
    assert run["leases"][0]["state"] == "closed"
    assert states(shell) == ["online"]  # the machine stays, its share was given back


def test_a_used_token_is_refused_to_another_machine(
    shell: Any, eventually: Callable[..., Any]
) -> None:
    invitation = shell("edge", "invite", "oslo-01").out
    first = join(shell, invitation, "--home", "a")
    eventually(lambda: states(shell) == ["online"])
    second = join(shell, invitation, "--home", "b")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 4
    assert "TOK003" in err
    first.terminate()
    first.communicate(timeout=30)


def test_a_wrong_pin_ends_the_enrolment_before_the_token_is_sent(shell: Any) -> None:
    asked = json.loads(shell("edge", "invite", "oslo-01").out)
    wrong = {**asked, "ca_pin": "sha256:" + "0" * 64}
    agent = join(shell, json.dumps(wrong), "--home", "a")
    _, err = agent.communicate(timeout=60)
    assert agent.returncode == 4
    assert "EDG003" in err
    assert states(shell) == ["invited"]


def test_a_revoked_node_stops_and_is_not_heard_again(
    shell: Any, oslo: Any, eventually: Callable[..., Any]
) -> None:
    assert shell("edge", "revoke", "oslo-01").code == 0
    assert eventually(lambda: oslo.poll() is not None, 30)
    assert oslo.returncode == 4
    assert states(shell) == ["revoked"]


def test_a_drained_node_gets_no_new_work(shell: Any, oslo: Any) -> None:
    shell("edge", "drain", "oslo-01")
    shell.write("t.yaml", "name: t\nresources: {infra: edge/oslo-01}\nrun: 'true'\n")
    assert shell("up", "t.yaml").code == 9
    shell("edge", "resume", "oslo-01")
