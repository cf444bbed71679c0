"""What agents say of their orders moves them forward only, each change once, with its event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import NotFoundError, UsageError
from broker.gateway.orders import advance, own_order, record, report
from broker.gateway.wire import EventItem, ReportBody
from broker.model import ENDED, Event, Order, OrderState
from broker.store.memory import MemoryStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RANK = {OrderState.PENDING: 0, OrderState.RUNNING: 1, OrderState.READY: 2}
SAYABLE = [s for s in OrderState if s not in (OrderState.PENDING, OrderState.LOST)]


def an_order(**fields):
    row = Order("or_1", "run_1", "ls_1", "at_1", "nd_1", "superlink", {}, NOW)
    return replace(row, **fields)


def said(state, **fields):
    return ReportBody(state=state, **fields)


def test_an_order_goes_through_its_life_over_the_wire(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    path = f"/v1/orders/{order.id}/report"
    assert call("POST", path, {"state": "running"}).json == {"state": "running"}
    ready = {"state": "ready", "data": {"address": "10.0.0.7:9092"}}
    assert call("POST", path, ready).json == {"state": "ready"}
    done = {"state": "succeeded", "exit_code": 0, "detail": "done", "data": {"rounds": 3}}
    assert call("POST", path, done).json == {"state": "succeeded"}
    after = world.stored(order)
    assert after.data == {"address": "10.0.0.7:9092", "rounds": 3}
    assert (after.exit_code, after.detail) == (0, "done")
    assert after.finished_at
    events = [event for event in world.store.find(Event) if event.subject == order.id]
    assert [event.kind for event in events] == ["order.running", "order.ready", "order.succeeded"]
    assert {event.run_id for event in events} == {"run_1"}
    assert events[-1].message == "process on node-1: done"


def test_a_repeated_report_is_answered_and_changes_nothing(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    body = {"state": "failed", "exit_code": 3, "detail": "no such file"}
    for _ in range(3):
        assert call("POST", f"/v1/orders/{order.id}/report", body).json == {"state": "failed"}
    assert world.stored(order).version == order.version + 1
    assert len([e for e in world.store.find(Event) if e.kind == "order.failed"]) == 1


@given(states=st.lists(st.sampled_from(SAYABLE), max_size=12))
def test_states_never_move_back_and_an_end_is_final(states):
    store = MemoryStore()
    store.commit(an_order())
    answers = [report(store, "or_1", "nd_1", said(state), NOW) for state in states]
    reached = [OrderState.PENDING, *answers]
    ranks = [RANK.get(state, 3) for state in reached]
    assert ranks == sorted(ranks)
    ended = [state for state in reached if state in ENDED]
    assert len(set(ended)) <= 1
    assert len(store.find(Event)) == len(set(reached)) - 1


@pytest.mark.parametrize("state", [OrderState.PENDING, OrderState.LOST])
def test_some_states_are_not_the_agents_to_say(world, state):
    with pytest.raises(UsageError):
        advance(an_order(), said(state), NOW)
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/orders/{order.id}/report", {"state": state})
    assert got.code == "USE010"


def test_an_order_given_up_as_lost_stays_lost():
    lost = an_order(state=OrderState.LOST)
    assert advance(lost, said(OrderState.SUCCEEDED), NOW) is None


def test_the_order_of_another_node_looks_like_none_at_all(world):
    owner, other = world.agent(), world.agent()
    order = world.order(owner)
    call = other.caller()
    for path, body in [
        ("report", {"state": "failed"}),
        ("log?offset=0", b"x"),
        ("events", {"seq0": 0, "items": [{"kind": "round"}]}),
    ]:
        foreign = call("POST", f"/v1/orders/{order.id}/{path}", body)
        unknown = call("POST", f"/v1/orders/{order.id[:-1]}!/{path}", body)
        assert (foreign.status, foreign.code) == (404, "NOT001")
        masked = foreign.body.replace(order.id.encode(), b"X")
        assert masked == unknown.body.replace(f"{order.id[:-1]}!".encode(), b"X")
    assert world.stored(order) == order
    assert not list((world.folder / "logs").iterdir())
    assert call("GET", "/v1/orders").json == {"orders": []}


def test_finding_an_order_needs_its_node(world):
    with pytest.raises(NotFoundError):
        own_order(world.store, "or_1", "nd_1")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"state": "done"},
        {"state": None},
        {"state": "failed", "exit_code": "1"},
        {"state": "failed", "exit_code": 2**40},
        {"state": "failed", "data": []},
        {"state": "failed", "detail": 1},
    ],
)
def test_a_malformed_report_is_refused_in_words(world, wrong):
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/orders/{order.id}/report", wrong)
    if wrong.get("exit_code") == "1":
        assert got.status == 200  # a number in quotes is read as the number
    else:
        assert (got.status, got.code) == (400, "USE010")
        assert "`" in got.json["detail"]


def test_long_details_are_cut_and_odd_characters_replaced(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    body = {"state": "failed", "detail": "\x00\ud800" + "x" * 10_000, "data": {"a\x00": "\x00"}}
    assert call("POST", f"/v1/orders/{order.id}/report", body).status == 200
    after = world.stored(order)
    assert len(after.detail) == 4000
    assert "\x00" not in after.detail
    assert after.data == {"a\ufffd": "\ufffd"}
    after.detail.encode()


def test_many_reports_at_once_leave_one_event_for_each_change():
    store = MemoryStore()
    store.commit(an_order())
    states = [OrderState.RUNNING, OrderState.READY, OrderState.SUCCEEDED] * 8
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda state: report(store, "or_1", "nd_1", said(state), NOW), states))
    kinds = [event.kind for event in store.find(Event)]
    assert len(kinds) == len(set(kinds))
    assert store.find(Order)[0].state is OrderState.SUCCEEDED


def test_events_of_a_run_are_kept_with_what_they_carry(world):
    agent = world.agent()
    order, call = world.order(agent), agent.caller()
    items = [{"kind": "round", "round": 1, "loss": 0.5}, {"kind": "site", "message": "joined"}]
    got = call("POST", f"/v1/orders/{order.id}/events", {"seq0": 0, "items": items})
    assert got.json == {"next": 2}
    first, second = (e for e in world.store.find(Event) if e.kind.startswith("fed."))
    assert (first.kind, first.message) == ("fed.round", "round 1 loss 0.5")
    assert first.data["loss"] == 0.5
    assert first.data["seq"] == 0
    assert (second.kind, second.message) == ("fed.site", "joined")
    assert (first.subject, first.run_id) == (order.id, "run_1")


@given(cuts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8))
def test_events_sent_again_in_any_cut_are_stored_once_and_in_order(cuts):
    store, order = MemoryStore(), an_order()
    items = [EventItem(kind="round", round=number) for number in range(12)]
    for start, stop in [*cuts, (0, 12)]:
        record(store, order, start, items[start:stop], NOW)
    assert [event.data["round"] for event in store.find(Event)] == list(range(12))


def test_events_posted_by_many_at_once_are_stored_once():
    store, order = MemoryStore(), an_order()
    items = [EventItem(kind="round", round=number) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda n: record(store, order, n, items[n : n + 8], NOW), list(range(13)) * 2)
        )
    assert [event.data["round"] for event in store.find(Event)] == list(range(20))


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": []},
        {"seq0": -1, "items": []},
        {"seq0": 0, "items": {}},
        {"seq0": 0, "items": [{}]},
        {"seq0": 0, "items": [{"kind": "Round"}]},
        {"seq0": 0, "items": [{"kind": "../x"}]},
        {"seq0": 0, "items": [{"kind": "x"}] * 257},
        {"seq0": 10**9, "items": []},
    ],
)
def test_malformed_events_are_refused_in_words(world, wrong):
    agent = world.agent()
    order = world.order(agent)
    got = agent.caller()("POST", f"/v1/orders/{order.id}/events", wrong)
    assert (got.status, got.code) == (400, "USE010")
