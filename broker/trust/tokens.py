"""One-time invitations: made, kept as a hash, and exchanged for a certificate exactly once.

AuthError says why an invitation is refused: TOK001 unknown, TOK002 expired, TOK003 used with
another key, TOK004 the node was revoked or is gone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from broker.errors import AuthError, ConflictError
from broker.ids import new_id
from broker.model import Event, JoinToken, Node, NodeState
from broker.ports import Store
from broker.trust.ca import CertificateAuthority, Issued
from broker.trust.csr import read_csr
from broker.trust.files import create_once

PREFIX = "bk1_"  # lets scanners of code and logs recognise a token
TTL = timedelta(minutes=15)
MAX_TTL = timedelta(hours=24)
_RETRIES = 20
_INVITE = "make a new invitation: `broker edge invite`"


def join_key(keys_dir: Path) -> bytes:
    """The 32 secret bytes that tokens of launched machines come from, made on first use."""
    key = create_once(keys_dir / "join.key", lambda: secrets.token_bytes(32))
    if len(key) != 32:
        raise AuthError(f"{keys_dir / 'join.key'} does not hold 32 bytes", code="CA002")
    return key


def attempt_token(key: bytes, attempt_id: str) -> str:
    """The secret for one attempt's machine: always the same, so a launch can be asked again."""
    mac = hmac.digest(key, b"fedbroker join token 1\0" + attempt_id.encode(), "sha256")
    return PREFIX + _text(mac)


def random_token() -> str:
    """A secret for a person to carry: 256 bits."""
    return PREFIX + _text(secrets.token_bytes(32))


def token_hash(secret: str) -> str:
    """What the ledger knows a secret by."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def mint(
    node: Node, secret: str, now: datetime, ttl: timedelta = TTL
) -> tuple[str, JoinToken, Node]:
    """The secret with the two rows to commit before it is handed out. At most 24 h good."""
    token = JoinToken(
        id=token_hash(secret),
        node_id=node.id,
        created_at=now,
        expires_at=now + min(ttl, MAX_TTL),
    )
    return secret, token, node


def redeem(
    store: Store, secret: str, csr_pem: str, now: datetime, ca: CertificateAuthority
) -> tuple[Node, str]:
    """Exchange a secret and a request for the node's certificate (PEM).

    The use is committed before anything is signed. The same secret with the same key gives the
    same serial again until the token expires: an answer may be lost. UsageError CSR00x leaves the
    token unused.
    """
    token = _unexpired(store, secret, now)
    _admitted(store, token.node_id)
    key = read_csr(csr_pem)
    token = _claim(store, token, key.hash, now)
    issued = ca.sign_node(
        key, token.node_id, token.used_at or now, serial=_serial(secret, key.hash)
    )
    return _enrol(store, token.node_id, issued, now), issued.pem


def _unexpired(store: Store, secret: str, now: datetime) -> JoinToken:
    found = store.find(JoinToken, id=token_hash(secret))
    if not found:
        raise AuthError("unknown join token", code="TOK001", hint=_INVITE)
    if now >= found[0].expires_at:
        when = found[0].expires_at.isoformat(timespec="seconds")
        raise AuthError(f"the join token expired at {when}", code="TOK002", hint=_INVITE)
    return found[0]


def _admitted(store: Store, node_id: str) -> Node:
    """The node that was invited, unless it has been sent away since."""
    found = store.find(Node, id=node_id)
    if not found or found[0].state in (NodeState.REVOKED, NodeState.GONE):
        state = found[0].state if found else "unknown"
        raise AuthError(f"the node of this token is {state}", code="TOK004", hint=_INVITE)
    return found[0]


def _claim(store: Store, token: JoinToken, key_hash: str, now: datetime) -> JoinToken:
    """Bind the token to one key. Of many at once the version guard lets one win."""
    for _ in range(_RETRIES):
        if token.used_at is not None:
            return _same_key(token, key_hash)
        try:
            (claimed,) = store.commit(replace(token, used_at=now, key_hash=key_hash))
        except ConflictError:
            token = store.find(JoinToken, id=token.id)[0]
            continue
        assert isinstance(claimed, JoinToken)
        return claimed
    raise ConflictError("the ledger is busy", hint="try again")


def _same_key(token: JoinToken, key_hash: str) -> JoinToken:
    if not hmac.compare_digest(token.key_hash, key_hash):
        raise AuthError(
            "the join token was already used, with another key", code="TOK003", hint=_INVITE
        )
    return token


def _serial(secret: str, key_hash: str) -> int:
    """126 bits that only the holder of the secret can know, the same for the same key."""
    digest = hmac.digest(secret.encode(), b"serial\0" + key_hash.encode(), "sha256")
    return int.from_bytes(digest[:16], "big") >> 2 | 1 << 126


def _enrol(store: Store, node_id: str, issued: Issued, now: datetime) -> Node:
    """Make the certificate the node's current one; whoever held an older one is fenced off."""
    for _ in range(_RETRIES):
        node = _admitted(store, node_id)
        if node.serial == issued.serial:
            return node
        enrolled = replace(
            node, serial=issued.serial, expires_at=issued.expires_at, previous_serial=""
        )
        try:
            return _first_node(store.commit(enrolled, _enrolled(enrolled, now)))
        except ConflictError:
            continue
    raise ConflictError("the ledger is busy", hint="try again")


def _first_node(rows: tuple[object, ...]) -> Node:
    assert isinstance(rows[0], Node)
    return rows[0]


def _enrolled(node: Node, now: datetime) -> Event:
    return Event(
        id=new_id("ev", now, secrets.token_bytes(10)),
        at=now,
        subject=node.id,
        run_id="",
        kind="node.enrolled",
        message=f"{node.name} enrolled",
        data={"serial": node.serial},
    )


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
