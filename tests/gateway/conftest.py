"""A real gateway on loopback, and agents that talk to it with `http.client` and `ssl` alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.gateway import Gateway, Settings
from broker.ids import new_id
from broker.model import Node, Order
from broker.store.memory import MemoryStore
from broker.trust.ca import CertificateAuthority
from broker.trust.tokens import mint, random_token


class Hands:
    """A clock that runs with the real one, a chosen while ahead of it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        assert self.headers["content-type"] == "application/problem+json", self
        return self.json["code"]


class Caller:
    """One connection, kept alive between requests. Everything sent is kept in `sent`."""

    def __init__(self, url, context) -> None:
        parts = urlsplit(url)
        self.sent: list[bytes] = []
        self.connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, context=context, timeout=20
        )
        send = self.connection.send

        def kept(data):
            send(data)
            self.sent.append(bytes(data))

        self.connection.send = kept

    def __call__(self, method, path, body=None, **headers) -> Answer:
        raw = json.dumps(body).encode() if isinstance(body, dict | list) else body
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, raw, names)
        got = self.connection.getresponse()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())

    def close(self) -> None:
        self.connection.close()


@dataclass
class Agent:
    """A node's side: its key, its certificate, and connections to both listeners."""

    world: World
    node: Node
    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    pem: str = ""

    def csr(self, key=None) -> str:
        return csr_pem(key or self.key)

    def enrol(self, secret=None) -> Answer:
        secret = secret or self.world.invite(self.node)
        with contextlib.closing(self.world.enroller()) as call:
            got = call("POST", "/v1/enrol", {"token": secret, "csr_pem": self.csr()})
        if got.status == 200:
            self.pem = got.json["certificate_pem"]
        return got

    def context(self, **changes) -> ssl.SSLContext:
        context = client_context(self.world.ca.certificate_pem)
        path = self.folder / f"{self.node.id}.pem"
        path.write_bytes(key_pem(self.key) + self.pem.encode())
        context.load_cert_chain(path)
        for name, value in changes.items():
            setattr(context, name, value)
        return context

    def caller(self) -> Caller:
        caller = Caller(self.world.gateway.agent_url, self.context())
        self.world.callers.append(caller)
        return caller


@dataclass
class World:
    """A gateway with its ledger, its clock and its folders."""

    gateway: Gateway
    store: MemoryStore
    ca: CertificateAuthority
    clock: Hands
    settings: Settings
    folder: Path
    callers: list[Caller] = field(default_factory=list)
    made: int = 0

    def enroller(self, context=None) -> Caller:
        caller = Caller(self.gateway.enrol_url, context or client_context(self.ca.certificate_pem))
        self.callers.append(caller)
        return caller

    def node(self, **fields) -> Node:
        self.made += 1
        name = fields.pop("name", f"node-{self.made}")
        row = Node(f"nd_{self.made}", name, fields.pop("kind", "edge"), self.clock(), **fields)
        return self.store.commit(row)[0]

    def invite(self, node, ttl=timedelta(minutes=15)) -> str:
        secret, token, _ = mint(node, random_token(), self.clock(), ttl)
        self.store.commit(token)
        return secret

    def agent(self, **fields) -> Agent:
        """An enrolled one."""
        agent = Agent(self, self.node(**fields), self.folder)
        assert agent.enrol().status == 200
        return agent

    def order(self, agent, kind="process", **fields) -> Order:
        self.made += 1
        row = Order(
            new_id("or", self.clock(), self.made.to_bytes(5, "big")),
            "run_1",
            "ls_1",
            "at_1",
            agent.node.id,
            kind,
            {"run": "true"},
            self.clock(),
        )
        return self.store.commit(replace(row, **fields))[0]

    def stored(self, row):
        return self.store.find(type(row), id=row.id)[0]


def client_context(ca_pem) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca_pem)


def key_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def csr_pem(key, extensions=()) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for value in extensions:
        builder = builder.add_extension(value, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return CertificateAuthority.open(tmp_path_factory.mktemp("ca"), datetime.now(UTC))


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def world(tmp_path, ca, store):
    settings = Settings(tmp_path / "keys", tmp_path / "logs", heartbeat_s=0.2, lost_after_s=0.6)
    clock = Hands()
    gateway = Gateway(store, ca, settings, clock)
    gateway.start()
    made = World(gateway, store, ca, clock, settings, tmp_path)
    yield made
    for caller in made.callers:
        caller.close()
    gateway.stop()


@pytest.fixture
def eventually():
    """Wait for a condition of a real process or thread: 25 ms polls, 20 s at most."""

    def wait(condition, seconds=20.0):
        until = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < until, "it did not come true in time"
            time.sleep(0.025)
        return result

    return wait


@pytest.fixture
def make_csr():
    return csr_pem


@pytest.fixture
def make_agent(world):
    """An agent that has not enrolled."""
    return lambda **fields: Agent(world, world.node(**fields), world.folder)


@pytest.fixture
def make_caller(world):
    """A connection with any context to any of our listeners."""

    def make(url, context):
        caller = Caller(url, context)
        world.callers.append(caller)
        return caller

    return make


@pytest.fixture
def make_context():
    return client_context


@pytest.fixture
def private_pem():
    return key_pem
