"""Who is calling: the node in the certificate, checked against the ledger at each request.

AuthError: NOD001 no usable certificate, NOD002 unknown node, NOD003 revoked, NOD004 gone,
NOD005 not the node's current certificate, NOD006 expired by the broker's clock.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from broker.errors import AuthError, ConflictError
from broker.model import Node, NodeState
from broker.ports import Store
from broker.trust.ca import CertificateAuthority, Issued, node_of_uri
from broker.trust.csr import read_csr

_RETRIES = 20
_REFUSED = {NodeState.REVOKED: "NOD003", NodeState.GONE: "NOD004"}


@dataclass(frozen=True, slots=True)
class Peer:
    """What a certificate says. `serial` is lower-case hex."""

    node_id: str
    serial: str
    expires_at: datetime


@functools.lru_cache(maxsize=4096)
def peer_of(der: bytes) -> Peer:
    """The peer in a certificate that the handshake has verified."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as exc:
        raise AuthError("the certificate names no node", code="NOD001") from exc
    ids = map(node_of_uri, names.get_values_for_type(x509.UniformResourceIdentifier))
    node_id = next(filter(None, ids), None)
    if node_id is None:
        raise AuthError("the certificate names no node", code="NOD001")
    return Peer(node_id, f"{certificate.serial_number:x}", certificate.not_valid_after_utc)


def judge(peer: Peer, node: Node | None, now: datetime) -> None:
    """Pure. Raises why this peer may not speak for this node."""
    if node is None:
        raise AuthError("unknown node", code="NOD002")
    if node.state in _REFUSED:
        raise AuthError(f"{node.name} is {node.state}", code=_REFUSED[node.state])
    if now >= peer.expires_at:
        when = peer.expires_at.isoformat(timespec="seconds")
        raise AuthError(
            f"the certificate expired at {when}",
            code="NOD006",
            hint=f"the broker's clock says {now.isoformat(timespec='seconds')}; else enrol again",
        )
    if peer.serial not in {node.serial, node.previous_serial}:
        raise AuthError(
            "not the node's current certificate", code="NOD005", hint="it enrolled elsewhere"
        )


def identify(store: Store, der: bytes | None, now: datetime) -> tuple[Node, Peer]:
    """The calling node as the ledger has it. Using a new certificate ends the old one."""
    if der is None:
        raise AuthError("no client certificate", code="NOD001")
    peer = peer_of(der)
    found = store.find(Node, id=peer.node_id)
    node = found[0] if found else None
    judge(peer, node, now)
    assert node is not None
    if node.previous_serial and peer.serial == node.serial:
        node = _settled(store, node)
    return node, peer


def renew(
    store: Store, der: bytes | None, csr_pem: str, now: datetime, ca: CertificateAuthority
) -> Issued:
    """A certificate for a new key; the one it was asked with stays good until that is used."""
    for _ in range(_RETRIES):
        node, peer = identify(store, der, now)
        issued = ca.sign_node(read_csr(csr_pem), node.id, now)
        renewed = replace(
            node,
            serial=issued.serial,
            expires_at=issued.expires_at,
            previous_serial=peer.serial,
        )
        with contextlib.suppress(ConflictError):
            store.commit(renewed)
            return issued
    raise ConflictError("the ledger is busy", hint="try again")


def _settled(store: Store, node: Node) -> Node:
    """A lost race costs nothing: the next request tries again."""
    with contextlib.suppress(ConflictError):
        (row,) = store.commit(replace(node, previous_serial=""))
        assert isinstance(row, Node)
        return row
    return node
