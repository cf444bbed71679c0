"""A log on disk is the stream that the agent sent: each byte once, none missing, bounded."""

from __future__ import annotations

import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UsageError
from broker.gateway.logs import LogFiles

CAP = 50


@given(
    stream=st.binary(min_size=1, max_size=40),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12),
)
def test_any_cuts_repeats_and_gaps_give_the_stream_back(stream, cuts):
    """The agent goes on from the size it is told; what it sends before that is ignored."""
    with tempfile.TemporaryDirectory() as folder:
        logs = LogFiles(Path(folder), CAP)
        for start, stop in cuts:
            piece, before = stream[start:stop], size(folder)
            done = logs.append("or_1", start, piece)
            assert done.gap == (start > before)
            assert done.size == (before if done.gap else max(before, start + len(piece)))
            assert content(folder) == stream[: done.size]
        assert logs.append("or_1", size(folder), stream[size(folder) :]).size == len(stream)
        assert content(folder) == stream


@given(pieces=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=8))
def test_only_the_first_bytes_are_kept_and_one_line_says_so(pieces):
    with tempfile.TemporaryDirectory() as folder:
        logs, offset = LogFiles(Path(folder), CAP), 0
        for piece in pieces:
            done = logs.append("or_1", offset, piece)
            assert not done.gap
            offset = done.size
        stream = b"".join(pieces)
        assert offset == len(stream)
        marker = f"\n[the log is cut here: it has more than {CAP} bytes]\n".encode()
        assert content(folder) == (stream if len(stream) <= CAP else stream[:CAP] + marker)


def size(folder):
    path = Path(folder) / "or_1.log"
    return path.stat().st_size if path.exists() else 0


def content(folder):
    return (Path(folder) / "or_1.log").read_bytes()


def test_logs_are_private_and_survive_a_restart(tmp_path):
    LogFiles(tmp_path).append("or_1", 0, b"abc")
    assert LogFiles(tmp_path).append("or_1", 3, b"def").size == 6
    assert content(tmp_path) == b"abcdef"
    assert stat.S_IMODE((tmp_path / "or_1.log").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "x\0", "x" * 81, "é"])
def test_a_name_that_is_no_id_opens_no_file(tmp_path, name):
    with pytest.raises(UsageError):
        LogFiles(tmp_path / "logs").append(name, 0, b"x")
    assert not list((tmp_path / "logs").iterdir())


def test_a_link_planted_in_the_folder_is_not_followed(tmp_path):
    logs = LogFiles(tmp_path / "logs")
    (tmp_path / "logs" / "or_1.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        logs.append("or_1", 0, b"x")


def test_many_that_send_the_same_bytes_at_once_store_them_once(tmp_path):
    logs = LogFiles(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: logs.append("or_1", 0, b"0123456789"), range(40)))
    assert content(tmp_path) == b"0123456789"


def test_over_the_wire_a_gap_is_answered_with_the_place_to_go_on_from(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    path = f"/v1/orders/{order.id}/log"
    assert call("POST", f"{path}?offset=0", b"hello ").json == {"offset": 6}
    gap = call("POST", f"{path}?offset=9", b"x")
    assert (gap.status, gap.code, gap.json["offset"]) == (409, "CON002", 6)
    assert call("POST", f"{path}?offset=3", b"lo world").json == {"offset": 11}
    assert call("POST", f"{path}?offset=11", b"").json == {"offset": 11}
    assert (world.folder / "logs" / f"{order.id}.log").read_bytes() == b"hello world"


@pytest.mark.parametrize("query", ["", "?offset=", "?offset=-1", "?offset=x", "?offset=1e3"])
def test_a_log_without_a_sane_offset_is_refused(world, query):
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/orders/{order.id}/log{query}", b"x")
    assert (got.status, got.code) == (400, "USE010")
    assert "offset" in got.json["detail"]


def test_any_bytes_pass_through_a_log_unchanged(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    everything = bytes(range(256)) * 4000
    got = call("POST", f"/v1/orders/{order.id}/log?offset=0", everything)
    assert got.json == {"offset": len(everything)}
    assert (world.folder / "logs" / f"{order.id}.log").read_bytes() == everything
