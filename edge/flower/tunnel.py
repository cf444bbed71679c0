"""A site's way out: its SuperNode on loopback at one end, mutual TLS to the aggregator beyond.

Stock SuperNodes cannot show a client certificate; this does it for them. While the aggregator
cannot be reached the SuperNode's connection is held, so that it gets through within half a second
of the aggregator's coming up and not after its own growing pauses.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from edge.flower.loop import LoopThread
from edge.flower.tls import LOOPBACK, Loopback, site_client
from edge.runner import Identity

PIECE = 64 * 1024
RETRY_S = 0.5
HOLD_S = 25.0  # less than a SuperNode's own patience of 30 s


@dataclass(frozen=True, slots=True)
class Far:
    """The aggregator's listener, and the name that its certificate must carry."""

    host: str
    port: int
    name: str


def far_of(address: str, name: str) -> Far:
    """From `host:port`; an IPv6 host stands in brackets. ValueError: no such form."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"not host:port: {address}")
    return Far(host.strip("[]"), int(port), name)


class Tunnel:
    """Carries connections from `start` to `close`. `up` and `down` count bytes of the stream."""

    def __init__(self, identity: Identity, far: Far, near: Loopback) -> None:
        self.up = 0
        self.down = 0
        self.refused = ""  # why the far end was not reached the last time; "" when it was
        self._identity = identity
        self._far = far
        self._near = near
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = LoopThread("fleet-tunnel")
        self._server: asyncio.Server | None = None

    def start(self) -> int:
        """Listen on loopback; returns the port."""
        return self._thread.call(self._listen())

    def close(self) -> None:
        """May be called again."""
        if self._thread.closed:
            return
        self._thread.call(self._shut())
        self._thread.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(
            self._carry, LOOPBACK, 0, ssl=self._near.server(), limit=PIECE
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.wait_for(self._dial(), HOLD_S)
            self._writers.add(far_writer)
            await asyncio.gather(
                self._pump(reader, far_writer, out=True), self._pump(far_reader, writer, out=False)
            )
            self._writers.discard(far_writer)
        except (TimeoutError, asyncio.CancelledError):
            return  # not reached in time, or the tunnel closes: the SuperNode dials again
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                pair = await asyncio.open_connection(
                    self._far.host,
                    self._far.port,
                    ssl=site_client(self._identity),
                    server_hostname=self._far.name,
                    limit=PIECE,
                )
            except (OSError, ssl.SSLError) as exc:
                self.refused = f"{type(exc).__name__}: {exc}"
                await asyncio.sleep(RETRY_S)
            else:
                self.refused = ""
                return pair

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, out: bool
    ) -> None:
        """Copy until either end closes; then close the other, so that both see the same end."""
        try:
            while piece := await reader.read(PIECE):
                writer.write(piece)
                if out:
                    self.up += len(piece)
                else:
                    self.down += len(piece)
                await writer.drain()
        except OSError as exc:
            if not out:
                self.refused = f"{type(exc).__name__}: {exc}"
        finally:
            writer.close()
