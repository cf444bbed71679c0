"""A tunnel speaks for its node, to the named aggregator only, and waits for one not yet up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.flower.tls import LOOPBACK, free_port, make_loopback, site_server
from edge.flower.tunnel import Far, Tunnel, far_of
from tests.flower.conftest import NOW, Site, Trust, until

NAME = "nd_aggregator.node.fedbroker"


@pytest.fixture
def aggregator(trust: Trust) -> Site:
    return trust.node("aggregator")


@pytest.fixture
def site(trust: Trust) -> Site:
    return trust.node("oslo")


class Echo:
    """The far end: answers what it gets, and keeps who asked."""

    def __init__(self, site: Site, port: int = 0) -> None:
        self.peers: list[dict] = []
        self._context = site_server(site.identity)
        self._socket = socket.create_server((LOOPBACK, port))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
                peer = self._context.wrap_socket(plain, server_side=True)
            except OSError:
                if self._socket.fileno() < 0:
                    return
                continue
            self.peers.append(peer.getpeercert() or {})
            with peer:
                while piece := peer.recv(65536):
                    peer.sendall(piece)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def echo(aggregator: Site) -> Iterator[Echo]:
    server = Echo(aggregator)
    yield server
    server.close()


@pytest.fixture
def open_tunnel(site: Site, tmp_path: Path) -> Iterator:
    made = []

    def make(port: int, name: str = NAME) -> tuple[Tunnel, ssl.SSLSocket]:
        loopback = make_loopback(tmp_path, NOW)
        tunnel = Tunnel(site.identity, Far(LOOPBACK, port, name), loopback)
        made.append(tunnel)
        plain = socket.create_connection((LOOPBACK, tunnel.start()), timeout=10)
        return tunnel, loopback.client().wrap_socket(plain, server_hostname="localhost")

    yield make
    for tunnel in made:
        tunnel.close()


def test_bytes_pass_both_ways_under_the_nodes_own_certificate(echo: Echo, open_tunnel) -> None:
    tunnel, near = open_tunnel(echo.port)
    with near:
        near.sendall(b"x" * 200_000)
        got = b""
        while len(got) < 200_000:
            got += near.recv(65536)
    assert ("URI", "spiffe://fedbroker/node/nd_oslo") in echo.peers[0]["subjectAltName"]
    until(lambda: (tunnel.up, tunnel.down) == (200_000, 200_000), 5, "the count")


def test_an_aggregator_that_comes_up_later_is_reached(aggregator: Site, open_tunnel) -> None:
    port = free_port()
    tunnel, near = open_tunnel(port)
    near.sendall(b"early")
    until(lambda: tunnel.refused != "", 5, "the first refusal")
    echo = Echo(aggregator, port)
    try:
        with near:
            assert near.recv(5) == b"early"
    finally:
        echo.close()
    assert tunnel.refused == ""


def test_another_name_than_the_aggregators_is_never_spoken_to(echo: Echo, open_tunnel) -> None:
    tunnel, near = open_tunnel(echo.port, name="nd_other.node.fedbroker")
    with near:
        near.sendall(b"secret")
        until(lambda: "Hostname mismatch" in tunnel.refused, 5, "the refusal")
    assert tunnel.up == 0


def test_a_far_end_of_another_ca_is_never_spoken_to(open_tunnel, tmp_path: Path) -> None:
    foreign = Echo(Trust(tmp_path / "foreign").node("aggregator"))
    try:
        tunnel, near = open_tunnel(foreign.port)
        with near:
            near.sendall(b"secret")
            until(lambda: "certificate verify failed" in tunnel.refused, 5, "the refusal")
        assert tunnel.up == 0
    finally:
        foreign.close()


def test_the_end_of_the_far_end_is_the_end_of_the_near_one(echo: Echo, open_tunnel) -> None:
    _, near = open_tunnel(echo.port)
    with near:
        near.sendall(b"a")
        assert near.recv(1) == b"a"
        near.unwrap()


def test_closing_the_tunnel_ends_what_is_open(echo: Echo, open_tunnel) -> None:
    tunnel, near = open_tunnel(echo.port)
    near.sendall(b"a")
    assert near.recv(1) == b"a"
    tunnel.close()
    with near, contextlib.suppress(OSError):
        assert near.recv(1) == b""


@pytest.mark.parametrize(
    ("text", "far"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("a.example:1", ("a.example", 1)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, far: tuple[str, int]) -> None:
    found = far_of(text, NAME)
    assert (found.host, found.port, found.name) == (*far, NAME)


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:x", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        far_of(text, NAME)
