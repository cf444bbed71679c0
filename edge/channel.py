"""One HTTPS connection to the broker, kept open and opened again as needed.

Only TLS 1.3, and only to a server whose certificate says `gateway.fedbroker`, whatever host was
dialled. Every request of the protocol may be repeated, so a connection that turns out to be dead
is replaced and the request sent once more.

UnknownOutcomeError: no answer, or an answer that says try again. AuthError: 403, or a server that
is not the broker. NotFoundError: 404. RequestError: any other refusal.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from broker.errors import (
    AuthError,
    BrokerError,
    NotFoundError,
    RequestError,
    UnknownOutcomeError,
    UsageError,
)

GATEWAY_NAME = "gateway.fedbroker"
CONNECT_S = 10.0
ANSWER_S = 20.0
MAX_ANSWER = 64 * 1024 * 1024
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


class HungUpError(UnknownOutcomeError):
    """Somebody was there and ended the connection, as a server does that refuses a certificate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The body as an object; {} when it is none."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.body)
            if isinstance(found, dict):
                return found
        return {}


class Channel:
    """Used by one thread at a time. `context` is asked before each request.

    When it gives another context than last time, a new connection is made with it. `close` may be
    called by any thread: whoever waits for an answer then gets an UnknownOutcomeError.
    """

    def __init__(self, url: str, context: Callable[[], ssl.SSLContext]) -> None:
        self._url = url
        self._host, self._port = host_of(url)
        self._context = context
        self._used: ssl.SSLContext | None = None
        self._connection: _Connection | None = None
        self._closed = threading.Event()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        answer_s: float = ANSWER_S,
    ) -> Answer:
        """The answer to one request, whatever its status; no answer is an UnknownOutcomeError."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = (method, path, raw, dict(headers or {}))
        try:
            try:
                return self._exchange(request, answer_s)
            except _STALE:
                self._drop()  # the server ends idle connections: this says nothing of the server
                return self._exchange(request, answer_s)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise _unreached(self._url, error) from error

    def get(self, path: str, **options: Any) -> Answer:
        return checked(self.ask("GET", path, **options))

    def post(self, path: str, body: bytes | Mapping[str, Any], **options: Any) -> Answer:
        return checked(self.ask("POST", path, body, **options))

    def close(self) -> None:
        self._closed.set()
        if (connection := self._connection) and (sock := connection.sock):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def outdated(self) -> bool:
        """Whether the connection was made with credentials that have been replaced since."""
        return self._used is not None and self._used is not self._context()

    def _exchange(self, request: tuple[str, str, bytes, dict[str, str]], answer_s: float) -> Answer:
        if self._closed.is_set():
            raise ConnectionAbortedError("closed")
        connection = self._connected()
        assert connection.sock is not None
        connection.sock.settimeout(answer_s)
        method, path, body, headers = request
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        data = answer.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER:
            raise ConnectionAbortedError(f"an answer of more than {MAX_ANSWER} bytes")
        if answer.length:  # a bounded `read` does not complain of a body that was cut off
            raise http.client.IncompleteRead(data, answer.length)
        if answer.will_close:
            self._drop()
        return Answer(answer.status, data, {k.lower(): v for k, v in answer.getheaders()})

    def _connected(self) -> _Connection:
        context = self._context()
        if self._connection is None or self._used is not context:
            self._drop()
            connection = _Connection(self._host, self._port, timeout=CONNECT_S, context=context)
            connection.connect()
            self._connection, self._used = connection, context
        return self._connection

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


class _Connection(http.client.HTTPSConnection):
    """The certificate is checked against the gateway's one name, not the host that was dialled."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        try:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=GATEWAY_NAME)
        except OSError:
            self.close()
            raise


def checked(answer: Answer) -> Answer:
    """The answer, unless it is a refusal: then the error that its status and words stand for."""
    if answer.status < 400:
        return answer
    said = answer.json()
    words = str(said.get("detail") or f"status {answer.status}")
    kind = _kind(answer.status)
    raise kind(words, code=said.get("code") or None, hint=said.get("hint") or None)


def host_of(url: str) -> tuple[str, int]:
    """Host and port of an https URL without a path. UsageError EDG001."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise UsageError(f"`{url}` is no https URL", code="EDG001") from exc
    if parts.scheme != "https" or not host or parts.path.strip("/") or parts.query:
        raise UsageError(f"`{url}` is no https URL of a host", code="EDG001")
    return host, port or 443


def client_context(ca_pem: str) -> ssl.SSLContext:
    """Trusts one CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem)
    return context


def _kind(status: int) -> type[BrokerError]:
    if status >= 500 or status in (408, 429):
        return UnknownOutcomeError
    return {403: AuthError, 404: NotFoundError}.get(status, RequestError)


def _unreached(url: str, error: Exception) -> BrokerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthError(
            f"{url} does not show a certificate of the broker's CA: {error.verify_message}",
            code="EDG004",
            hint="wrong address, a wrong clock on this machine, or somebody is in the way",
        )
    words = str(error) or type(error).__name__
    hung_up = isinstance(error, (*_STALE, ssl.SSLError))
    kind = HungUpError if hung_up else UnknownOutcomeError
    return kind(f"cannot reach {url}: {words}", code="EDG005")
