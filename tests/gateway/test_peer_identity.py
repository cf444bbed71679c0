"""Who is calling is decided anew at each request: by certificate, ledger and the broker's clock."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.errors import AuthError
from broker.gateway.identity import identify, judge, peer_of, renew
from broker.gateway.server import _bound, _config, _Server
from broker.gateway.tls import server_context
from broker.model import NodeState
from broker.trust.ca import CertificateAuthority
from broker.trust.csr import read_csr


def beat(call):
    return call("POST", "/v1/heartbeat", {})


def test_the_handler_sees_the_certificate_that_the_client_sent(
    world, make_caller, make_agent, eventually
):
    """The contract with uvicorn: to be kept at each of its versions."""
    agent = make_agent()
    agent.enrol()

    async def app(scope, receive, send):
        der = scope["extensions"]["tls"]["client_cert_der"]
        body = hashlib.sha256(der).hexdigest().encode()
        headers = [(b"content-length", b"64")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    pem = world.settings.keys_dir / "gateway.pem"
    sock = _bound("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = _Server(_config(app, server_context(pem, world.ca.certificate_pem)))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
    thread.start()
    try:
        eventually(server.up.is_set)
        call = make_caller(f"https://127.0.0.1:{port}", agent.context())
        sent = hashlib.sha256(ssl.PEM_cert_to_DER_cert(agent.pem)).hexdigest()
        assert call("GET", "/").body.decode() == sent
        assert call("GET", "/", x_ssl_client_cert="forged").body.decode() == sent
        call.close()
    finally:
        server.should_exit = True
        thread.join(10)


def test_a_client_without_certificate_is_refused_in_the_handshake(world, make_caller, make_context):
    call = make_caller(world.gateway.agent_url, make_context(world.ca.certificate_pem))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        beat(call)


def test_a_tls_1_2_client_is_refused(world, make_caller):
    agent = world.agent()
    context = agent.context(maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        beat(make_caller(world.gateway.agent_url, context))


def self_signed(key, uri):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nd_1")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


@pytest.mark.parametrize("forger", ["another CA", "itself"])
def test_a_certificate_that_our_ca_did_not_sign_is_refused(world, make_agent, tmp_path, forger):
    agent = make_agent()
    agent.enrol()
    if forger == "another CA":
        other = CertificateAuthority.open(tmp_path / "other", datetime.now(UTC))
        agent.pem = other.sign_node(read_csr(agent.csr()), agent.node.id, datetime.now(UTC)).pem
    else:
        agent.pem = self_signed(agent.key, f"spiffe://fedbroker/node/{agent.node.id}")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        beat(agent.caller())


def test_a_certificate_expired_by_the_real_clock_is_refused_in_the_handshake(world, make_agent):
    agent = make_agent()
    agent.enrol()
    issued = world.ca.sign_node(
        read_csr(agent.csr()), agent.node.id, datetime.now(UTC), life=timedelta(seconds=-10)
    )
    world.store.commit(replace(world.stored(agent.node), serial=issued.serial))
    agent.pem = issued.pem
    with pytest.raises((ssl.SSLError, ConnectionError)):
        beat(agent.caller())


def test_the_gateways_own_certificate_is_good_for_no_client(world, make_caller, make_context):
    context = make_context(world.ca.certificate_pem)
    context.load_cert_chain(world.settings.keys_dir / "gateway.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        beat(make_caller(world.gateway.agent_url, context))


def test_a_certificate_expired_by_the_brokers_clock_is_refused_on_an_open_connection(world):
    call = world.agent().caller()
    assert beat(call).status == 200
    world.clock.ahead = timedelta(hours=24)
    got = beat(call)
    assert (got.status, got.code) == (403, "NOD006")
    assert "clock" in got.json["hint"]


def test_a_certificate_whose_serial_the_ledger_does_not_know_is_refused(world):
    """Signed by our CA behind the ledger's back: a misused CA key is not enough."""
    agent = world.agent()
    agent.pem = world.ca.sign_node(read_csr(agent.csr()), agent.node.id, datetime.now(UTC)).pem
    got = beat(agent.caller())
    assert (got.status, got.code) == (403, "NOD005")


