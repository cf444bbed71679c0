"""A message has one meaning or none: what two servers might read differently is refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.flower import http1
from edge.flower.http1 import Malformed, TooLarge, length_of, parse, render


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /x HTTP/1.1", *lines, "", ""]).encode("latin-1")


def test_a_plain_head_is_read_in_order_with_lower_case_names() -> None:
    found = parse(head("Host: a", "X-Two:b ", "x-two:\tc"))
    assert found.start == ("POST", "/x", "HTTP/1.1")
    assert found.fields == (("host", "a"), ("x-two", "b"), ("x-two", "c"))
    assert found.all("x-two") == ["b", "c"]
    assert found.one("host") == "a"
    assert found.one("absent") is None


def test_a_field_that_must_be_one_is_refused_twice() -> None:
    with pytest.raises(Malformed):
        parse(head("a: 1", "a: 1")).one("a")


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /x HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\n\n",
        b"POST  /x HTTP/1.1\r\n\r\n",
        b"POST /x\r\n\r\n",
        b"POST /\x00 HTTP/1.1\r\n\r\n",
        head("no colon"),
        head("space : before"),
        head(" folded: line"),
        head("a: b", "\tfolded"),
        head("a: b\nc: d"),
        head("a: b\rc: d"),
        head("a: \x00"),
        head("a: \xe9"),
        head(": nameless"),
        head("na(me: x"),
        head(*(f"a{n}: b" for n in range(http1.FIELD_LIMIT + 1))),
    ],
)
def test_a_head_that_is_not_plain_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse(raw)


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], 0),
        (["content-length: 0"], 0),
        (["content-length: 17"], 17),
        (["transfer-encoding: Chunked"], None),
    ],
)
def test_framing_is_a_length_or_chunks(lines: list[str], length: int | None) -> None:
    assert length_of(parse(head(*lines))) == length


@pytest.mark.parametrize(
    "lines",
    [
        ["content-length: 1", "content-length: 1"],
        ["content-length: 1", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "transfer-encoding: chunked"],
        ["transfer-encoding: gzip, chunked"],
        ["transfer-encoding: identity"],
        ["transfer-encoding:"],
        ["content-length: +1"],
        ["content-length: -1"],
        ["content-length: 1,1"],
        ["content-length: 0x10"],
        ["content-length: "],
        ["content-length: 99999999999999999999"],
    ],
)
def test_framing_that_two_servers_could_read_differently_is_refused(lines: list[str]) -> None:
    with pytest.raises(Malformed):
        length_of(parse(head(*lines)))


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
            st.from_regex(r"[!-~]([ -~]{0,12}[!-~])?", fullmatch=True),
        ),
        max_size=8,
    )
)
def test_what_is_rendered_is_parsed_as_the_same(fields: list[tuple[str, str]]) -> None:
    found = parse(render(("POST", "/p", "HTTP/1.1"), fields))
    assert list(found.fields) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_malformed(raw: bytes) -> None:
    try:
        found = parse(raw + b"\r\n\r\n")
    except Malformed:
        return
    assert "\n" not in "".join(found.start)
    assert all("\r" not in value and "\n" not in value for _, value in found.fields)


class Sink:
    """The writing half that a copy needs."""

    def __init__(self) -> None:
        self.data = b""
        self.drained = 0

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        self.drained += 1


def copied(data: bytes, length: int | None, cap: int = 1000, timeout_s: float = 5) -> bytes:
    """Copy one body out of `data`, which then ends; the bytes that went on."""

    async def run() -> bytes:
        reader, sink = asyncio.StreamReader(limit=http1.PIECE), Sink()
        reader.feed_data(data)
        reader.feed_eof()
        await http1.Copy(reader, sink, cap, timeout_s).run(length)  # type: ignore[arg-type]
        return sink.data

    return asyncio.run(run())


def test_a_body_of_known_length_is_copied_and_no_more() -> None:
    assert copied(b"hello, next", 5) == b"hello"


def test_chunks_are_copied_with_sizes_written_anew() -> None:
    assert copied(b"00A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", None) == (
        b"a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"5;ext=1\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"0\r\ntrailer: x\r\n\r\n",
        b"\r\n\r\n",
        b"fffffffff\r\n",
    ],
)
def test_chunks_that_are_not_plain_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        copied(data, None)


@pytest.mark.parametrize(("data", "length"), [(b"hel", 5), (b"5\r\nhe", None), (b"5", None)])
def test_a_body_cut_short_is_a_lost_connection(data: bytes, length: int | None) -> None:
    with pytest.raises(ConnectionError):
        copied(data, length)


def test_the_cap_holds_for_lengths_and_for_chunks() -> None:
    with pytest.raises(TooLarge):
        copied(b"x" * 11, 11, cap=10)
    with pytest.raises(TooLarge):
        copied(b"6\r\n" + b"x" * 6 + b"\r\n6\r\n" + b"x" * 6 + b"\r\n0\r\n\r\n", None, cap=10)


def test_a_peer_that_stalls_is_given_up() -> None:
    async def run() -> None:
        reader = asyncio.StreamReader()
        await http1.Copy(reader, Sink(), 100, 0.01).run(5)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError):
        asyncio.run(run())


def read(data: bytes) -> http1.Head:
    async def run() -> http1.Head:
        reader = asyncio.StreamReader(limit=http1.PIECE)
        reader.feed_data(data)
        reader.feed_eof()
        return await http1.read_head(reader, 5)

    return asyncio.run(run())


def test_the_end_between_messages_is_no_fault_and_within_one_it_is() -> None:
    with pytest.raises(EOFError):
        read(b"")
    with pytest.raises(Malformed, match="cut short"):
        read(b"POST /x HT")
    assert read(head("a: b")).one("a") == "b"


@pytest.mark.parametrize("size", [http1.HEAD_LIMIT + 1, 3 * http1.PIECE])
def test_a_head_that_is_too_large_is_refused(size: int) -> None:
    with pytest.raises(Malformed, match="too large"):
        read(head("a: " + "b" * size))
