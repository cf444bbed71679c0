"""TLS as agents need it: 1.3 only, no session tickets, the peer's certificate shown to the app."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 16 * 1024
PATIENCE_S = 30.0  # for a whole request to arrive: a client that drips bytes is cut off


def server_context(pem: Path, client_ca: str | None = None) -> ssl.SSLContext:
    """A listener's context. With `client_ca` (PEM) a client must show a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed session would skip the check of the certificate
    context.options |= ssl.OP_NO_TICKET
    context.load_cert_chain(pem)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the client's certificate (DER) in `scope["extensions"]["tls"]`.

    It also bounds the head of a request and the time that a request may take to arrive.
    """

    _peer: bytes | None = None
    _cut: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._peer = tls.getpeercert(binary_form=True) if tls else None
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._expect()
        self.scope["extensions"] = {"tls": {"client_cert_der": self._peer}}

    def on_url(self, url: bytes) -> None:
        self._measure(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measure(name, value)
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        self._arrived()
        super().on_message_complete()

    def shutdown(self) -> None:
        """The end of the gateway: an idle client may never answer a polite goodbye."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """The parser's own refusals, in the form of all others."""
        self._arrived()
        problem = {"type": "docs/errors.md#use010", "title": "invalid input", "code": "USE010"}
        body = json.dumps({**problem, "detail": msg}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _measure(self, *parts: bytes) -> None:
        """Raising inside a callback makes the parser refuse the request."""
        self._head_bytes += sum(map(len, parts))
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head of the request is too long")

    def _expect(self) -> None:
        self._arrived()
        self._cut = self.loop.call_later(PATIENCE_S, self.transport.abort)

    def _arrived(self) -> None:
        if self._cut:
            self._cut.cancel()
            self._cut = None
