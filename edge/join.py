"""Enrolment: from an invitation to a certificate. The token is sent only to the broker it is from.

1. The CA is fetched over a connection that proves nothing, and kept only when its hash is the pin.
2. A second connection, which must prove to belong to that CA, carries token and CSR.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from broker.errors import AuthError, RequestError, UnknownOutcomeError, UsageError, WaitTimeoutError
from edge import keys
from edge.backoff import pause_s
from edge.channel import Channel, client_context, host_of
from edge.identity import Enrolment, NodeHome, token_hash

MAX_JOIN_BYTES = 64 * 1024
log = logging.getLogger("broker.edge")
_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_INVITE = "make a new invitation: `broker edge invite`"
_KEYS = ("url", "token", "ca_pin")


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where to enrol, with which secret, and the hash of the CA to expect there."""

    url: str
    token: str = field(repr=False)
    ca_pin: str


def read_invitation(text: str) -> Invitation:
    """From the JSON that `broker edge invite` printed. UsageError EDG001 says what is wrong."""
    try:
        said: Any = json.loads(text)
    except ValueError as exc:
        raise _unusable("it is not JSON") from exc
    if not isinstance(said, dict):
        raise _unusable("it is not a JSON object")
    for key in _KEYS:
        if not isinstance(said.get(key), str) or not said[key]:
            raise _unusable(f"`{key}` is missing")
    if not _PIN.fullmatch(said["ca_pin"]):
        raise _unusable("`ca_pin` is not `sha256:` and 64 hex digits")
    host_of(said["url"])
    return Invitation(*(said[key] for key in _KEYS))


def needed(home: NodeHome, invitation: Invitation) -> bool:
    """Whether this folder has not used this invitation yet: the same twice is one enrolment."""
    node = home.enrolment()
    return node is None or node.token_hash != token_hash(invitation.token)


def enrol(
    home: NodeHome,
    invitation: Invitation,
    name: str,
    patience_s: float,
    stop: threading.Event,
) -> Enrolment:
    """Exchange the invitation for an identity in `home`.

    AuthError: refused, or not the broker that the invitation is from. WaitTimeoutError EDG005:
    the broker could not be reached for `patience_s`, or `stop` was set.
    """
    until = time.monotonic() + patience_s
    tries = 0
    while True:
        try:
            return _enrol(home, invitation, name)
        except UnknownOutcomeError as error:
            wait_s = pause_s(tries, random.random())  # noqa: S311 - spreads load
            if time.monotonic() + wait_s > until:
                raise WaitTimeoutError(
                    error.message,
                    code="EDG005",
                    hint="is the broker running, and is this the address that it listens on?",
                ) from error
            log.warning("%s; trying again", error.message)
            if stop.wait(wait_s):
                raise WaitTimeoutError(
                    "stopped before the node was enrolled", code="EDG005"
                ) from error
            tries += 1


def fetch_ca(url: str, pin: str) -> str:
    """The CA certificate (PEM) that the pin names. AuthError EDG003: another one is shown there."""
    channel = Channel(url, _proves_nothing)
    try:
        pem = channel.get("/v1/ca").body.decode("ascii", "replace")
        der = ssl.PEM_cert_to_DER_cert(pem.strip())
    except (ValueError, RequestError) as exc:
        raise AuthError(f"{url} shows no CA certificate", code="EDG003", hint=_INVITE) from exc
    finally:
        channel.close()
    found = f"sha256:{hashlib.sha256(der).hexdigest()}"
    if not hmac.compare_digest(found, pin):
        raise AuthError(
            f"{url} is not the broker of this invitation: its CA is {found}, expected {pin}",
            code="EDG003",
            hint="wrong address, or somebody is in the way; the token was not sent",
        )
    return ssl.DER_cert_to_PEM_cert(der)


def _enrol(home: NodeHome, invitation: Invitation, name: str) -> Enrolment:
    ca = fetch_ca(invitation.url, invitation.ca_pin)
    context = client_context(ca)
    key = home.next_key()
    channel = Channel(invitation.url, lambda: context)
    try:
        body = {"token": invitation.token, "csr_pem": keys.csr(key, name)}
        said = channel.post("/v1/enrol", body).json()
    finally:
        channel.close()
    return _adopted(home, invitation, key, ca, said)


def _adopted(
    home: NodeHome, invitation: Invitation, key: bytes, ca: str, said: dict[str, Any]
) -> Enrolment:
    try:
        node = Enrolment(
            node_id=str(said["node_id"]),
            name=str(said["name"]),
            agent_url=str(said["agent_url"]),
            ca_pin=invitation.ca_pin,
            token_hash=token_hash(invitation.token),
        )
        certificate = str(said["certificate_pem"])
    except KeyError as exc:
        raise RequestError(f"the broker's answer lacks {exc}", code="EDG008") from exc
    host_of(node.agent_url)
    keys.check_certificate(certificate, key, ca, node.node_id)
    home.adopt(key, certificate, ca, node)
    return node


def _proves_nothing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(why: str) -> UsageError:
    return UsageError(
        f"the invitation cannot be used: {why}",
        code="EDG001",
        hint='expected {"url": ..., "token": ..., "ca_pin": ...} as `broker edge invite` prints it',
    )
