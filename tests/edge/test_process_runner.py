"""A process order ends in exactly one final state that says which script failed and how."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.errors import RequestError
from broker.model import ENDED, OrderState
from edge.process import ProcessRunner
from edge.runner import Identity, Work

ORDER = f"or_{os.getpid()}"  # of this worker alone: groups are found by it on the whole machine


@dataclass
class Heard:
    """A report that keeps what it is told."""

    states: list[tuple[OrderState, int | None, str]] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)

    def state(self, state, *, exit_code=None, detail="", data=None) -> None:
        self.states.append((state, exit_code, detail))

    def log(self, data: bytes) -> None:
        self.output.extend(data)

    def event(self, item: dict[str, Any]) -> None:
        raise AssertionError(item)

    @property
    def last(self):
        assert self.states[0][0] is OrderState.RUNNING
        assert [state in ENDED for state, _, _ in self.states] == [False, True]
        return self.states[-1]


@pytest.fixture
def carry(tmp_path):
    """Carry out one order; `stop` is set from the start when asked to."""
    here = Path("/nowhere")
    identity = Identity("nd_1", "node-1", here, here, here, here, "")

    def carry(stop: threading.Event | None = None, **spec) -> Heard:
        heard = Heard()
        work = Work(ORDER, "run_1", "process", {"setup": None, "envs": {}, **spec})
        ProcessRunner(identity, grace_s=0.3).run(work, tmp_path, heard, stop or threading.Event())
        return heard

    return carry


def test_both_scripts_run_in_order_in_the_same_folder(carry, tmp_path):
    heard = carry(setup="echo prepared > made; echo one", run="cat made; echo two >&2; pwd")
    assert heard.last == (OrderState.SUCCEEDED, 0, "")
    assert heard.output.decode() == f"one\nprepared\ntwo\n{tmp_path}\n"


def test_a_setup_that_fails_is_the_end(carry):
    heard = carry(setup="echo broken; exit 7", run="echo never")
    assert heard.last == (OrderState.FAILED, 7, "setup ended with 7")
    assert heard.output == b"broken\n"


def test_a_run_that_fails_tells_its_code(carry):
    assert carry(setup="true", run="exit 9").last == (OrderState.FAILED, 9, "run ended with 9")


def test_a_run_killed_by_a_signal_tells_it_as_a_shell_does(carry):
    assert carry(run="kill -9 $$").last == (OrderState.FAILED, 137, "run ended with 137")


def test_environment_is_the_orders_over_a_small_base(carry, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    heard = carry(run="env", envs={"WHO": "world", "BROKER_ORDER": "forged", "N": 3})
    lines = heard.output.decode().splitlines()
    assert {
        "WHO=world",
        "N=3",
        f"BROKER_ORDER={ORDER}",
        "BROKER_RUN=run_1",
        "BROKER_NODE=node-1",
    } <= {*lines}
    assert "canary" not in heard.output.decode()


def test_scripts_are_files_that_only_their_owner_can_read(carry, tmp_path):
    carry(setup="true", run="true")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sh")}
    assert modes == {"setup.sh": 0o700, "run.sh": 0o700}


def test_a_stop_cancels_and_leaves_nothing(carry, alive, eventually, tmp_path):
    name = f"stay-{tmp_path.name}"
    stop = threading.Event()
    nasty = (
        "trap '' TERM\n"
        f"setsid nohup bash -c 'trap \"\" TERM; exec -a {name} sleep 600' > /dev/null 2>&1 &\n"
        f"env -i PATH=$PATH setsid bash -c 'exec -a {name} sleep 600' &\n"
        f'bash -c "exec -a {name} sleep 600"\n'
    )

    def when_up() -> None:
        eventually(lambda: len(alive(name)) >= 3)
        stop.set()

    helper = threading.Thread(target=when_up)
    helper.start()
    heard = carry(stop, run=nasty)
    helper.join()
    assert heard.last == (OrderState.CANCELLED, None, "stopped")
    assert not alive(name)


@pytest.mark.parametrize("spec", [{"run": None}, {"run": 7}, {"run": "true", "envs": ["a"]}])
def test_an_order_that_makes_no_sense_is_refused_before_it_starts(carry, spec):
    with pytest.raises(RequestError, match=r"needs `run`|no mapping"):
        carry(**spec)


@pytest.mark.parametrize("envs", [{"A\0B": "1"}, {"A": "1\0"}])
def test_an_environment_that_no_process_can_have_is_an_error(carry, envs):
    with pytest.raises(ValueError, match="null"):
        carry(run="true", envs=envs)
