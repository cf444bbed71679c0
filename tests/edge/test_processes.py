"""No process outlives its group, whatever it does; and every byte it wrote has been handed over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from edge import warden
from edge.processes import CHUNK, MARKER, ProcessGroup, base_env, spawn, stop_all

ORDER = f"or_{os.getpid()}"  # of this worker alone: groups are found by it on the whole machine
ROOT = Path(__file__).resolve().parents[2]
DAEMONS = {
    "in the background": "{stay} &",
    "in a session of its own": "setsid {stay} &",
    "with nohup, ignoring TERM": "trap '' TERM HUP; nohup {stay} > /dev/null 2>&1 &",
    "with an empty environment": "env -i PATH=$PATH setsid {stay} &",
    "forked twice, output closed": "(setsid {stay} > /dev/null 2>&1 < /dev/null &) &",
    "twice, with an empty environment": "(env -i PATH=$PATH setsid bash -c '{stay} & exit') &",
    "stopped": "{stay} & kill -STOP $!",
}


def stay(name: str) -> str:
    """A command that shows as `name` in the list of processes and would stay for ten minutes."""
    return f'bash -c "exec -a {name} sleep 600"'


@pytest.fixture
def token(tmp_path):
    return f"stay-{os.getpid()}-{tmp_path.name}"


@pytest.fixture
def run(tmp_path):
    """Run a script in a group until it ends; its exit code and output."""

    def run(script: str, grace_s: float = 0.3, order_id: str = ORDER) -> tuple[int, bytes]:
        output = bytearray()
        with ProcessGroup(order_id, grace_s) as group:
            process = group.spawn(
                ["bash", "-c", script], cwd=tmp_path, env=base_env(), on_output=output.extend
            )
            code = process.wait(30)
        assert code is not None
        return code, bytes(output)

    return run


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill $$", 143), ("kill -9 $$", 137)],
)
def test_the_exit_code_is_the_scripts_own(run, script, code):
    assert run(script)[0] == code


def test_a_command_that_is_not_there_or_cannot_run_says_so(tmp_path):
    (tmp_path / "plain").write_text("no program")
    for command, code in (("/no/such/program", 127), (str(tmp_path / "plain"), 126)):
        output = bytearray()
        with ProcessGroup(ORDER) as group:
            process = group.spawn([command], cwd=tmp_path, env={}, on_output=output.extend)
            assert process.wait(30) == code
        assert command.encode() in output


def test_output_arrives_byte_for_byte_in_order(run, tmp_path):
    every = bytes(range(256)) * 400
    (tmp_path / "data").write_bytes(every)
    assert run("cat data; echo; cat data >&2") == (0, every + b"\n" + every)


def test_ten_megabytes_of_output_take_no_more_memory_than_a_few_chunks(tmp_path):
    sizes = []
    tracemalloc.start()
    try:
        with ProcessGroup(ORDER) as group:
            process = group.spawn(
                ["head", "-c", "10000000", "/dev/zero"],
                cwd=tmp_path,
                env=base_env(),
                on_output=lambda data: sizes.append(len(data)),
            )
            assert process.wait(30) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= CHUNK
    assert peak < 2_000_000


@pytest.mark.parametrize("how", DAEMONS)
def test_what_a_script_leaves_behind_ends_with_it(run, alive, token, how):
    script = DAEMONS[how].format(stay=stay(token)) + "\nsleep 0.2; echo done"
    assert run(script) == (0, b"done\n")
    assert not alive(token)


@pytest.mark.parametrize("how", DAEMONS)
def test_a_stop_ends_the_script_and_all_it_started(tmp_path, alive, eventually, token, how):
    script = DAEMONS[how].format(stay=stay(token)) + f"\n{stay(token + '-front')}"
    with ProcessGroup(ORDER, grace_s=0.3) as group:
        process = group.spawn(
            ["bash", "-c", script], cwd=tmp_path, env=base_env(), on_output=lambda _: None
        )
        eventually(lambda: len(alive(token)) >= 3)
    assert not alive(token)
    assert process.wait(0) in (137, 143)


def test_the_check_for_survivors_can_fail(tmp_path, alive, eventually, token):
    """Control: without a group a daemon does survive its parent."""
    subprocess.run(["bash", "-c", f"setsid {stay(token)} &"], check=True, cwd=tmp_path)
    found = eventually(lambda: alive(token))
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def test_nothing_survives_when_the_agent_itself_is_killed(tmp_path, alive, eventually, token):
    program = (
        "import sys; from pathlib import Path; from edge.processes import *\n"
        f"group = ProcessGroup({ORDER!r}, 0.2)\n"
        "argv = ['bash', '-c', sys.argv[1]]\n"
        "process = group.spawn(argv, cwd=Path('.'), env=base_env(), on_output=lambda _: None)\n"
        "process.wait()\n"
    )
    script = f"trap '' TERM; env -i PATH=$PATH setsid {stay(token)} & {stay(token)}"
    agent = subprocess.Popen([sys.executable, "-c", program, script], cwd=ROOT)
    eventually(lambda: len(alive(token)) >= 3)
    agent.kill()
    agent.wait()
    eventually(lambda: not alive(token))


def test_a_script_that_kills_its_warden_gains_nothing(tmp_path, alive, eventually, token):
    script = f"setsid {stay(token)} & kill -9 $PPID; {stay(token)}"
    with ProcessGroup(ORDER, grace_s=0.2) as group:
        process = group.spawn(
            ["bash", "-c", script], cwd=tmp_path, env=base_env(), on_output=lambda _: None
        )
        eventually(lambda: process.wait(0.05) == 137)
    assert not alive(token)


def test_whoever_ends_when_asked_is_given_the_time(tmp_path, eventually):
    output = bytearray()
    script = "trap 'sleep 0.3; echo saved; exit 0' TERM; echo up; sleep 600 & wait"
    with ProcessGroup(ORDER, grace_s=10) as group:
        process = group.spawn(
            ["bash", "-c", script], cwd=tmp_path, env=base_env(), on_output=output.extend
        )
        eventually(lambda: b"up" in output)
        began = time.monotonic()
    assert output == b"up\nsaved\n"
    assert process.wait(0) == 0
    assert time.monotonic() - began < 8


def test_a_group_stops_its_own_order_and_no_other(tmp_path, alive, eventually, token):
    argv = ["bash", "-c", stay(token)]
    other = spawn(
        argv, cwd=tmp_path, env={**base_env(), MARKER: f"{ORDER}2"}, on_output=lambda _: None
    )
    eventually(lambda: alive(token))
    assert stop_all(ORDER)
    assert alive(token)
    assert stop_all(f"{ORDER}2")
    assert not alive(token)
    assert other.wait(10) is not None


def test_a_group_may_be_used_again_after_a_stop(tmp_path):
    with ProcessGroup(ORDER, grace_s=0.2) as group:
        first = group.spawn(["sleep", "600"], cwd=tmp_path, env=base_env(), on_output=print)
        group.stop()
        assert first.wait(0) is not None
        again = group.spawn(["true"], cwd=tmp_path, env=base_env(), on_output=print)
        assert again.wait(30) == 0


def test_a_reader_that_fails_ends_the_order_with_its_error(tmp_path):
    def full(_: bytes) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), ProcessGroup(ORDER, 0.2) as group:
        group.spawn(["yes"], cwd=tmp_path, env=base_env(), on_output=full).wait(30)


def test_secrets_of_the_agents_environment_stay_with_the_agent():
    kept = base_env({"AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/y", "LANG": "de", "TZ": "UTC"})
    assert kept["LANG"] == "de"
    assert kept["TZ"] == "UTC"
    assert set(kept) == {"PATH", "HOME", "LANG", "TZ"}


def test_the_warden_finds_every_generation_below_a_process(tmp_path):
    script = "bash -c 'sleep 600 & sleep 600 & wait' & wait"
    child = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    try:
        until = time.monotonic() + 10
        while len(warden.descendants(child.pid)) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(warden.descendants(child.pid)) == 3
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
