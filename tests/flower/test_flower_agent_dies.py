"""No process of Flower outlives its agent, and none of them speaks to anything but this machine.

Slow: an agent with a SuperLink and a SuperNode runner is started and ended for real, by SIGKILL
and by a stop. The control is a SuperLink that the same agent started without a warden.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.warden import descendants
from tests.flower.conftest import ROOT, marked, until

COMMANDS = (
    *("flower-superlink", "flower-superexec", "flwr-serverapp"),
    *("edge.flower.quick", "edge.flower.warm", "edge/warden.py"),
)
LISTENS = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
NOBODY = ("00000000:0000", "0" * 32 + ":0000")  # of a socket that has no peer
pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@dataclass(frozen=True)
class Socket:
    inode: str
    local: str
    remote: str
    state: str

    @property
    def abroad(self) -> bool:
        """It has a peer, or waits for one, that may be another machine."""
        ends = {self.local, self.remote} - set(NOBODY)
        return not all(end.startswith(LOOPBACK) for end in ends)


def sockets() -> list[Socket]:
    """All of IP on this machine."""
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            cells = line.split()
            found.append(Socket(cells[9], cells[1], cells[2], cells[3]))
    return found


def inodes(pid: int) -> set[str]:
    held = set()
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                held.add(str(fd.readlink()).removeprefix("socket:[").rstrip("]"))
    return held


def sockets_of(*pids: int) -> list[Socket]:
    held = set().union(*map(inodes, pids))
    return [one for one in sockets() if one.inode in held]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


class Handles:
    """Processes, each by a handle that no later process can have."""

    def __init__(self, pids: list[int]) -> None:
        self._open: dict[int, str] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._open[os.pidfd_open(pid)] = command(pid)

    def alive(self) -> list[str]:
        """Command lines of those that have not ended."""
        poll = select.poll()
        for handle in self._open:
            poll.register(handle, select.POLLIN)
        ended = {handle for handle, _ in poll.poll(0)}
        return [line for handle, line in self._open.items() if handle not in ended]

    def kill(self) -> None:
        for handle in self._open:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)


@dataclass
class Agent:
    process: subprocess.Popen[bytes]
    folder: Path
    abroad: set[str] = field(default_factory=set)

    def looked(self) -> bool:
        """Looks at what Flower's processes are connected to; whether rounds were aggregated."""
        abroad = [one for one in sockets() if one.abroad]
        own = command(self.process.pid)
        for pid in descendants(self.process.pid):
            line = command(pid)  # before its sockets: until it is a program of its own,
            held = inodes(pid) if line != own else set()  # a fork has what the agent has
            self.abroad |= {f"{one} of {line}" for one in abroad if one.inode in held}
        return (self.folder / "midway").exists() or self.process.poll() is not None

    @property
    def bare(self) -> int:
        """Of the SuperLink without a warden."""
        return int((self.folder / "midway").read_text())


@pytest.fixture(params=["ControlClient", "ControlCommand"])
def agent(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Iterator[Agent]:
    """Midway through a federation."""
    argv = [sys.executable, "-m", "tests.flower.one_agent", str(tmp_path), str(data), request.param]
    with (tmp_path / "agent.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)
    made = Agent(process, tmp_path)
    try:
        until(made.looked, 150, "a round")
        assert process.poll() is None, (tmp_path / "agent.log").read_text()
        bare = Handles([made.bare])
        yield made
        bare.kill()  # no one else does when the agent was killed
        bare.close()
    finally:
        rest = Handles(descendants(process.pid))
        process.kill()
        process.wait()
        rest.kill()
        rest.close()


@pytest.mark.parametrize(
    ("local", "remote", "abroad"),
    [
        ("0100007F:1F90", "00000000:0000", False),
        ("0100007F:1F90", "0100007F:C001", False),
        ("00000000:0000", "00000000:0000", False),
        (LOOPBACK[2] + ":1F90", LOOPBACK[2] + ":C001", False),
        ("00000000:1F90", "00000000:0000", True),
        ("0200000A:C001", "08080808:0035", True),
        (LOOPBACK[1] + ":1F90", "0" * 24 + "01020304:0050", True),
    ],
)
def test_the_look_for_other_machines_can_fail(local: str, remote: str, *, abroad: bool) -> None:
    assert Socket("1", local, remote, "01").abroad is abroad


def test_flowers_processes_end_with_an_agent_that_is_killed(agent: Agent) -> None:
    below = [pid for pid in descendants(agent.process.pid) if pid != agent.bare]
    flower, bare = Handles(below), Handles([agent.bare])
    until(agent.looked, 1)
    running = " ".join(flower.alive())
    assert all(name in running for name in COMMANDS), running
    ports = {one.inode for one in sockets_of(*below, agent.process.pid) if one.state == LISTENS}
    assert len(ports) >= 4, "SuperLink, listener, tunnel, SuperNode"
    served = {one for one in sockets_of(agent.bare) if one.state == LISTENS}
    assert served

    agent.process.kill()
    agent.process.wait()
    until(lambda: flower.alive() == [] == marked(agent.process.pid), 8, "the end of Flower")
    assert not ports & {one.inode for one in sockets()}
    assert len(bare.alive()) == 1, "without a warden a SuperLink lives on"
    assert served <= set(sockets_of(agent.bare)), "and serves"
    assert not agent.abroad
    flower.close()
    bare.close()


def test_a_stop_ends_flower_in_good_order_and_closes_every_port(agent: Agent) -> None:
    below = descendants(agent.process.pid)
    flower = Handles(below)
    ports = {one.inode for one in sockets_of(*below, agent.process.pid) if one.state == LISTENS}
    assert len(ports) >= 4

    agent.process.terminate()
    assert agent.process.wait(30) == 0, (agent.folder / "agent.log").read_text()
    assert json.loads((agent.folder / "ended").read_text()) == {
        "aggregator": "cancelled",
        "oslo": "cancelled",
    }
    assert flower.alive() == [] == marked(agent.process.pid)
    assert not ports & {one.inode for one in sockets()}
    assert not agent.abroad
    flower.close()
