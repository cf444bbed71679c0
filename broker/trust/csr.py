"""What a node asks a certificate with: one P-256 public key that it proves to hold, no more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.errors import UsageError

MAX_BYTES = 8 * 1024
_BEGIN = "-----BEGIN CERTIFICATE REQUEST-----"
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The public key of a checked request; `hash` is the SHA-256 of its DER, in hex."""

    public: ec.EllipticCurvePublicKey
    hash: str


def read_csr(pem: str) -> NodeKey:
    """The key of a request that may be signed; the subject is not looked at: the CA names nodes.

    UsageError CSR001 to CSR006 says what is wrong with it.
    """
    _check_text(pem)
    request = _parsed(pem)
    public = _p256(request)
    _check_signature(request)
    _check_wishes(request)
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return NodeKey(public, hashlib.sha256(der).hexdigest())


def _check_text(pem: str) -> None:
    if len(pem.encode("utf-8", "replace")) > MAX_BYTES:
        raise UsageError(f"the CSR has more than {MAX_BYTES} bytes", code="CSR001")
    if "PRIVATE KEY" in pem:
        raise UsageError(
            "a private key was sent with the CSR",
            code="CSR006",
            hint="make a new key: this one has left its machine",
        )
    if pem.count("-----BEGIN") != 1 or _BEGIN not in pem:
        raise UsageError("expected exactly one PEM certificate request", code="CSR002")


def _parsed(pem: str) -> x509.CertificateSigningRequest:
    try:
        return x509.load_pem_x509_csr(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as exc:
        raise UsageError("the certificate request cannot be read", code="CSR002") from exc


def _p256(request: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        public = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise UsageError("the key of the CSR cannot be read", code="CSR004") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise UsageError(
            "the key of the CSR is not P-256", code="CSR004", hint="make an EC key on prime256v1"
        )
    return public


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    """The signature proves that whoever asks holds the private key."""
    try:
        good = isinstance(request.signature_hash_algorithm, _HASHES) and request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        good = False
    if not good:
        raise UsageError("the CSR's signature is wrong or made with a weak hash", code="CSR003")


def _check_wishes(request: x509.CertificateSigningRequest) -> None:
    """Asking for a name or for CA rights is refused aloud; the rest is simply not granted."""
    try:
        wished = {extension.oid: extension.value for extension in request.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise UsageError("the extensions of the CSR cannot be read", code="CSR005") from exc
    if x509.SubjectAlternativeName.oid in wished:
        raise UsageError("the CSR asks for a name; the broker names nodes", code="CSR005")
    basic = wished.get(x509.BasicConstraints.oid)
    usage = wished.get(x509.KeyUsage.oid)
    if (isinstance(basic, x509.BasicConstraints) and basic.ca) or (
        isinstance(usage, x509.KeyUsage) and usage.key_cert_sign
    ):
        raise UsageError("the CSR asks for the rights of a CA", code="CSR005")
