"""The CA alone decides what a certificate says; it is made once, privately, and holds one key."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.errors import AuthError
from broker.trust.ca import CertificateAuthority, node_of_uri, node_uri
from broker.trust.csr import read_csr
from broker.trust.gateway_cert import gateway_pem


@pytest.fixture
def signed(ca, csr_of, now):
    issued = ca.sign_node(read_csr(csr_of(name="root")), "nd_1", now)
    return issued, x509.load_pem_x509_certificate(issued.pem.encode())


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_first_opening_makes_a_private_file_and_later_ones_read_it(tmp_path, now):
    first = CertificateAuthority.open(tmp_path / "keys", now)
    again = CertificateAuthority.open(tmp_path / "keys", now + timedelta(days=1))
    assert first.pin == again.pin
    assert stat.S_IMODE((tmp_path / "keys" / "ca.pem").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["ca.pem"]


def test_two_processes_that_start_at_once_share_one_ca(tmp_path):
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC;"
        "from broker.trust.ca import CertificateAuthority;"
        "sys.stdin.readline();"
        "print(CertificateAuthority.open(Path(sys.argv[1]), datetime.now(UTC)).pin)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "keys"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        pins = list(pool.map(lambda process: process.communicate("go\n", timeout=60)[0], started))
    assert len(set(pins)) == 1
    assert pins[0].startswith("sha256:")


def test_many_threads_that_open_at_once_share_one_ca(tmp_path, now):
    with ThreadPoolExecutor(16) as pool:
        opened = pool.map(lambda _: CertificateAuthority.open(tmp_path, now).pin, range(16))
    assert len(set(opened)) == 1


@pytest.mark.parametrize("content", [b"", b"no pem", b"-----BEGIN PRIVATE KEY-----\nAA\n"])
def test_a_broken_file_is_an_error_that_says_so_and_is_not_replaced(tmp_path, now, content):
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(AuthError, match=r"ca\.pem") as caught:
        CertificateAuthority.open(tmp_path, now)
    assert caught.value.code == "CA001"
    assert path.read_bytes() == content


def test_a_key_that_does_not_fit_its_certificate_is_an_error(tmp_path, now):
    CertificateAuthority.open(tmp_path / "a", now)
    CertificateAuthority.open(tmp_path / "b", now)
    key = (tmp_path / "a" / "ca.pem").read_text().partition("-----BEGIN CERT")[0]
    certificate = (tmp_path / "b" / "ca.pem").read_text().partition("-----BEGIN CERT")[2]
    (tmp_path / "a" / "ca.pem").write_text(f"{key}-----BEGIN CERT{certificate}")
    with pytest.raises(AuthError) as caught:
        CertificateAuthority.open(tmp_path / "a", now)
    assert caught.value.code == "CA001"


def test_the_pin_is_the_hash_of_the_certificate(ca):
    der = ssl.PEM_cert_to_DER_cert(ca.certificate_pem)
    assert ca.pin == f"sha256:{hashlib.sha256(der).hexdigest()}"
    assert "PRIVATE" not in ca.certificate_pem


def test_the_root_may_sign_leaves_and_nothing_below_another_ca(ca):
    basic = extension(ca.certificate, x509.BasicConstraints)
    usage = extension(ca.certificate, x509.KeyUsage)
    assert (basic.ca, basic.path_length) == (True, 0)
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_a_node_gets_its_names_and_rights_from_the_ca_alone(signed):
    issued, certificate = signed
    names = extension(certificate, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://fedbroker/node/nd_1"
    ]
    assert names.get_values_for_type(x509.DNSName) == ["nd_1.node.fedbroker"]
    assert len(list(names)) == 2
    assert set(extension(certificate, x509.ExtendedKeyUsage)) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert extension(certificate, x509.BasicConstraints).ca is False
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [attribute.value for attribute in common] == ["nd_1"]
    assert issued.serial == f"{certificate.serial_number:x}"


def test_a_certificate_lives_a_day_and_begins_a_minute_ago(signed, now):
    issued, certificate = signed
    assert certificate.not_valid_before_utc == now - timedelta(seconds=60)
    assert certificate.not_valid_after_utc == now + timedelta(hours=24) == issued.expires_at


def test_the_life_of_a_certificate_can_be_chosen_but_never_outlives_the_ca(ca, csr_of, now):
    key = read_csr(csr_of())
    assert ca.sign_node(key, "nd_1", now, life=timedelta(minutes=5)).expires_at == now + timedelta(
        minutes=5
    )
    end = ca.certificate.not_valid_after_utc
    assert ca.sign_node(key, "nd_1", now, life=timedelta(days=9999)).expires_at == end


def test_serial_numbers_are_not_repeated(ca, csr_of, now):
    key = read_csr(csr_of())
    assert len({ca.sign_node(key, "nd_1", now).serial for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("uri", "node_id"),
    [
        (node_uri("nd_1"), "nd_1"),
        ("spiffe://fedbroker/node/", None),
        ("spiffe://elsewhere/node/nd_1", None),
        ("https://fedbroker/node/nd_1", None),
    ],
)
def test_only_our_uris_name_a_node(uri, node_id):
    assert node_of_uri(uri) == node_id


def certificate_in(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_gateway_certificate_names_the_gateway_and_its_hosts_and_is_for_servers_only(
    ca, tmp_path, now
):
    path = gateway_pem(ca, tmp_path, ["broker.example", "10.0.0.7"], now)
    names = extension(certificate_in(path), x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["gateway.fedbroker", "broker.example"]
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["10.0.0.7"]
    usages = extension(certificate_in(path), x509.ExtendedKeyUsage)
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_gateway_certificate_is_kept_while_it_is_young_and_has_the_names(ca, tmp_path, now):
    first = gateway_pem(ca, tmp_path, ["a.example"], now).read_bytes()
    for later in (timedelta(0), timedelta(days=19)):
        assert gateway_pem(ca, tmp_path, ["a.example"], now + later).read_bytes() == first
    assert gateway_pem(ca, tmp_path, [], now).read_bytes() == first


@pytest.mark.parametrize("days", [21, 31, -2])
def test_an_old_gateway_certificate_is_made_again(ca, tmp_path, now, days):
    first = certificate_in(gateway_pem(ca, tmp_path, [], now))
    again = certificate_in(gateway_pem(ca, tmp_path, [], now + timedelta(days=days)))
    assert again.serial_number != first.serial_number


@pytest.mark.parametrize("spoilt", ["other host", "other ca", "garbage"])
def test_a_gateway_certificate_that_does_not_fit_is_made_again(ca, tmp_path, now, spoilt):
    hosts = ["a.example"]
    path = gateway_pem(ca, tmp_path, hosts, now)
    before = path.read_bytes()
    if spoilt == "other host":
        hosts = ["b.example"]
    elif spoilt == "other ca":
        path.write_bytes(
            CertificateAuthority.open(tmp_path / "other", now).sign_gateway(hosts, now)
        )
    else:
        path.write_bytes(b"garbage")
    certificate = certificate_in(gateway_pem(ca, tmp_path, hosts, now))
    assert path.read_bytes() != before
    certificate.verify_directly_issued_by(ca.certificate)


def test_a_node_can_serve_tls_under_its_own_name_only(csr_of, tmp_path):
    """The listener beside an aggregator shows the node's certificate; ids hold underscores."""
    today = datetime.now(UTC)
    ca = CertificateAuthority.open(tmp_path, today)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = ca.sign_node(read_csr(csr_of(key)), "nd_01k9d3n4p0a7x2m5q", today)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "node.pem").write_bytes(pem + issued.pem.encode())
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "node.pem")
    client = ssl.create_default_context(cadata=ca.certificate_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(server, client, "nd_01k9d3n4p0a7x2m5q.node.fedbroker") == "TLSv1.3"
    for other in ("nd_other.node.fedbroker", "gateway.fedbroker", "node.fedbroker"):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname"):
            handshake(server, client, other)


def handshake(server_context, client_context, name):
    """Two ends in memory; the version they agree on."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for end in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.version()
