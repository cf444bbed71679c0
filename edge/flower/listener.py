"""The only door to a SuperLink: mutual TLS for the sites of one federation, fleet paths, no more.

The SuperLink itself listens on loopback. Every request that reaches this door leaves one line in
a hash-chained audit: who, which path, how many body bytes each way, and the verdict. A peer
without a certificate of the broker's CA ends in the TLS handshake and leaves none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.flower import http1
from edge.flower.audit import Chain
from edge.flower.loop import LoopThread
from edge.flower.rules import Member, Peer, onward, peer_of, refusal
from edge.flower.tls import LOOPBACK, site_server
from edge.runner import Identity

BODY_CAP = 512 * 1024 * 1024  # one object of a message; a larger model travels in more objects
IDLE_S = 90.0  # a SuperNode says something at least every 30 s
STALL_S = 60.0  # longest wait for the next piece of a body
ANSWER_S = 120.0  # longest wait for the SuperLink's answer
CONNECTIONS_PER_SITE = 16
RENEWAL_CHECK_S = 30.0
_HOP_FIELDS = frozenset(
    {"connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The SuperLink on loopback, and the TLS context that knows its certificate."""

    port: int
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Traffic:
    """Body bytes of requests (`up`, leaving the site) and of answers (`down`)."""

    up: int = 0
    down: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    """One connection of a site and, behind it, ours to the SuperLink."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer
    behind: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def upstream(
        self, upstream: Upstream
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A live connection: a new one where the SuperLink has closed the idle old one."""
        if self.behind is not None and self.behind[0].at_eof():
            self.behind[1].close()
            self.behind = None
        if self.behind is None:
            self.behind = await asyncio.open_connection(
                LOOPBACK, upstream.port, ssl=upstream.context, limit=http1.PIECE
            )
        return self.behind

    def close(self) -> None:
        self.writer.close()
        if self.behind is not None:
            self.behind[1].close()


@dataclass(slots=True)
class _Call:
    """One request while it is served: what its audit line is made from."""

    path: str = ""
    up: http1.Copy | None = None
    down: http1.Copy | None = None
    status: int = 0
    verdict: str = "pass"

    def counted(self) -> Traffic:
        return Traffic(self.up.count if self.up else 0, self.down.count if self.down else 0)


