"""The gateway's own certificate: one private PEM file, made again before it grows old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from broker.trust.ca import GATEWAY_NAME, SERVER_LIFE, CertificateAuthority, general_names
from broker.trust.files import replace_file


def gateway_pem(
    ca: CertificateAuthority, keys_dir: Path, hosts: Sequence[str], now: datetime
) -> Path:
    """The file with key and chain for at least `hosts`; made again after two thirds of its life."""
    path = keys_dir / "gateway.pem"
    if not _serves(path, ca, hosts, now):
        replace_file(path, ca.sign_gateway(hosts, now))
    return path


def _serves(path: Path, ca: CertificateAuthority, hosts: Sequence[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(ca.certificate)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return False
    return _names(certificate, hosts) and _young(certificate, now)


def _names(certificate: x509.Certificate, hosts: Sequence[str]) -> bool:
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(general_names([GATEWAY_NAME, *hosts])) <= set(held)


def _young(certificate: x509.Certificate, now: datetime) -> bool:
    end = certificate.not_valid_after_utc
    return certificate.not_valid_before_utc <= now < end - SERVER_LIFE / 3
