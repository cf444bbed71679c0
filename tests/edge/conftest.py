"""A real gateway on loopback, real agents as processes, and a wire that breaks on purpose."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.gateway import Gateway, Settings
from broker.ids import new_id
from broker.model import ENDED, Event, Node, NodeState, Order
from broker.store.memory import MemoryStore
from broker.trust.ca import CertificateAuthority
from broker.trust.tokens import mint, random_token

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition, seconds=30.0):
    """The first true value of `condition`, asked every 25 ms."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.025)
    return found


@dataclass
class Running:
    """An agent as a process of its own. Its stderr goes to a file."""

    process: subprocess.Popen[bytes]
    errors: Path

    @property
    def said(self) -> str:
        return self.errors.read_text()

    def end(self, number=signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@dataclass
class World:
    """A broker's side: ledger, CA and gateway; and the agents that were started for it."""

    store: MemoryStore
    ca: CertificateAuthority
    gateway: Gateway
    folder: Path
    ahead: timedelta = timedelta(0)
    agents: list[Running] = field(default_factory=list)
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def invite(self, ttl=timedelta(minutes=15), **changes) -> str:
        """The line that a node joins with, for a new node."""
        number = next(self.numbers)
        node = Node(f"nd_{number}", f"node-{number}", "edge", self.now())
        secret, token, node = mint(node, random_token(), self.now(), ttl)
        self.store.commit(node, token)
        join = {"url": self.gateway.enrol_url, "token": secret, "ca_pin": self.ca.pin}
        return json.dumps({**join, **changes})

    def start(self, home: Path, *arguments: str, join: str | None = None, env=None) -> Running:
        """`broker-edge run`, with the invitation on stdin when there is one."""
        number = len(self.agents)
        errors = self.folder / f"agent-{number}.err"
        given = self.folder / f"agent-{number}.in"
        given.write_text(join or "")
        argv = [sys.executable, "-m", "edge", "run", "--home", str(home), *arguments]
        with errors.open("wb") as out, given.open("rb") as stdin:
            process = subprocess.Popen(
                [*argv, "--join", "-"] if join else argv,
                stdin=stdin,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )
        self.agents.append(Running(process, errors))
        return self.agents[-1]

    def online(self) -> Node:
        """The one node that is online, as soon as it is."""
        return wait_for(lambda: self.store.find(Node, state=NodeState.ONLINE))[0]

    def order(self, node: Node, run="true", kind="process", **spec) -> Order:
        at = self.now()
        order_id = new_id("or", at, next(self.numbers).to_bytes(5, "big"))
        row = Order(order_id, "run_1", "ls_1", "at_1", node.id, kind, {"run": run, **spec}, at)
        return self.store.commit(row)[0]

    def stored(self, row):
        return self.store.find(type(row), id=row.id)[0]

    def change(self, row, **changes):
        return self.store.commit(replace(self.stored(row), **changes))[0]

    def state(self, order: Order, *states) -> Order:
        """The order as soon as it is in one of the states."""
        return wait_for(lambda: (found := self.stored(order)).state in states and found)

    def row(self, credentials) -> Node:
        return self.store.find(Node, id=credentials.node.node_id)[0]

    def ended(self, order: Order) -> Order:
        return self.state(order, *ENDED)

    def log(self, order: Order) -> bytes:
        path = self.folder / "logs" / f"{order.id}.log"
        return path.read_bytes() if path.exists() else b""

    def events(self, order: Order) -> list[Event]:
        return [row for row in self.store.find(Event, subject=order.id) if "fed." in row.kind]


def dial(home: Path, port: int) -> None:
    """From now on the node in this folder dials this port of loopback."""
    path = home / "identity" / "current" / "node.json"
    node = json.loads(path.read_text())
    path.write_text(json.dumps({**node, "agent_url": f"https://127.0.0.1:{port}"}))


class Breaker:
    """A TCP proxy that cuts connections at random, after so many bytes in one of the directions."""

    def __init__(self, port: int, seed: int, longest: int) -> None:
        self._port, self._longest = port, longest
        self._chance = random.Random(seed)
        self.cuts = 0
        self.calm = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for one, other in ((near, far), (far, near)):
                    budget = self._chance.randrange(2000, self._longest)
                    threading.Thread(
                        target=self._pump, args=(one, other, budget), daemon=True
                    ).start()

    def _pump(self, one: socket.socket, other: socket.socket, budget: int) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                budget -= len(data)
                if budget < 0 and not self.calm:
                    self.cuts += 1
                    break
                other.sendall(data)
        for side in (one, other):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def eventually():
    return wait_for


@pytest.fixture(scope="session")
def edge_ca(tmp_path_factory):
    return CertificateAuthority.open(tmp_path_factory.mktemp("edge-ca"), datetime.now(UTC))


@pytest.fixture
def world(tmp_path, edge_ca):
    store = MemoryStore()
    settings = Settings(tmp_path / "keys", tmp_path / "logs", heartbeat_s=0.2, lost_after_s=30)
    made = World(store, edge_ca, None, tmp_path)
    made.gateway = Gateway(store, edge_ca, settings, made.now)
    made.gateway.start()
    yield made
    for agent in made.agents:
        agent.end(signal.SIGKILL)
        print(agent.said)  # shown when the test failed
    made.gateway.stop()


@pytest.fixture
def command(tmp_path):
    """Run `broker-edge` to its end; stdin is `given`."""

    def run(*arguments: str, given: str = "", **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
            **options,
        )

    return run


@pytest.fixture
def joined(world):
    """Credentials of a new node that dials the gateway, or a proxy `through` a port."""
    from edge.identity import Credentials, NodeHome
    from edge.join import enrol, read_invitation

    def join(folder: Path, through: int | None = None) -> Credentials:
        home = NodeHome(folder)
        enrol(home, read_invitation(world.invite()), "test", 5, threading.Event())
        if through:
            dial(folder, through)
        return Credentials(home)

    return join


@pytest.fixture
def breaker():
    """`breaker(port, seed, longest)`: a proxy whose connections carry at most `longest` bytes."""
    made = []

    def make(port: int, seed: int, longest: int = 60_000) -> Breaker:
        made.append(Breaker(port, seed, longest))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def alive():
    """`alive(text)`: ids of processes, other than this one, whose command line holds the text."""

    def find(text: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if int(entry.name) != os.getpid() and text.encode() in _command_line(entry):
                    found.append(int(entry.name))
        return found

    return find


def _command_line(entry: Path) -> bytes:
    return (entry / "cmdline").read_bytes()


@pytest.fixture(name="dial")
def dial_fixture():
    """`dial(home, port)`: see above."""
    return dial
