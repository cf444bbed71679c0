"""What an order has said is kept before it is sent; nothing is lost, nothing sent too early."""

from __future__ import annotations

import json

import pytest

from broker.model import OrderState
from edge.spool import CUT, Sent, Spool, plain


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "or_1"
    made.mkdir()
    return made


@pytest.fixture
def spool(folder):
    return Spool(folder, lambda: None)


def opened(folder) -> Spool:
    return Spool(folder, lambda: None)


def test_everything_said_is_there_after_a_restart(spool, folder):
    spool.state(OrderState.RUNNING)
    spool.log(b"\x00\xff one")
    spool.event({"kind": "round", "round": 1})
    spool.confirm(states=1, log=2)
    spool.settle()
    again = opened(folder)
    assert again.sent == Sent(states=1, events=0, log=2)
    assert again.next_log(100) == (2, b" one")
    assert again.next_events(10) == (0, [{"kind": "round", "round": 1}])
    assert again.next_state() is None
    assert not again.ended


def test_without_the_note_of_what_was_sent_all_is_sent_again(spool, folder):
    spool.log(b"abc")
    spool.confirm(log=3)
    spool.settle()
    (folder / "sent.json").write_text('{"states": ')
    assert opened(folder).next_log(100) == (0, b"abc")


@pytest.mark.parametrize("torn", [b'{"kind": "rou', b"\0\0\0\0", b"{}x\n"])
def test_a_line_that_a_crash_tore_is_cut_away(spool, folder, torn):
    spool.event({"kind": "a"})
    with (folder / "events.jsonl").open("ab") as file:
        file.write(torn)
    again = opened(folder)
    again.event({"kind": "b"})
    assert opened(folder).next_events(10) == (0, [{"kind": "a"}, {"kind": "b"}])


def test_the_final_state_waits_for_events_and_log(spool):
    spool.state(OrderState.RUNNING)
    spool.log(b"last words")
    spool.event({"kind": "round"})
    spool.state(OrderState.SUCCEEDED, exit_code=0, data={"loss": 0.5})
    assert spool.next_state()["state"] == "running"
    spool.confirm(states=1)
    assert spool.next_state() is None
    spool.confirm(log=10)
    assert spool.next_state() is None
    spool.confirm(events=1)
    assert spool.next_state()["data"] == {"loss": 0.5}
    assert not spool.delivered
    spool.confirm(states=2)
    assert spool.delivered
    assert not spool.pending


def test_only_the_first_final_state_counts(spool):
    spool.state(OrderState.SUCCEEDED)
    spool.state(OrderState.FAILED, detail="too late")
    assert spool.next_state()["state"] == "succeeded"
    spool.confirm(states=1)
    assert spool.delivered


def test_a_log_without_end_is_cut_with_a_line_that_says_so(folder):
    spool = Spool(folder, lambda: None, max_log_bytes=1000)
    for _ in range(50):
        spool.log(b"x" * 99)
    kept = spool.next_log(10_000)[1]
    assert len(kept) == 1000
    assert kept.endswith(CUT)
    assert opened(folder).next_log(10_000)[1] == kept


def test_each_write_wakes_the_courier(folder):
    woken = []
    spool = Spool(folder, lambda: woken.append(1))
    spool.state(OrderState.RUNNING)
    spool.log(b"x")
    spool.event({"kind": "a"})
    assert len(woken) == 3


def test_a_full_disk_does_not_keep_the_end_of_an_order_from_the_broker(spool, folder):
    (folder / "states.jsonl").symlink_to("/dev/full")
    spool.state(OrderState.FAILED, detail="No space left on device")
    assert spool.next_state()["detail"] == "No space left on device"


def test_a_full_disk_is_an_error_for_whoever_writes_the_log(spool, folder):
    (folder / "log").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        spool.log(b"x")


def test_what_json_cannot_hold_becomes_something_that_it_can(spool):
    odd = {"nan": float("nan"), "inf": float("-inf"), "path": {1, 2}, 3: (None, True), "x": object}
    kept = plain(odd)
    assert kept["nan"] is None
    assert kept["inf"] is None
    assert sorted(kept["path"]) == [1, 2]
    assert kept["3"] == [None, True]
    json.dumps(kept, allow_nan=False)
    deep: dict = {}
    for _ in range(2000):
        deep = {"a": deep}
    spool.event({"kind": "deep", "deep": deep})
    assert spool.next_events(1)[1][0]["kind"] == "deep"
