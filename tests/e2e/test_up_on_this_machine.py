"""`up` on `local`: a real process tree is leased, works, and is gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

HELLO = (
    "name: hello\nresources: {cpus: 1+, infra: local}\nenvs: {WHO: world}\nrun: echo hello $WHO\n"
)
LONG = "name: long\nresources: {infra: local}\nrun: |\n  echo started\n  sleep 1000 & sleep 1000\n"


def test_a_task_runs_and_its_lease_closes(shell: Any) -> None:
    shell.write("t.yaml", HELLO)
    done = shell("up", "t.yaml")
    assert (done.code, done.out) == (0, "hello world\n"), done.err
    (run,) = shell("status", "--all", "-o", "json").data
    assert (run["state"], run["leases"][0]["state"]) == ("succeeded", "closed")
    assert "hello world" in shell("logs", "hello").out
    assert not shell.processes()


def test_a_failing_task_fails_the_command_with_its_own_words(shell: Any) -> None:
    shell.write("t.yaml", HELLO.replace("echo hello $WHO", "echo oh; exit 7"))
    done = shell("up", "t.yaml")
    assert done.code == 1
    assert "7" in done.err
    assert done.out == "oh\n"


def test_two_nodes_know_their_ranks(shell: Any) -> None:
    text = HELLO.replace("echo hello $WHO", "echo rank $BROKER_NODE_RANK of $BROKER_NUM_NODES")
    shell.write("t.yaml", text + "num_nodes: 2\n")
    done = shell("up", "t.yaml")
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]


def test_a_detached_run_is_carried_by_a_background_engine_that_ends_itself(
    shell: Any, eventually: Callable[..., Any]
) -> None:
    shell.write("t.yaml", LONG)
    assert shell("up", "t.yaml", "--detach").code == 0
    eventually(lambda: "started" in shell("logs", "long").out)
    engine = next(
        one for one in shell("doctor", "-o", "json").data["findings"] if one["name"] == "engine"
    )
    assert "background process" in engine["text"]
    done = shell("down", "long")
    assert (done.code, "1 of 1 leases closed" in done.out) == (0, True), done.err
    eventually(lambda: not shell.processes())
    assert shell("doctor", "--leaks", "-o", "json").data["failures"] == 0


def test_an_interrupt_ends_the_run_and_gives_the_machine_back(
    shell: Any, eventually: Callable[..., Any]
) -> None:
    shell.write("t.yaml", LONG)
    process = shell.start("up", "t.yaml")
    eventually(lambda: "started" in shell("logs", "long").out)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (run,) = shell("status", "--all", "-o", "json").data
    assert (run["state"], run["leases"][0]["state"]) == ("cancelled", "closed")
    eventually(lambda: not shell.processes())


def test_a_killed_command_loses_nothing_the_next_one_goes_on(
    shell: Any, eventually: Callable[..., Any]
) -> None:
    shell.write("t.yaml", LONG)
    process = shell.start("up", "t.yaml")
    eventually(lambda: "started" in shell("logs", "long").out)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (run,) = shell("status", "-o", "json").data
    assert run["state"] == "running"
    assert shell("down", "--all").code == 0
    eventually(lambda: not shell.processes())


def test_a_kept_machine_stays_until_it_is_given_back(shell: Any) -> None:
    shell.write("t.yaml", HELLO + "keep: true\n")
    assert shell("up", "t.yaml").code == 0
    (run,) = shell("status", "-o", "json").data
    assert (run["state"], run["leases"][0]["state"]) == ("succeeded", "running")
    assert shell("down", "hello").code == 0
    assert shell("status", "-o", "json").data == []


def test_a_policy_refuses_this_machine_when_its_country_is_not_known(shell: Any) -> None:
    shell.write("t.yaml", HELLO)
    shell.write("p.yaml", "policy: p\nrules:\n  - {id: no, require: {country: [NO], bloc: EEA}}\n")
    assert shell("up", "t.yaml", "-p", "p.yaml").code == 6
    assert shell("cloud", "enable", "local", "--country", "NO").code == 0
    assert shell("up", "t.yaml", "-p", "p.yaml").code == 0


def test_the_home_holds_everything_that_was_written(shell: Any, tmp_path: Path) -> None:
    shell.write("t.yaml", HELLO)
    shell("up", "t.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "t.yaml"}
    private = [tmp_path / "home" / "keys", tmp_path / "home" / "state" / "ledger.db"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def test_a_port_that_somebody_else_took_is_left_when_no_agent_counts_on_it(shell: Any) -> None:
    shell.write("t.yaml", HELLO)
    assert shell("up", "t.yaml").code == 0
    ports = shell.home / "state" / "gateway.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports.write_text(
            json.dumps({**json.loads(ports.read_text()), "agent": taken.getsockname()[1]})
        )
        done = shell("up", "t.yaml")
    assert (done.code, done.out) == (0, "hello world\n"), done.err
