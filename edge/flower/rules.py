"""Who may say what to the SuperLink: the listener's decision, pure.

A SuperLink serves its control, runtime and fleet paths on one port, and anybody who reaches the
control paths can run code on every site. So only a certificate of this federation gets through,
only to the paths a SuperNode needs, and only with the Flower key that belongs to the certificate.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from broker.errors import RequestError
from edge.flower.http1 import Head

SPIFFE = "spiffe://fedbroker/node/"
PATHS = frozenset(
    f"/v1/fleet/{verb}"
    for verb in (
        "activate-node",
        "confirm-message-received",
        "deactivate-node",
        "get-fab",
        "get-run",
        "pull-messages",
        "pull-object",
        "push-messages",
        "push-object",
        "send-node-heartbeat",
    )
)
KEY_FIELD = "flwr-public-key"
_PLAIN_FIELDS = frozenset({"accept", "content-type", "traceparent", "tracestate", "user-agent"})
_FORBIDDEN_FIELDS = ("expect", "upgrade", "trailer", "te")


@dataclass(frozen=True, slots=True)
class Member:
    """A site of this federation. `key` is its Flower public key as the SuperLink keeps it: PEM."""

    node_id: str
    name: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """What the TLS layer has proved: the node of the certificate, and until when it is valid."""

    node_id: str | None
    expires_at: float  # seconds since the epoch


def members_of(sites: list[dict[str, Any]]) -> dict[str, Member]:
    """The `sites` of a superlink order by node id. RequestError: a key is no EC OpenSSH key."""
    return {
        str(site["node_id"]): Member(
            str(site["node_id"]), str(site["name"]), pem_of(str(site["flower_key"]))
        )
        for site in sites
    }


def pem_of(openssh: str) -> bytes:
    try:
        key = load_ssh_public_key(openssh.encode())
    except (ValueError, TypeError) as exc:
        raise RequestError(f"not an OpenSSH public key: {exc}") from exc
    if not isinstance(key, EllipticCurvePublicKey):
        raise RequestError("a SuperNode's key must be on an elliptic curve")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def peer_of(certificate: Mapping[str, Any], expires_at: float) -> Peer:
    """From `SSLSocket.getpeercert()`. A certificate with no node id, or with two, names nobody."""
    names = [
        value.removeprefix(SPIFFE)
        for kind, value in certificate.get("subjectAltName", ())
        if kind == "URI" and value.startswith(SPIFFE)
    ]
    return Peer(names[0] if len(names) == 1 else None, expires_at)


def refusal(head: Head, peer: Peer, members: Mapping[str, Member], at: float) -> str | None:
    """Why a request must not pass, None when it may. `at` is seconds since the epoch."""
    method, target, version = head.start
    member = members.get(peer.node_id or "")
    if member is None:
        return "not a site of this federation"
    faults = {
        "certificate has expired": at >= peer.expires_at,
        "method": method != "POST" or version != "HTTP/1.1",
        "path": target not in PATHS,
        "field": any(head.all(name) for name in _FORBIDDEN_FIELDS),
        "flower key is not bound to this certificate": _key(head) != member.key,
    }
    return next((why for why, found in faults.items() if found), None)


def _key(head: Head) -> bytes | None:
    try:
        return base64.b64decode(head.one(KEY_FIELD) or "", validate=True)
    except binascii.Error:
        return None


def onward(head: Head, length: int | None, host: str) -> list[tuple[str, str]]:
    """The fields that the SuperLink gets: named ones and Flower's own, framed anew."""
    kept = [
        (name, value)
        for name, value in head.fields
        if name in _PLAIN_FIELDS or name.startswith("flwr-")
    ]
    framing = (
        ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
    )
    return [("host", host), *kept, framing]
