"""Enrolment refuses everything but one live token with one honest key, and says why by code."""

from __future__ import annotations

import base64
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from broker.model import JoinToken, Node, NodeState
from broker.trust.ca import CertificateAuthority


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def enrol(world):
    """Post a body to the enrolment listener."""
    call = world.enroller()

    def post(token, csr):
        return call("POST", "/v1/enrol", {"token": token, "csr_pem": csr})

    return post


def test_a_token_and_a_request_give_an_identity_that_the_agents_listener_takes(world, make_agent):
    agent = make_agent(name="oslo-01")
    got = agent.enrol().json
    assert (got["node_id"], got["name"]) == (agent.node.id, "oslo-01")
    assert got["ca_pem"] == world.ca.certificate_pem
    assert got["agent_url"] == world.gateway.agent_url
    assert agent.caller()("POST", "/v1/heartbeat", {}).status == 200


def test_the_ca_can_be_had_before_it_is_trusted_so_that_its_pin_can_be_checked(world, make_caller):
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    got = make_caller(world.gateway.enrol_url, blind)("GET", "/v1/ca")
    certificate = x509.load_pem_x509_certificate(got.body)
    assert certificate == world.ca.certificate


def test_the_handshake_carries_the_ca_as_the_last_of_the_chain(world, make_caller):
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    call = make_caller(world.gateway.enrol_url, blind)
    call("GET", "/v1/ca")
    chain = call.connection.sock._sslobj.get_unverified_chain()
    last = x509.load_pem_x509_certificate(chain[-1].public_bytes().encode())
    assert last == world.ca.certificate


def test_the_gateway_is_known_by_its_own_name_too(world, make_context):
    context = make_context(world.ca.certificate_pem)
    call = world.enroller(context)
    sock = call.connection
    sock.connect()
    names = dict(sock.sock.getpeercert())["subjectAltName"]
    assert ("DNS", "gateway.fedbroker") in names
    assert ("IP Address", "127.0.0.1") in names


CSR_CASES = {
    "rsa key": lambda csr: csr(rsa.generate_private_key(65537, 2048)),
    "p-384 key": lambda csr: csr(ec.generate_private_key(ec.SECP384R1())),
    "k-256 key": lambda csr: csr(ec.generate_private_key(ec.SECP256K1())),
    "ca true": lambda csr: csr(new_key(), [x509.BasicConstraints(ca=True, path_length=None)]),
    "name of another node": lambda csr: csr(
        new_key(),
        [x509.SubjectAlternativeName([x509.DNSName("nd_9.node.fedbroker")])],
    ),
    "uri of another node": lambda csr: csr(
        new_key(),
        [
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://fedbroker/node/nd_9")]
            )
        ],
    ),
    "name of the gateway": lambda csr: csr(
        new_key(),
        [x509.SubjectAlternativeName([x509.DNSName("gateway.fedbroker")])],
    ),
    "wrong signature": lambda csr: tampered(csr(new_key())),
    "over 8 KiB": lambda csr: csr(new_key()) + " " * 9000,
    "garbage": lambda _: "garbage",
    "empty": lambda _: "",
    "truncated": lambda csr: csr(new_key())[:200],
    "two at once": lambda csr: csr(new_key()) + csr(new_key()),
    "a certificate": lambda csr: csr(new_key()).replace("CERTIFICATE REQUEST", "CERTIFICATE"),
    "no ascii": lambda _: "-----BEGIN CERTIFICATE REQUEST-----\u00e9",
}
CSR_CODES = {
    "rsa key": "CSR004",
    "p-384 key": "CSR004",
    "k-256 key": "CSR004",
    "ca true": "CSR005",
    "name of another node": "CSR005",
    "uri of another node": "CSR005",
    "name of the gateway": "CSR005",
    "wrong signature": "CSR003",
    "over 8 KiB": "CSR001",
}


def tampered(pem):
    """The last byte of the signature is another one."""
    der = bytearray(base64.b64decode("".join(pem.splitlines()[1:-1])))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("case", CSR_CASES)
def test_a_dishonest_request_is_refused_and_the_token_stays_unused(world, enrol, make_csr, case):
    secret = world.invite(world.node())
    got = enrol(secret, CSR_CASES[case](make_csr))
    assert got.status == 400
    assert got.code == CSR_CODES.get(case, "CSR002")
    assert world.store.find(JoinToken)[0].used_at is None
    assert enrol(secret, make_csr(new_key())).status == 200


def test_an_ed25519_key_is_refused(world, enrol):
    key = ed25519.Ed25519PrivateKey.generate()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    assert enrol(world.invite(world.node()), pem).code == "CSR004"


def test_a_private_key_in_the_request_is_refused(world, enrol, make_csr, private_pem):
    key = new_key()
    got = enrol(world.invite(world.node()), make_csr(key) + private_pem(key).decode())
    assert got.code == "CSR006"


