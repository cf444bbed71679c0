"""Through the listener goes a site's own SuperNode, to the fleet paths; everything else is refused
and written down."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.flower.audit import broken_at
from edge.flower.listener import FleetListener, Upstream
from edge.flower.rules import PATHS, members_of, pem_of
from edge.flower.tls import site_client
from tests.flower.conftest import Site, Trust, until
from tests.flower.conftest import Upstream as Fake

PULL = "/v1/fleet/pull-messages"


@pytest.fixture
def sites(trust: Trust) -> dict[str, Site]:
    return {name: trust.node(name) for name in ("oslo", "berlin")}


@pytest.fixture
def aggregator(trust: Trust) -> Site:
    return trust.node("aggregator")


@pytest.fixture
def door(
    aggregator: Site, sites: dict[str, Site], upstream: Fake, tmp_path: Path
) -> Iterator[FleetListener]:
    listener = FleetListener(
        aggregator.identity,
        members_of([site.spec() for site in sites.values()]),
        Upstream(upstream.port, upstream.loopback.client()),
        tmp_path / "audit.jsonl",
        body_cap=100_000,
    )
    listener.port = listener.start()
    yield listener
    listener.close()
    assert broken_at(tmp_path / "audit.jsonl", listener.audit_end["head"]) is None


def dial(door: FleetListener, site: Site) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", door.port), timeout=5)
    return site_client(site.identity).wrap_socket(
        plain, server_hostname="nd_aggregator.node.fedbroker"
    )


def key_of(site: Site) -> str:
    return base64.b64encode(pem_of(site.flower_key)).decode()


def request(
    site: Site,
    target: str = PULL,
    *,
    method: str = "POST",
    extra: tuple[str, ...] = ("content-length: 3",),
    body: bytes = b"abc",
    version: str = "HTTP/1.1",
) -> bytes:
    lines = [
        f"{method} {target} {version}",
        "host: 127.0.0.1",
        f"flwr-public-key: {key_of(site)}",
        *extra,
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def ask(peer: ssl.SSLSocket, raw: bytes) -> tuple[int, bytes]:
    peer.sendall(raw)
    answer = http.client.HTTPResponse(peer)
    answer.begin()
    return answer.status, answer.read()


def audit(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


def test_a_site_reaches_every_fleet_path_and_its_bytes_are_counted(
    door: FleetListener, sites: dict[str, Site], upstream: Fake, tmp_path: Path
) -> None:
    with dial(door, sites["oslo"]) as peer:
        for path in sorted(PATHS):
            assert ask(peer, request(sites["oslo"], path)) == (200, b"hello")
    until(lambda: len(audit(tmp_path)) == 10, 5, "the audit")
    assert upstream.bodies == [b"abc"] * 10
    assert door.traffic["nd_oslo"].up == 30
    assert door.traffic["nd_oslo"].down == 50
    assert door.traffic["nd_berlin"].up == 0
    assert {line["verdict"] for line in audit(tmp_path)} == {"pass"}
    assert audit(tmp_path)[0]["node"] == "nd_oslo"


def test_chunks_pass_in_both_directions(
    door: FleetListener, sites: dict[str, Site], upstream: Fake
) -> None:
    upstream.answer = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    chunks = b"4\r\nwxyz\r\n1\r\n!\r\n0\r\n\r\n"
    raw = request(sites["oslo"], extra=("transfer-encoding: chunked",), body=chunks)
    with dial(door, sites["oslo"]) as peer:
        assert ask(peer, raw) == (200, b"abcde")
    until(lambda: door.traffic["nd_oslo"].up == 5 and door.traffic["nd_oslo"].down == 5, 5)
    assert upstream.bodies == [chunks]


def test_only_known_fields_go_on_and_none_that_claims_to_come_from_elsewhere(
    door: FleetListener, sites: dict[str, Site], upstream: Fake
) -> None:
    extra = (
        "content-length: 3",
        "x-forwarded-for: 10.0.0.1",
        "flwr-signature: s",
        "cookie: c",
        "connection: keep-alive",
    )
    with dial(door, sites["oslo"]) as peer:
        ask(peer, request(sites["oslo"], extra=extra))
    head = upstream.heads[0].decode()
    assert "flwr-signature: s" in head
    assert f"host: 127.0.0.1:{upstream.port}" in head
    assert not {"x-forwarded-for", "cookie", "connection"} & set(head.replace(":", " ").split())


def test_an_upstream_that_closed_while_idle_is_dialled_again(
    door: FleetListener, sites: dict[str, Site], upstream: Fake
) -> None:
    upstream.close_after = 1
    with dial(door, sites["oslo"]) as peer:
        assert ask(peer, request(sites["oslo"]))[0] == 200
        until(lambda: len(upstream.heads) == 1, 5)
        link = next(iter(door._links))
        until(lambda: link.behind is not None and link.behind[0].at_eof(), 5)
        assert ask(peer, request(sites["oslo"]))[0] == 200


def test_a_site_that_asks_to_close_is_closed(door: FleetListener, sites: dict[str, Site]) -> None:
    with dial(door, sites["oslo"]) as peer:
        peer.sendall(request(sites["oslo"], extra=("content-length: 3", "connection: close")))
        data = b""
        while piece := peer.recv(65536):
            data += piece
    assert data.endswith(b"hello")


Break = Callable[[Site, Site], bytes]
REFUSED: dict[str, tuple[str, Break]] = {
    "control path": ("path", lambda a, b: request(a, "/v1/control/start-run")),
    "runtime path": ("path", lambda a, b: request(a, "/v1/runtime/acquire-task")),
    "register": ("path", lambda a, b: request(a, "/v1/fleet/register-node")),
    "unregister": ("path", lambda a, b: request(a, "/v1/fleet/unregister-node")),
    "docs": ("path", lambda a, b: request(a, "/docs")),
    "dots": ("path", lambda a, b: request(a, "/v1/fleet/../control/start-run")),
    "dots behind": ("path", lambda a, b: request(a, f"{PULL}/../../control/start-run")),
    "encoded dots": ("path", lambda a, b: request(a, "/v1/fleet/%2e%2e/control/start-run")),
    "encoded slash": ("path", lambda a, b: request(a, "/v1/fleet%2fpull-messages")),
    "encoded letter": ("path", lambda a, b: request(a, "/v1/fleet/pull-message%73")),
    "query": ("path", lambda a, b: request(a, f"{PULL}?x=1")),
    "fragment": ("path", lambda a, b: request(a, f"{PULL}#x")),
    "parameters": ("path", lambda a, b: request(a, f"{PULL};x")),
    "trailing slash": ("path", lambda a, b: request(a, f"{PULL}/")),
    "double slash": ("path", lambda a, b: request(a, f"/{PULL}")),
    "upper case": ("path", lambda a, b: request(a, PULL.upper())),
    "absolute form": ("path", lambda a, b: request(a, f"http://127.0.0.1{PULL}")),
    "absolute control": ("path", lambda a, b: request(a, "http://x/v1/control/start-run")),
    "authority form": ("method", lambda a, b: request(a, "127.0.0.1:1", method="CONNECT")),
    "get": ("method", lambda a, b: request(a, method="GET")),
    "lower case method": ("method", lambda a, b: request(a, method="post")),
    "old version": ("method", lambda a, b: request(a, version="HTTP/1.0")),
    "another's key": ("flower key", lambda a, b: request(b)),
    "no key": ("flower key", lambda a, b: request(a).replace(b"flwr-public-key", b"flwr-other")),
    "broken key": ("flower key", lambda a, b: request(a).replace(b"-key: ", b"-key: ~")),
    "two keys": ("malformed", lambda a, b: request(a, extra=("flwr-public-key: x",), body=b"")),
    "expect": ("field", lambda a, b: request(a, extra=("expect: 100-continue",), body=b"")),
    "upgrade": ("field", lambda a, b: request(a, extra=("upgrade: h2c",), body=b"")),
    "te": ("field", lambda a, b: request(a, extra=("te: trailers",), body=b"")),
    "two lengths": (
        "malformed",
        lambda a, b: request(a, extra=("content-length: 3", "content-length: 3")),
    ),
    "length and chunks": (
        "malformed",
        lambda a, b: request(a, extra=("content-length: 3", "transfer-encoding: chunked")),
    ),
    "hidden chunks": ("malformed", lambda a, b: request(a, extra=("transfer-encoding: xchunked",))),
    "space before colon": ("malformed", lambda a, b: request(a, extra=("content-length : 3",))),
    "folded": ("malformed", lambda a, b: request(a, extra=("a: b", " content-length: 3"))),
    "bare line feed": ("malformed", lambda a, b: request(a, extra=("a: b\ncontent-length: 3",))),
    "no http": ("malformed", lambda a, b: b"hello\r\n\r\n"),
    "large head": ("malformed", lambda a, b: request(a, extra=("a: " + "b" * 20_000,))),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_anything_else_is_refused_audited_and_ends_the_connection(
    name: str,
    door: FleetListener,
    sites: dict[str, Site],
    upstream: Fake,
    tmp_path: Path,
) -> None:
    verdict, make = REFUSED[name]
    with dial(door, sites["oslo"]) as peer:
        raw = make(sites["oslo"], sites["berlin"])
        status, _ = ask(peer, raw)
        assert status == (400 if verdict == "malformed" else 403)
        assert peer.recv(1) == b""
    assert upstream.heads == []
    (line,) = audit(tmp_path)
    assert line["verdict"].startswith(verdict)
    assert line["node"] == "nd_oslo"


def test_a_second_request_hidden_behind_a_refused_one_is_never_read(
    door: FleetListener, sites: dict[str, Site], upstream: Fake, tmp_path: Path
) -> None:
    hidden = request(sites["oslo"])
    with dial(door, sites["oslo"]) as peer:
        assert ask(peer, request(sites["oslo"], "/v1/control/x", body=b"abc") + hidden)[0] == 403
        assert peer.recv(1) == b""
    assert upstream.heads == []
    assert len(audit(tmp_path)) == 1


@pytest.mark.parametrize(
    ("extra", "body"),
    [
        (("content-length: 100001",), b""),
        (("transfer-encoding: chunked",), b"186a1\r\n"),
    ],
)
def test_a_body_over_the_cap_is_refused(
    door: FleetListener, sites: dict[str, Site], tmp_path: Path, extra, body
) -> None:
    with dial(door, sites["oslo"]) as peer:
        assert ask(peer, request(sites["oslo"], extra=extra, body=body))[0] == 413
    assert "malformed: body" in audit(tmp_path)[0]["verdict"]


def test_a_large_body_passes_whole(
    door: FleetListener, sites: dict[str, Site], upstream: Fake
) -> None:
    body = bytes(range(256)) * 390
    raw = request(sites["oslo"], extra=(f"content-length: {len(body)}",), body=body)
    with dial(door, sites["oslo"]) as peer:
        assert ask(peer, raw)[0] == 200
    assert upstream.bodies == [body]


def test_a_body_that_breaks_off_is_audited_with_what_came(
    door: FleetListener, sites: dict[str, Site], tmp_path: Path
) -> None:
    with dial(door, sites["oslo"]) as peer:
        peer.sendall(request(sites["oslo"], extra=("content-length: 9",)))
    until(lambda: len(audit(tmp_path)) == 1, 5, "the audit")
    assert audit(tmp_path)[0]["verdict"].startswith("broken")
    assert door.traffic["nd_oslo"].up == 3


def test_a_superlink_that_is_gone_ends_the_connection(
    door: FleetListener, sites: dict[str, Site], upstream: Fake, tmp_path: Path
) -> None:
    upstream.close()
    with dial(door, sites["oslo"]) as peer:
        peer.sendall(request(sites["oslo"]))
        assert peer.recv(1) == b""
    assert audit(tmp_path)[0]["verdict"].startswith("broken")


@pytest.mark.parametrize("ids", [(), ("nd_stranger",), ("nd_oslo", "nd_berlin")])
def test_a_certificate_that_names_no_site_or_two_is_refused(
    door: FleetListener, trust: Trust, sites: dict[str, Site], upstream: Fake, ids
) -> None:
    stranger = trust.node("stranger", ids=ids)
    with dial(door, stranger) as peer:
        assert ask(peer, request(sites["oslo"]))[0] == 403
    assert upstream.heads == []


def turned_away(door: FleetListener, context: ssl.SSLContext, raw: bytes = b"") -> bool:
    """TLS 1.3 tells a client of a refusal when it first reads: with an alert, or with the end."""
    try:
        plain = socket.create_connection(("127.0.0.1", door.port), timeout=5)
        with context.wrap_socket(plain, server_hostname="nd_aggregator.node.fedbroker") as peer:
            peer.sendall(raw or b"POST")
            return peer.recv(1) == b""
    except OSError:
        return True


def test_a_peer_without_a_certificate_ends_in_the_handshake(
    door: FleetListener, trust: Trust, sites: dict[str, Site], upstream: Fake
) -> None:
    nobody = ssl.create_default_context(cafile=str(trust.file))
    assert turned_away(door, nobody, request(sites["oslo"]))
    assert upstream.heads == []


def test_a_certificate_of_another_ca_ends_in_the_handshake(
    door: FleetListener, trust: Trust, sites: dict[str, Site], upstream: Fake, tmp_path: Path
) -> None:
    foreign = Trust(tmp_path / "foreign").node("oslo")
    context = ssl.create_default_context(cafile=str(trust.file))
    context.load_cert_chain(foreign.identity.certificate, foreign.identity.key)
    assert turned_away(door, context, request(sites["oslo"]))
    assert upstream.heads == []


def test_an_expired_certificate_ends_in_the_handshake(
    door: FleetListener, trust: Trust, sites: dict[str, Site], upstream: Fake
) -> None:
    late = trust.node("late", ids=("nd_oslo",), ends=dt.timedelta(minutes=-1))
    assert turned_away(door, site_client(late.identity), request(sites["oslo"]))
    assert upstream.heads == []


def test_tls_1_2_ends_in_the_handshake(door: FleetListener, sites: dict[str, Site]) -> None:
    context = site_client(sites["oslo"].identity)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert turned_away(door, context)


def test_a_site_is_not_turned_away(door: FleetListener, sites: dict[str, Site]) -> None:
    """Control: the same probe gets an answer with the right certificate."""
    context = site_client(sites["oslo"].identity)
    assert not turned_away(door, context, request(sites["oslo"]))


def test_no_session_can_be_resumed(door: FleetListener, sites: dict[str, Site]) -> None:
    with dial(door, sites["oslo"]) as peer:
        ask(peer, request(sites["oslo"]))
        assert peer.session is None or not peer.session.has_ticket


def test_a_crowd_of_connections_is_turned_away(door: FleetListener, sites: dict[str, Site]) -> None:
    peers = [dial(door, sites["oslo"]) for _ in range(32)]
    try:
        until(lambda: len(door._links) == 32, 5)
        with dial(door, sites["oslo"]) as late:
            assert late.recv(1) == b""
    finally:
        for peer in peers:
            peer.close()
