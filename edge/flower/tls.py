"""TLS of the federation's own hops: mutual between sites and listener, private on loopback.

Flower refuses to authenticate a SuperNode without TLS, also on loopback. `make_loopback` makes a
certificate for that one hop of one order: nobody else's process can pass for ours, even one that
took the port in the moment between choosing and binding it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge.runner import Identity

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Loopback:
    """PEM files of a self-signed certificate for 127.0.0.1, which is its own root."""

    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


def make_loopback(folder: Path, now: dt.datetime) -> Loopback:
    """Valid from an hour before `now` for a year; the key is readable by its owner only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Loopback(folder / "loopback.crt", folder / "loopback.key")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.touch(mode=0o600)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def site_server(identity: Identity) -> ssl.SSLContext:
    """For the listener: TLS 1.3, a certificate of the broker's CA from every peer, no tickets.

    A resumed session would skip the check of a certificate that has expired since.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def site_client(identity: Identity) -> ssl.SSLContext:
    """For a tunnel: TLS 1.3 with the node's certificate; nothing but the broker's CA is trusted."""
    context = ssl.create_default_context(cafile=str(identity.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def free_port() -> int:
    """A loopback port that was free a moment ago; the certificate says whether we really got it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
