"""Keys made on this node. None of them ever leaves it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.errors import AuthError
from edge.files import write_file

_URI = "spiffe://fedbroker/node/"


def new_key() -> bytes:
    """A P-256 private key, PEM."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8)


def csr(key_pem: bytes, name: str) -> str:
    """A request that proves to hold the key; the broker alone decides what it certifies."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(_private(key_pem), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def check_certificate(pem: str, key_pem: bytes, ca_pem: str, node_id: str) -> None:
    """AuthError EDG008 unless the certificate is the CA's, for our key and our node."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as exc:
        raise AuthError(
            "the broker's answer holds no certificate of its CA", code="EDG008"
        ) from exc
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if certificate.public_key() != _private(key_pem).public_key() or f"{_URI}{node_id}" not in uris:
        raise AuthError("the broker's certificate is not for this node and key", code="EDG008")


def lifetime(certificate: Path) -> tuple[datetime, datetime]:
    """From when until when the certificate is good."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return found.not_valid_before_utc, found.not_valid_after_utc


def flower_key(path: Path) -> str:
    """The public line of the P-384 key for Flower's SuperNode, made on first use."""
    if not path.exists():
        key = ec.generate_private_key(ec.SECP384R1())
        write_file(path, _private_pem(key, serialization.PrivateFormat.OpenSSH))
    private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthError("the node's key file holds no EC key", code="EDG008")
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
