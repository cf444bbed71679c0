"""HTTP/1.1 messages as a doorkeeper reads them: one meaning, or `Malformed`.

Pure parsing of heads, and streaming copies of bodies that hold at most one chunk in memory.
Whatever two servers might read differently (two lengths, a length and chunks, folded lines, bare
line feeds, trailers, chunk extensions) has no meaning here, so that nothing can be smuggled past
the door in the gap between two readings.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

HEAD_LIMIT = 16 * 1024
FIELD_LIMIT = 64
PIECE = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")


class Malformed(Exception):  # noqa: N818 - reads as what it says of the message
    """The bytes have no single meaning as HTTP/1.1. The connection cannot be used any further."""


class TooLarge(Malformed):
    """A body is longer than the cap."""


@dataclass(frozen=True, slots=True)
class Head:
    """Start line in three parts, and fields in order with lower-case names."""

    start: tuple[str, str, str]
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """The field's value, None when it is absent; Malformed when it stands there twice."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name} twice")
        return values[0] if values else None


def parse(raw: bytes) -> Head:
    """A head up to and with its empty line. Malformed unless every line is plain and complete."""
    if not raw.endswith(b"\r\n\r\n"):
        raise Malformed("no end of head")
    text = raw[:-4].decode("latin-1")
    first, *rest = text.split("\r\n")
    if len(rest) > FIELD_LIMIT:
        raise Malformed("too many fields")
    parts = first.split(" ", 2)
    if len(parts) != 3 or not all(_VALUE.fullmatch(part) and part for part in parts):
        raise Malformed("start line")
    return Head((parts[0], parts[1], parts[2]), tuple(_field(line) for line in rest))


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Malformed("field line")
    return name.lower(), value.strip(" \t")


def length_of(head: Head) -> int | None:
    """Bytes of the body, or None when it comes in chunks. 0 when the head names neither."""
    coding, length = head.one("transfer-encoding"), head.one("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Malformed("framing")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Malformed("content-length")
    return int(length)


def render(start: Iterable[str], fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [" ".join(start), *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def read_head(reader: asyncio.StreamReader, timeout_s: float) -> Head:
    """EOFError when the peer ends between messages; TimeoutError when no head comes in time."""
    try:
        raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout_s)
    except asyncio.LimitOverrunError as exc:
        raise Malformed("head too large") from exc
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise Malformed("head cut short") from exc
        raise EOFError from exc
    if len(raw) > HEAD_LIMIT:
        raise Malformed("head too large")
    return parse(raw)


@dataclass(slots=True)
class Copy:
    """One body on its way. `count` is right at any moment, also when the copy breaks off."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    cap: int
    timeout_s: float
    count: int = 0

    async def run(self, length: int | None) -> None:
        """Copy the whole body; waits for a slow writer. ConnectionError when it is cut short."""
        if length is None:
            while size := await self._chunk_size():
                await self._forward(size)
                await self._line_end()
            await self._line_end()
            self.writer.write(b"0\r\n\r\n")
        elif length > self.cap:
            raise TooLarge(f"body of {length} bytes")
        else:
            await self._move(length)
        await self.writer.drain()

    async def _chunk_size(self) -> int:
        line = await self._wait(self.reader.readuntil(b"\r\n"))
        if not _CHUNK.fullmatch(line):
            raise Malformed("chunk")
        size = int(line, 16)
        if self.count + size > self.cap:
            raise TooLarge("body in chunks")
        return size

    async def _forward(self, size: int) -> None:
        self.writer.write(b"%x\r\n" % size)
        await self._move(size)
        self.writer.write(b"\r\n")

    async def _line_end(self) -> None:
        if await self._wait(self.reader.readexactly(2)) != b"\r\n":
            raise Malformed("chunk end")

    async def _move(self, size: int) -> None:
        while size:
            piece = await self._wait(self.reader.read(min(size, PIECE)))
            if not piece:
                raise ConnectionResetError("body cut short")
            size -= len(piece)
            self.count += len(piece)
            self.writer.write(piece)
            await self.writer.drain()

    async def _wait(self, reading: asyncio.Future[bytes] | object) -> bytes:
        try:
            return await asyncio.wait_for(reading, self.timeout_s)  # type: ignore[arg-type]
        except asyncio.IncompleteReadError as exc:
            raise ConnectionResetError("body cut short") from exc
        except asyncio.LimitOverrunError as exc:
            raise Malformed("chunk") from exc
