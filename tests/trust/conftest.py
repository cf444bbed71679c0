"""Requests for certificates, good and bad, and a CA that is made once for the room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.model import Node
from broker.store.memory import MemoryStore
from broker.trust.ca import CertificateAuthority

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def now():
    return NOW


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return CertificateAuthority.open(tmp_path_factory.mktemp("keys"), NOW)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def node(store):
    (row,) = store.commit(Node("nd_oslo", "oslo-01", "edge", NOW))
    return row


@pytest.fixture
def new_key() -> Callable[[], ec.EllipticCurvePrivateKey]:
    return lambda: ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def csr_of():
    """A request as PEM, by default a good one; `extensions` are (value, critical) pairs."""

    def make(key=None, extensions=(), digest=None, name="a node") -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        for value, critical in extensions:
            builder = builder.add_extension(value, critical=critical)
        key = key or ec.generate_private_key(ec.SECP256R1())
        request = builder.sign(key, digest or hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    return make
