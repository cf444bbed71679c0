"""A request is signed only when it proves one P-256 key and asks for nothing else."""

from __future__ import annotations

import base64
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from broker.trust.csr import MAX_BYTES, read_csr


def refused(pem):
    with pytest.raises(UsageError) as caught:
        read_csr(pem)
    return caught.value.code


def test_a_good_request_gives_its_key_and_a_stable_hash(csr_of, new_key):
    key = new_key()
    first, again = read_csr(csr_of(key)), read_csr(csr_of(key, name="another subject"))
    assert first.hash == again.hash
    assert first.public == key.public_key()
    assert read_csr(csr_of()).hash != first.hash


@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa_keys_are_refused(csr_of, bits):
    assert refused(csr_of(rsa.generate_private_key(65537, bits))) == "CSR004"


@pytest.mark.parametrize(
    "curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()]
)
def test_other_curves_are_refused(csr_of, curve):
    assert refused(csr_of(ec.generate_private_key(curve))) == "CSR004"


def test_edwards_keys_are_refused():
    subject = x509.Name([])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(ed25519.Ed25519PrivateKey.generate(), None)
    assert refused(signed.public_bytes(serialization.Encoding.PEM).decode()) == "CSR004"


NAMES = [
    x509.DNSName("gateway.fedbroker"),
    x509.DNSName("nd_victim.node.fedbroker"),
    x509.UniformResourceIdentifier("spiffe://fedbroker/node/nd_victim"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.RFC822Name("root@example.org"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: type(name).__name__)
@pytest.mark.parametrize("critical", [False, True])
def test_a_request_for_a_name_is_refused(csr_of, name, critical):
    wish = x509.SubjectAlternativeName([name])
    assert refused(csr_of(extensions=[(wish, critical)])) == "CSR005"


def usage(*, signs):
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.parametrize(
    "wish",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.BasicConstraints(ca=True, path_length=0),
        usage(signs=True),
    ],
)
def test_a_request_for_the_rights_of_a_ca_is_refused(csr_of, wish):
    assert refused(csr_of(extensions=[(wish, True)])) == "CSR005"


def test_harmless_wishes_are_read_and_not_granted(csr_of, ca, now):
    wishes = [(x509.BasicConstraints(ca=False, path_length=None), True), (usage(signs=False), True)]
    wishes.append((x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), False))
    key = read_csr(csr_of(extensions=wishes))
    issued = x509.load_pem_x509_certificate(ca.sign_node(key, "nd_1", now).pem.encode())
    granted = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert x509.oid.ExtendedKeyUsageOID.CODE_SIGNING not in granted


def test_a_signature_that_does_not_fit_is_refused(csr_of):
    der = bytearray(base64.b64decode("".join(csr_of().splitlines()[1:-1])))
    der[-1] ^= 1
    assert refused(pem_of(bytes(der))) in {"CSR003", "CSR002"}


def test_a_key_swapped_into_anothers_request_is_refused(csr_of, new_key):
    """The key of a victim in a request signed by somebody else proves nothing."""
    victim = (
        new_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    own = new_key()
    der = base64.b64decode("".join(csr_of(own).splitlines()[1:-1]))
    mine = own.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert der.count(mine) == 1
    assert refused(pem_of(der.replace(mine, victim))) == "CSR003"


def test_a_weak_signature_hash_is_refused(csr_of):
    assert refused(csr_of(digest=hashes.SHA224())) == "CSR003"


def test_more_than_8_kib_is_refused_unread(csr_of):
    assert refused(csr_of() + "\n" * MAX_BYTES) == "CSR001"
    assert refused("x" * (MAX_BYTES + 1)) == "CSR001"


def test_a_private_key_in_the_request_is_refused_and_named(csr_of, new_key):
    pem = new_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert refused(csr_of() + pem.decode()) == "CSR006"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\n!!!!\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nMAAA\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----",
        "\ud800-----BEGIN CERTIFICATE REQUEST-----",
        "é-----BEGIN CERTIFICATE REQUEST-----",
    ],
)
def test_what_is_no_request_is_refused(text):
    assert refused(text) == "CSR002"


def test_two_requests_at_once_are_refused(csr_of):
    assert refused(csr_of() + csr_of()) == "CSR002"


@given(data=st.data())
def test_a_damaged_request_is_refused_by_name_or_still_proves_its_own_key(data):
    """Bits flipped anywhere never crash the reader and never bind a key that was not proven."""
    der = bytearray(SAMPLE)
    for place in data.draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=4)):
        der[place] ^= data.draw(st.integers(1, 255))
    if bytes(der) == SAMPLE:
        read_csr(pem_of(bytes(der)))
    else:
        assert refused(pem_of(bytes(der))).startswith("CSR")


def pem_of(der):
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def sample():
    key = ec.derive_private_key(0x0123456789ABCDEF, ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


SAMPLE = sample()