@pytest.mark.parametrize("token", ["bk1_unknown", "", "x" * 200, "\x00", "' OR 1=1 --", "\ud800"])
def test_an_unknown_token_is_refused(enrol, make_csr, token):
    got = enrol(token, make_csr(new_key()))
    assert (got.status, got.code) == (403, "TOK001")


def test_an_expired_token_is_refused(world, enrol, make_csr):
    secret = world.invite(world.node(), ttl=timedelta(minutes=5))
    world.clock.ahead = timedelta(minutes=5, seconds=1)
    got = enrol(secret, make_csr(new_key()))
    assert (got.status, got.code) == (403, "TOK002")
    assert "edge invite" in got.json["hint"]


def test_a_used_token_is_refused_to_another_key_and_repeated_for_its_own(world, enrol, make_csr):
    secret, key = world.invite(world.node()), new_key()
    first = enrol(secret, make_csr(key))
    other = enrol(secret, make_csr(new_key()))
    assert (other.status, other.code) == (403, "TOK003")
    again = world.enroller()("POST", "/v1/enrol", {"token": secret, "csr_pem": make_csr(key)})
    assert again.status == 200
    assert serial(again) == serial(first)


def serial(answer):
    pem = answer.json["certificate_pem"].encode()
    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.mark.parametrize("state", [NodeState.REVOKED, NodeState.GONE])
def test_a_node_that_was_sent_away_cannot_enrol(world, enrol, make_csr, state):
    node = world.node(state=state)
    got = enrol(world.invite(node), make_csr(new_key()))
    assert (got.status, got.code) == (403, "TOK004")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"token": 1, "csr_pem": "x"}',
        b'{"token": "x"}',
        b'{"token": null, "csr_pem": null}',
        b'{"token": "x", "csr_pem": NaN}',
        b'{"token": {"$gt": ""}, "csr_pem": "x"}',
        b"[" * 100_000,
        b'{"token": "' + b"x" * 201 + b'", "csr_pem": "x"}',
        b'{"token": ' + b"9" * 5000 + b', "csr_pem": "x"}',
    ],
)
def test_a_malformed_body_is_refused_in_words(world, body):
    got = world.enroller()("POST", "/v1/enrol", body)
    assert (got.status, got.code) == (400, "USE010")
    assert "Traceback" not in got.body.decode()
    assert got.json["detail"]


def test_100_concurrent_uses_of_one_token_give_a_certificate_to_one_key(world, make_csr):
    secret = world.invite(world.node())
    requests = [make_csr(new_key()) for _ in range(100)]

    def use(csr):
        call = world.enroller()
        try:
            got = call("POST", "/v1/enrol", {"token": secret, "csr_pem": csr})
        finally:
            call.close()
        return got

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(use, requests))
    good = [answer for answer in answers if answer.status == 200]
    assert len(good) == 1
    assert {answer.code for answer in answers if answer.status != 200} == {"TOK003"}
    assert f"{serial(good[0]):x}" == world.store.find(Node)[0].serial


def test_a_client_with_another_pin_does_not_talk_to_this_gateway(world, tmp_path, make_context):
    other = CertificateAuthority.open(tmp_path / "other", datetime.now(UTC))
    call = world.enroller(make_context(other.certificate_pem))
    with pytest.raises(ssl.SSLCertVerificationError):
        call("POST", "/v1/enrol", {"token": "secret", "csr_pem": ""})
    assert call.sent == []


def test_tls_1_2_is_refused(world, make_context):
    context = make_context(world.ca.certificate_pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        world.enroller(context)("GET", "/v1/ca")


@pytest.mark.parametrize(
    "path", ["/v1/heartbeat", "/v1/orders", "/v1/renew", "/", "/v1/../v1/renew", "/docs"]
)
def test_the_enrolment_listener_serves_nothing_else(world, path):
    got = world.enroller()("POST", path, {})
    assert (got.status, got.code) == (404, "NOT001")


def test_the_ledger_holds_no_secret(world, make_agent):
    agent = make_agent()
    secret = world.invite(agent.node)
    agent.enrol(secret)
    rows = repr([world.store.find(kind) for kind in (JoinToken, Node)])
    assert secret not in rows
    assert secret.removeprefix("bk1_") not in rows


def test_enrolling_again_fences_off_the_first_holder(world, make_agent):
    first = make_agent()
    first.enrol()
    call = first.caller()
    assert call("POST", "/v1/heartbeat", {}).status == 200
    second = replace(first, key=new_key())
    assert second.enrol(world.invite(first.node)).status == 200
    got = call("POST", "/v1/heartbeat", {})
    assert (got.status, got.code) == (403, "NOD005")