def test_a_certificate_for_a_node_that_the_ledger_does_not_know_is_refused(world):
    agent = world.agent()
    agent.pem = world.ca.sign_node(read_csr(agent.csr()), "nd_none", datetime.now(UTC)).pem
    assert beat(agent.caller()).code == "NOD002"


@pytest.mark.parametrize(
    ("state", "code"), [(NodeState.REVOKED, "NOD003"), (NodeState.GONE, "NOD004")]
)
def test_sending_a_node_away_bites_on_its_open_connection(world, state, code):
    agent = world.agent()
    call = agent.caller()
    assert beat(call).status == 200
    sock = call.connection.sock
    world.store.commit(replace(world.stored(agent.node), state=state))
    assert call.connection.sock is sock
    got = beat(call)
    assert (got.status, got.code) == (403, code)
    assert got.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/heartbeat"),
        ("GET", "/v1/orders"),
        ("POST", "/v1/orders/or_1/report"),
        ("POST", "/v1/orders/or_1/log?offset=0"),
        ("POST", "/v1/orders/or_1/events"),
        ("POST", "/v1/renew"),
    ],
)
def test_every_endpoint_refuses_a_revoked_node(world, method, path):
    agent = world.agent()
    world.store.commit(replace(world.stored(agent.node), state=NodeState.REVOKED))
    assert agent.caller()(method, path, {}).code == "NOD003"


def test_a_revocation_reaches_a_poll_that_waits(world, eventually):
    agent = world.agent()
    call = agent.caller()
    tag = call("GET", "/v1/orders").headers["etag"]
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(call("GET", "/v1/orders?wait_s=20", if_none_match=tag))
    )
    waiting.start()
    world.store.commit(replace(world.stored(agent.node), state=NodeState.REVOKED))
    world.order(agent)
    waiting.join(10)
    assert answers[0].code == "NOD003"


def test_no_session_can_be_resumed(world, make_caller):
    """Control first: the same client does resume at a server that gives tickets."""
    agent = world.agent()
    context = agent.context()
    assert resumed(context, world.gateway.agent_port) == (False, False)
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain.load_cert_chain(world.settings.keys_dir / "gateway.pem")
    assert echo_resumes(context, plain)


def resumed(context, port):
    """Whether a second handshake with the first one's session was a resumption; has_ticket."""
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="gateway.fedbroker") as first,
    ):
        first.sendall(b"GET /v1/orders HTTP/1.1\r\nhost: x\r\n\r\n")
        first.recv(100)
        session = first.session
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="gateway.fedbroker", session=session) as second,
    ):
        second.sendall(b"GET /v1/orders HTTP/1.1\r\nhost: x\r\n\r\n")
        second.recv(100)
        return second.session_reused, bool(session and session.has_ticket)


