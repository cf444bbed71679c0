"""The broker's own certificate authority: one P-256 root that signs nodes and the gateway."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.errors import AuthError
from broker.trust.csr import NodeKey
from broker.trust.files import create_once

GATEWAY_NAME = "gateway.fedbroker"
BACKDATE = timedelta(seconds=60)  # a node whose clock is a little behind must not see the future
NODE_LIFE = timedelta(hours=24)
SERVER_LIFE = timedelta(days=30)
ROOT_LIFE = timedelta(days=3650)
_URI = "spiffe://fedbroker/node/"


@dataclass(frozen=True, slots=True)
class Issued:
    """A node's certificate. `serial` is lower-case hex, as in `Node.serial`."""

    pem: str
    serial: str
    expires_at: datetime


def node_uri(node_id: str) -> str:
    return f"{_URI}{node_id}"


def node_of_uri(uri: str) -> str | None:
    """The node id in one of our URIs, None for any other URI."""
    return uri.removeprefix(_URI) if uri.startswith(_URI) and len(uri) > len(_URI) else None


def node_dns(node_id: str) -> str:
    """The name under which a node's own listener is checked by other nodes."""
    return f"{node_id}.node.fedbroker"


class CertificateAuthority:
    """Signs with the key it was opened with. Time is an argument; serials are random."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @classmethod
    def open(cls, keys_dir: Path, now: datetime) -> CertificateAuthority:
        """The CA in `keys_dir`, made on first use: key and certificate in one file, 0600.

        AuthError CA001 when the file cannot be read.
        """
        path = keys_dir / "ca.pem"
        pem = create_once(path, lambda: _new_root(now))
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as exc:
            raise _broken(path) from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _broken(path)
        if key.public_key() != certificate.public_key():
            raise _broken(path)
        return cls(key, certificate)

    @property
    def certificate_pem(self) -> str:
        return _pem(self.certificate)

    @property
    def pin(self) -> str:
        """What an agent knows this CA by: `sha256:` and the hash of the DER in hex."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def sign_node(
        self,
        key: NodeKey,
        node_id: str,
        now: datetime,
        *,
        life: timedelta = NODE_LIFE,
        serial: int | None = None,
    ) -> Issued:
        """A certificate for the node, with names and rights that only the CA chooses."""
        names = [x509.UniformResourceIdentifier(node_uri(node_id)), x509.DNSName(node_dns(node_id))]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _leaf(node_id, key.public, names, usages).serial_number(
            serial or x509.random_serial_number()
        )
        certificate = self._signed(builder, now, now + life)
        return Issued(
            _pem(certificate), f"{certificate.serial_number:x}", certificate.not_valid_after_utc
        )

    def sign_gateway(self, hosts: Sequence[str], now: datetime) -> bytes:
        """Private key, certificate for `gateway.fedbroker` and `hosts`, CA certificate: one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = general_names([GATEWAY_NAME, *hosts])
        builder = _leaf(GATEWAY_NAME, key.public_key(), names, [ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.serial_number(x509.random_serial_number())
        chain = [self._signed(builder, now, now + SERVER_LIFE), self.certificate]
        return _key_pem(key) + "".join(map(_pem, chain)).encode()

    def _signed(
        self, builder: x509.CertificateBuilder, now: datetime, until: datetime
    ) -> x509.Certificate:
        public = self._key.public_key()
        return (
            builder.issuer_name(self.certificate.subject)
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(until, self.certificate.not_valid_after_utc))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )


def general_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Addresses as IP names, the rest as DNS names, each once."""
    return [_general_name(host) for host in dict.fromkeys(hosts)]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _leaf(
    name: str,
    public: ec.EllipticCurvePublicKey,
    names: Iterable[x509.GeneralName],
    usages: Iterable[x509.ObjectIdentifier],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .public_key(public)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _new_root(now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"fedbroker CA {secrets.token_hex(4)}")  # two homes are told apart by it
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + _pem(certificate).encode()


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _broken(path: Path) -> AuthError:
    return AuthError(
        f"{path} does not hold a CA key with its certificate",
        code="CA001",
        hint="restore it from a backup; a new CA means that every node enrols again",
    )