class FleetListener:
    """Serves from `start` to `close`. `traffic` and `audit_end` may be read at any time."""

    def __init__(
        self,
        identity: Identity,
        members: Mapping[str, Member],
        upstream: Upstream,
        audit: Path,
        body_cap: int = BODY_CAP,
    ) -> None:
        self.traffic = {node_id: Traffic() for node_id in members}
        self._identity = identity
        self._members = members
        self._upstream = upstream
        self._body_cap = body_cap
        self._chain = Chain(audit)
        self._links: set[_Link] = set()
        self._thread = LoopThread("fleet-listener")
        self._server: asyncio.Server | None = None

    @property
    def audit_end(self) -> dict[str, Any]:
        """What the audit file ends in: the hash of its last line, and how many lines there are."""
        return {"head": self._chain.head, "lines": self._chain.lines}

    def start(self) -> int:
        """Listen on every interface; returns the port."""
        return self._thread.call(self._listen())

    def close(self) -> None:
        """May be called again."""
        if self._thread.closed:
            return
        self._thread.call(self._shut())
        self._thread.close()
        self._chain.close()

    async def _listen(self) -> int:
        context = site_server(self._identity)
        self._server = await asyncio.start_server(
            self._serve,
            "0.0.0.0",  # noqa: S104 - the sites dial this machine; the certificate is the gate
            0,
            ssl=context,
            limit=http1.PIECE,
            ssl_handshake_timeout=10,
        )
        self._renewal = asyncio.create_task(_follow_renewals(context, self._identity))
        return int(self._server.sockets[0].getsockname()[1])

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer, _peer(writer))
        self._links.add(link)
        try:
            crowded = len(self._links) > CONNECTIONS_PER_SITE * len(self._members)
            while not crowded and await self._one(link):
                pass
        except (OSError, EOFError, TimeoutError):
            return  # the peer, or the SuperLink, has gone: the site dials again
        except asyncio.CancelledError:
            return  # the listener closes; asyncio would log this as a fault of the callback
        finally:
            self._links.discard(link)
            link.close()

    async def _one(self, link: _Link) -> bool:
        """Serve one request; False when the connection must end. Every way out is audited once."""
        call = _Call()
        try:
            head = await http1.read_head(link.reader, IDLE_S)
        except http1.Malformed as exc:
            call.verdict = f"malformed: {exc}"
            return await self._refuse(link, call, 400)
        try:
            return await self._pass(link, call, head)
        except http1.Malformed as exc:
            call.verdict = f"malformed: {exc}"
            return await self._refuse(link, call, 413 if isinstance(exc, http1.TooLarge) else 400)
        except (OSError, TimeoutError) as exc:
            call.verdict = f"broken: {type(exc).__name__}"
            self._record(link, call)
            raise

    async def _pass(self, link: _Link, call: _Call, head: http1.Head) -> bool:
        call.path = head.start[1]
        length = http1.length_of(head)
        why = refusal(head, link.peer, self._members, time.time())
        if why is not None:
            call.verdict = why
            return await self._refuse(link, call, 403)
        if length is not None and length > self._body_cap:
            raise http1.TooLarge(f"body of {length} bytes")
        await self._exchange(link, call, (head, length))
        self._record(link, call)
        return (head.one("connection") or "").lower() != "close"

    async def _exchange(
        self, link: _Link, call: _Call, request: tuple[http1.Head, int | None]
    ) -> None:
        head, length = request
        reader, writer = await link.upstream(self._upstream)
        fields = onward(head, length, f"{LOOPBACK}:{self._upstream.port}")
        writer.write(http1.render(("POST", call.path, "HTTP/1.1"), fields))
        call.up = http1.Copy(link.reader, writer, self._body_cap, STALL_S)
        await call.up.run(length)
        answer = await http1.read_head(reader, ANSWER_S)
        call.status = int(answer.start[1])
        length = http1.length_of(answer)
        link.writer.write(http1.render(answer.start, _backward(answer, length)))
        call.down = http1.Copy(reader, link.writer, self._body_cap, STALL_S)
        await call.down.run(length)

    async def _refuse(self, link: _Link, call: _Call, status: int) -> bool:
        call.status = status
        self._record(link, call)
        answer = ("HTTP/1.1", str(status), "refused")
        link.writer.write(http1.render(answer, [("content-length", "0"), ("connection", "close")]))
        with contextlib.suppress(OSError):
            await link.writer.drain()
        return False

    def _record(self, link: _Link, call: _Call) -> None:
        node, counted = link.peer.node_id or "", call.counted()
        before = self.traffic.get(node)
        if before is not None:
            self.traffic[node] = Traffic(before.up + counted.up, before.down + counted.down)
        self._chain.append(
            {
                "at": round(time.time(), 3),
                "node": node,
                "path": call.path,
                "up": counted.up,
                "down": counted.down,
                "status": call.status,
                "verdict": call.verdict,
            }
        )


def _backward(answer: http1.Head, length: int | None) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in answer.fields if name not in _HOP_FIELDS]
    if length is None:
        return [*kept, ("transfer-encoding", "chunked")]
    return [*kept, ("content-length", str(length))]


def _peer(writer: asyncio.StreamWriter) -> Peer:
    certificate = writer.get_extra_info("peercert")
    return peer_of(certificate, ssl.cert_time_to_seconds(certificate["notAfter"]))


async def _follow_renewals(context: ssl.SSLContext, identity: Identity) -> None:
    """New handshakes show the node's current certificate, which lives shorter than a long run."""
    seen = identity.certificate.stat().st_mtime_ns
    while True:
        await asyncio.sleep(RENEWAL_CHECK_S)
        now = identity.certificate.stat().st_mtime_ns
        if now != seen:
            context.load_cert_chain(identity.certificate, identity.key)
            seen = now
