"""A trust of its own, nodes with keys, a report that remembers, runners, a SuperLink that only answers."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.federation.app import build, overrides
from broker.model import OrderState
from edge.flower.tls import Loopback, make_loopback
from edge.runner import Identity, Runner, Work

NOW = dt.datetime.now(dt.UTC)
ROOT = Path(__file__).resolve().parents[2]
HOSPITALS = ROOT / "examples" / "hospitals"
DATA = "breast-cancer"


def until(true: Callable[[], bool], within_s: float, what: str = "it") -> None:
    """Bounded waiting for a real thing to come true."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s} s"
        time.sleep(0.02)


@dataclass
class Site:
    """An enrolled node with the public half of its Flower key, as an order names it."""

    identity: Identity
    flower_key: str

    def spec(self) -> dict[str, Any]:
        return {
            "node_id": self.identity.node_id,
            "name": self.identity.name,
            "flower_key": self.flower_key,
        }


class Trust:
    """A CA and the nodes that it has enrolled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "ca.pem"
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.file.write_bytes(self._sign("ca", self._key, [basic]))

    def node(
        self,
        name: str,
        *,
        ids: tuple[str, ...] | None = None,
        ends: dt.timedelta = dt.timedelta(days=1),
        datasets: dict[str, Path] | None = None,
    ) -> Site:
        home = self.folder / name
        home.mkdir()
        node_id = f"nd_{name}"
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(f"{node_id}.node.fedbroker")]
        names += [
            x509.UniformResourceIdentifier(f"spiffe://fedbroker/node/{one}")
            for one in ((node_id,) if ids is None else ids)
        ]
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        extensions = [x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage(usage)]
        (home / "certificate.pem").write_bytes(self._sign(node_id, key, extensions, ends))
        write_key(home / "key.pem", key, PrivateFormat.PKCS8)
        flower = ec.generate_private_key(ec.SECP384R1())
        write_key(home / "flower_key", flower, PrivateFormat.OpenSSH)
        identity = Identity(
            node_id=node_id,
            name=name,
            key=home / "key.pem",
            certificate=home / "certificate.pem",
            ca=self.file,
            home=home,
            address="127.0.0.1",
            flower_key=home / "flower_key",
            datasets=datasets or {},
        )
        return Site(identity, openssh(flower))

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[x509.ExtensionType],
        ends: dt.timedelta = dt.timedelta(days=1),
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(hours=1))
            .not_valid_after(NOW + ends)
        )
        for extension in extensions:
            builder = builder.add_extension(
                extension, critical=isinstance(extension, x509.BasicConstraints)
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, form: PrivateFormat) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))


def openssh(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Told:
    """A `Report` that keeps everything."""

    states: list[tuple[OrderState, str, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)

    def state(
        self,
        state: OrderState,
        *,
        exit_code: int | None = None,
        detail: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        self.states.append((state, detail, data or {}))

    def log(self, data: bytes) -> None:
        self.text += data

    def event(self, item: dict[str, Any]) -> None:
        self.events.append(item)

    def said(self, state: OrderState) -> dict[str, Any] | None:
        return next((data for one, _, data in self.states if one is state), None)

    @property
    def last(self) -> OrderState:
        return self.states[-1][0]


class Stage:
    """Runners in threads, as an agent has them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stops: dict[str, threading.Event] = {}
        self.told: dict[str, Told] = {}
        self.threads: dict[str, threading.Thread] = {}

    def start(self, name: str, runner: Runner, kind: str, spec: dict[str, Any]) -> Told:
        folder = self._folder / name
        folder.mkdir()
        stop, told = threading.Event(), Told()
        work = Work(f"or_test_{os.getpid()}_{name}", "run_1", kind, spec)
        thread = threading.Thread(target=runner.run, args=(work, folder, told, stop))
        self.stops[name], self.told[name], self.threads[name] = stop, told, thread
        thread.start()
        return told

    def wait(self, name: str, true: Callable[[Told], bool], within_s: float) -> None:
        """Until it is true of what the runner told; its end without that is a failure at once."""
        told, thread = self.told[name], self.threads[name]
        until(lambda: true(told) or not thread.is_alive(), within_s, name)
        assert true(told), (told.states, bytes(told.text).decode())

    def stop(self, *names: str) -> None:
        for name in names or tuple(self.stops):
            self.stops[name].set()
        for name in names or tuple(self.threads):
            self.threads[name].join(30)
            assert not self.threads[name].is_alive(), name


def marked(agent: int | None = None) -> list[str]:
    """Command lines of all that carries a mark of the orders of a process, of this one by default."""
    mark = f"BROKER_ORDER=or_test_{agent or os.getpid()}_".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def superlink_spec(sites: list[Site], rounds: int, min_sites: int) -> dict[str, Any]:
    app = build(HOSPITALS / "app")
    return {
        "app": app.spec(),
        "run_config": overrides(app, rounds, {"round-timeout": 60.0}),
        "rounds": rounds,
        "min_sites": min_sites,
        "sites": [site.spec() for site in sites],
    }


def supernode_spec(aggregator: Told) -> dict[str, Any]:
    where = aggregator.said(OrderState.READY)
    assert where is not None
    return {
        "aggregator": where["address"],
        "aggregator_name": where["name"],
        "dataset": DATA,
    }


class Upstream:
    """What stands behind the listener: answers every request alike and keeps the bytes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.loopback: Loopback = make_loopback(folder, NOW)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: it\r\n\r\nhello"
        self.close_after = 10**9  # requests on one connection
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        context = self.loopback.server()
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(context, plain), daemon=True).start()

    def _talk(self, context: ssl.SSLContext, plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as peer:
                for _ in range(self.close_after):
                    self._one(peer)
        except OSError:
            return

    def _one(self, peer: ssl.SSLSocket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some(peer)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        if b"content-length" in lines:
            while len(body) < int(lines[b"content-length"]):
                body += self._some(peer)
        else:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._some(peer)
        self.heads.append(head)
        self.bodies.append(body)
        peer.sendall(self.answer)

    def _some(self, peer: ssl.SSLSocket) -> bytes:
        if not (piece := peer.recv(65536)):
            raise ConnectionResetError
        return piece

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path / "trust")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    server = Upstream(tmp_path / "upstream")
    yield server
    server.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_data", HOSPITALS / "make_data.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("data")
    module.main([str(folder)])
    return folder
