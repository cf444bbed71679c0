"""Reads JSON over HTTP from one host that has no SDK: bounded in time, size and tries."""

from __future__ import annotations

import json
import ssl
import time
from decimal import Decimal
from http.client import HTTPException, HTTPResponse
from typing import IO, Any, Final
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from broker.errors import AuthError, BrokerError, RequestError, UnknownOutcomeError

MAX_BYTES: Final = 32 * 1024 * 1024  # of one reply; a page of the longest list has one or two MiB
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
WORDS: Final = 300  # of a refusal that are shown
PAUSE_S: Final = 0.5  # before the second try, doubled before each further one
MAX_PAUSE_S: Final = 60.0
UNREACHED: Final = "CAT012"
UNREADABLE: Final = "CAT014"
AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})


class JsonHost:
    """One origin (scheme, host and port). Links that lead elsewhere are refused, redirects too."""

    def __init__(
        self, name: str, base: str, *, timeout_s: float, tries: int, ca_bundle: str | None = None
    ) -> None:
        self._name = name
        self._origin = _origin(urlsplit(base))
        self._timeout_s = timeout_s
        self._tries = max(1, tries)
        self._opener = _opener(base, ca_bundle)

    def get(self, url: str) -> Any:
        """The document; numbers with a fraction as Decimal. BrokerError says what came instead."""
        if _origin(urlsplit(url)) != self._origin:
            words = f"{self._name}: a link leads away from {_shown(self._origin)}: {url[:WORDS]}"
            raise RequestError(words, code="CAT015")
        for left in reversed(range(self._tries)):
            try:
                return self._once(url)
            except _AgainError as exc:
                if not left:
                    raise UnknownOutcomeError(exc.message, code=UNREACHED) from exc
                pause = PAUSE_S * 2 ** (self._tries - left - 1)
                time.sleep(min(max(pause, exc.after_s), MAX_PAUSE_S))
        raise AssertionError

    def _once(self, url: str) -> Any:
        request = Request(url, headers={"Accept": "application/json", "User-Agent": "fedbroker"})  # noqa: S310 - get() has checked the origin
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                body = _body(self._name, reply)
        except HTTPError as exc:
            raise _refused(self._name, exc) from exc
        except (OSError, HTTPException) as exc:
            words = f"{self._name}: {_shown(self._origin)}: {getattr(exc, 'reason', None) or exc!r}"
            raise _AgainError(words) from exc
        try:
            return json.loads(body, parse_float=Decimal)
        except ValueError as exc:
            said = body[:WORDS].decode(errors="replace")
            words = f"{self._name}: the reply is no JSON: {exc}: {said!r}"
            raise BrokerError(words, code=UNREADABLE) from exc


class _AgainError(BrokerError):
    """Something that may pass. `after_s` is what the server asks to wait."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 - the signature of urllib
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Nothing: the redirect is then an error with its own status."""


def _opener(base: str, ca_bundle: str | None) -> OpenerDirector:
    handlers: list[Any] = [_NoRedirect(), HTTPSHandler(context=_tls(ca_bundle))]
    if urlsplit(base).hostname in LOOPBACK:
        handlers.append(ProxyHandler({}))  # a proxy cannot reach what serves on this computer
    return build_opener(*handlers)


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_bundle)


def _body(name: str, reply: HTTPResponse) -> bytes:
    body = reply.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise BrokerError(f"{name}: a reply of more than {MAX_BYTES} bytes", code=UNREADABLE)
    return body


def _refused(name: str, exc: HTTPError) -> BrokerError:
    said = exc.read(WORDS * 4).decode(errors="replace")[:WORDS]
    words = f"{name}: HTTP {exc.code} {exc.reason}: {said}"
    if exc.code in AGAIN:
        after = exc.headers.get("Retry-After", "")
        return _AgainError(words, float(after) if after.isdecimal() else 0.0)
    if exc.code in (401, 403):
        return AuthError(words)
    return RequestError(words)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = url.scheme.lower()
    return scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(scheme)


def _shown(origin: tuple[str, str | None, int | None]) -> str:
    scheme, host, port = origin
    return f"{scheme}://{host}:{port}"
