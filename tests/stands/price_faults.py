"""What the price servers share: a loopback HTTP server, its faults, and a list of broken promises.

A handler's breach of the contract is remembered in `violations`; the fixture fails the test for it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    method: str
    path: str  # with the query
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Faults:
    """`fail`: status of the nth page on. Each fault is off by default: that is the control."""

    fail_page: int = 0
    fail_status: int = 503
    fail_body: bytes = (
        b'{"error": {"code": 503, "message": "backend is tired", "status": "UNAVAILABLE"}}'
    )
    fail_headers: tuple[tuple[str, str], ...] = ()
    truncate: bool = False  # half the body, though the length says all
    rubbish: bytes = b""
    hang: bool = False
    endless: bool = False
    empty: bool = False


@dataclass
class PriceServer:
    """`respond` answers a request; faults that are the same for all are made here."""

    respond: Callable[[Asked], Answer]
    faults: Faults = field(default_factory=Faults)
    violations: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, asked: Asked) -> Answer:
        try:
            return self.respond(asked)
        except NotImplementedError as exc:
            self.violations.append(f"not implemented: {exc}")
            return Answer(501, str(exc).encode())
        except Exception as exc:
            self.violations.append(f"{asked.method} {asked.path}: {exc!r}")
            return Answer(599, repr(exc).encode())


@contextmanager
def serving(server: PriceServer) -> Iterator[PriceServer]:
    """The server on a free port of loopback. Fails at the end when a promise was broken."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            answer = server.answer(asked)
            if server.faults.hang:
                server.released.wait(30)
                self.close_connection = True
                return
            if server.faults.rubbish:
                answer = answer._replace(body=server.faults.rubbish)
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            if server.faults.truncate:
                self.wfile.write(answer.body[: len(answer.body) // 2])
                self.close_connection = True
                return
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(
        target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
    assert not server.violations, server.violations
