"""Whatever a client sends, it gets a bounded, plain answer and never a traceback."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import socket
import ssl

import pytest

from broker.gateway import answers, tls

MIB = 1024 * 1024


@pytest.fixture
def wire(world):
    """A raw TLS connection of an enrolled agent."""
    agent = world.agent()
    context = agent.context()
    raw = socket.create_connection(("127.0.0.1", world.gateway.agent_port), timeout=20)
    with context.wrap_socket(raw, server_hostname="gateway.fedbroker") as sock:
        yield sock


def answer_to(sock, data):
    """Everything until the other end closes or is silent for a second."""
    got = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        sock.sendall(data)
    sock.settimeout(1.5)
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        while chunk := sock.recv(65536):
            got += chunk
    return got


@pytest.mark.parametrize("path", ["heartbeat", "orders/{}/report", "orders/{}/log?offset=0"])
def test_a_body_of_more_than_1_mib_is_refused(world, path):
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/{path.format(order.id)}", b"x" * (MIB + 1))
    assert (got.status, got.code) == (413, "USE011")


def test_a_log_of_exactly_1_mib_is_taken(world):
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/orders/{order.id}/log?offset=0", b"x" * MIB)
    assert got.json == {"offset": MIB}


def test_a_huge_announced_body_is_refused_unread(wire):
    head = b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"
    assert b"HTTP/1.1 413" in answer_to(wire, head)


def test_a_chunked_body_without_end_is_cut_off(wire):
    chunk = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
    head = b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    got = answer_to(wire, head + chunk * 200)
    assert b"HTTP/1.1 413" in got or got == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/orders HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /v1/orders HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 9000 + b"\r\n",
        b"GET /v1/orders?" + b"x" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x00",
        b"GET /v1/orders HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_that_is_too_long_or_nonsense_is_refused_in_our_form(wire, head):
    got = answer_to(wire, head)
    assert got.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in got
    problem = json.loads(got.partition(b"\r\n\r\n")[2])
    assert problem["code"] == "USE010"


def test_a_client_that_drips_bytes_is_cut_off(world, wire, monkeypatch):
    assert tls.PATIENCE_S == 30
    monkeypatch.setattr(tls, "PATIENCE_S", 0.3)
    got = answer_to(wire, b"GET /v1/orders HTTP/1.1\r\nhost: x\r\nx-")
    wire.settimeout(5)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert wire.recv(10) == b""
    assert got == b""


def test_a_websocket_is_not_spoken(wire):
    head = (
        b"GET /v1/orders HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    assert b" 101 " not in answer_to(wire, head)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/enrol",
        "/v1/ca",
        "/v1/orders/%2e%2e%2f%2e%2e%2fetc%2fpasswd/log?offset=0",
        "/v1/orders/..%2f..%2fx/log?offset=0",
        "/v1/orders/or_1%00/log?offset=0",
        "/v1/orders//log?offset=0",
        "/v1/orders/or_1;x=/report",
        "/v1//heartbeat",
        "/V1/HEARTBEAT",
        "/v1/heartbeat/",
    ],
)
def test_odd_paths_lead_nowhere(world, path):
    got = world.agent().caller()("POST", path, {"state": "running"})
    assert got.status in (404, 307)
    assert not list((world.folder / "logs").iterdir())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(world, method):
    got = world.agent().caller()(method, "/v1/heartbeat")
    assert (got.status, got.code) == (405, "USE013")


def test_deep_nesting_is_refused_and_shallow_nesting_is_not(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()

    def nested(depth):
        return b'{"state": "running", "data": {"x": ' + b"[" * depth + b"]" * depth + b"}}"

    path = f"/v1/orders/{order.id}/report"
    for depth in (40, 900, 100_000):
        assert call("POST", path, nested(depth)).code == "USE010"
    assert call("POST", path, nested(20)).status == 200


def test_a_defect_is_answered_without_a_traceback_and_the_gateway_lives_on(
    world, monkeypatch, caplog
):
    call = world.agent().caller()

    def broken(*_, **__):
        raise RuntimeError("secret innards")

    with caplog.at_level(logging.ERROR, "broker.gateway"), monkeypatch.context() as patched:
        patched.setattr(world.store, "find", broken)
        got = call("POST", "/v1/heartbeat", {})
    assert (got.status, got.code) == (500, "BRK002")
    assert b"innards" not in got.body
    assert "secret innards" in caplog.text
    assert call("POST", "/v1/heartbeat", {}).status == 200


def test_random_bytes_never_get_more_than_a_refusal(world):
    call = world.agent().caller()
    chance = random.Random(11)
    for _ in range(150):
        body = bytes(chance.randrange(256) for _ in range(chance.randrange(80)))
        got = call("POST", "/v1/heartbeat", body)
        assert got.status == 400, body
        assert got.code == "USE010"


def test_answers_say_nothing_of_the_server(world):
    got = world.agent().caller()("POST", "/v1/heartbeat", {})
    assert "server" not in got.headers
    assert answers.MAX_BODY_BYTES == MIB


def test_a_forged_forwarding_header_changes_nothing(world):
    call = world.agent().caller()
    got = call("POST", "/v1/heartbeat", {}, x_forwarded_for="1.2.3.4", x_forwarded_proto="http")
    assert got.status == 200