def echo_resumes(context, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for _ in range(2):
                raw, _ = listener.accept()
                with server.wrap_socket(raw, server_side=True) as tls:
                    tls.recv(100)
                    tls.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        reused, _ = resumed(context, listener.getsockname()[1])
        thread.join(10)
    return reused


def test_renewing_takes_a_new_key_and_keeps_the_old_one_until_the_new_one_is_used(world):
    agent = world.agent()
    old = agent.caller()
    renewed = replace(agent, key=ec.generate_private_key(ec.SECP256R1()))
    got = old("POST", "/v1/renew", {"csr_pem": renewed.csr()})
    assert got.status == 200
    assert beat(old).status == 200
    renewed.pem = got.json["certificate_pem"]
    new = renewed.caller()
    assert beat(new).status == 200
    refused = beat(old)
    assert (refused.status, refused.code) == (403, "NOD005")
    assert beat(new).status == 200


def test_a_renewal_whose_answer_was_lost_can_be_asked_again(world):
    agent = world.agent()
    old = agent.caller()
    lost = ec.generate_private_key(ec.SECP256R1())
    assert old("POST", "/v1/renew", {"csr_pem": agent.csr(lost)}).status == 200
    renewed = replace(agent, key=ec.generate_private_key(ec.SECP256R1()))
    got = old("POST", "/v1/renew", {"csr_pem": renewed.csr()})
    renewed.pem = got.json["certificate_pem"]
    assert beat(renewed.caller()).status == 200
    assert beat(old).code == "NOD005"


def test_a_renewal_cannot_change_the_node(world, make_csr):
    agent = world.agent()
    wish = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://fedbroker/node/nd_9")]
    )
    got = agent.caller()("POST", "/v1/renew", {"csr_pem": make_csr(agent.key, [wish])})
    assert got.code == "CSR005"
    good = agent.caller()("POST", "/v1/renew", {"csr_pem": agent.csr()})
    peer = peer_of(ssl.PEM_cert_to_DER_cert(good.json["certificate_pem"]))
    assert peer.node_id == agent.node.id


def test_a_week_of_renewals_with_a_jumping_clock_expires_nobody(world):
    """Virtual hours: the agent renews at two thirds by its own clock, the broker's jumps by 2 h."""
    agent = world.agent()
    chance, start = random.Random(7), datetime.now(UTC)
    der, renewals = ssl.PEM_cert_to_DER_cert(agent.pem), 0
    for hour in range(7 * 24):
        now = start + timedelta(hours=hour)
        broker_now = now + timedelta(hours=chance.uniform(-2, 2))
        _, peer = identify(world.store, der, broker_now)
        if now >= peer.expires_at - timedelta(hours=8):
            issued = renew(world.store, der, agent.csr(), broker_now, world.ca)
            der, renewals = ssl.PEM_cert_to_DER_cert(issued.pem), renewals + 1
    assert 8 <= renewals <= 13


def test_a_renewal_that_loses_races_with_heartbeats_tries_again(world):
    agent = world.agent()
    der = ssl.PEM_cert_to_DER_cert(agent.pem)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(renew, world.store, der, agent.csr(), world.clock(), world.ca)
            for _ in range(12)
        ]
        serials = {future.result().serial for future in asked}
    node = world.stored(agent.node)
    assert node.serial in serials
    assert node.previous_serial == peer_of(der).serial


def test_a_certificate_without_our_uri_names_no_node():
    key = ec.generate_private_key(ec.SECP256R1())
    der = ssl.PEM_cert_to_DER_cert(self_signed(key, "https://example.org/nd_1"))
    with pytest.raises(AuthError) as caught:
        peer_of(der)
    assert caught.value.code == "NOD001"


def test_judging_is_pure_and_prefers_the_reason_that_a_person_can_act_on(world):
    agent = world.agent()
    peer = peer_of(ssl.PEM_cert_to_DER_cert(agent.pem))
    node = world.stored(agent.node)
    judge(peer, node, world.clock())
    judge(peer, replace(node, serial="new", previous_serial=peer.serial), world.clock())
    for changed, at, code in [
        (None, world.clock(), "NOD002"),
        (replace(node, state=NodeState.REVOKED), peer.expires_at, "NOD003"),
        (replace(node, state=NodeState.GONE), peer.expires_at, "NOD004"),
        (node, peer.expires_at, "NOD006"),
        (replace(node, serial="other"), world.clock(), "NOD005"),
        (replace(node, serial=""), world.clock(), "NOD005"),
    ]:
        with pytest.raises(AuthError) as caught:
            judge(peer, changed, at)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "state", [NodeState.INVITED, NodeState.ONLINE, NodeState.LOST, NodeState.DRAINED]
)
def test_a_node_in_any_other_state_may_speak(world, state):
    agent = world.agent()
    world.store.commit(replace(world.stored(agent.node), state=state))
    assert beat(agent.caller()).status == 200
