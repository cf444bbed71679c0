"""No order is ever carried out twice, and none runs that the broker has given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import RequestError
from broker.model import OrderState
from edge.orders import Known, OrderBook, changes
from edge.runner import Work

IDS = st.sampled_from([f"or_{letter}" for letter in "abcdef"])


def work(order_id: str) -> Work:
    return Work(order_id, "run_1", "process", {"run": "true"})


@pytest.fixture
def open_book(tmp_path):
    return lambda: OrderBook(tmp_path, lambda: None)


@given(st.dictionaries(IDS, st.booleans()), st.sets(IDS), st.sets(IDS))
def test_a_list_of_the_broker_is_followed_exactly(listed, running, ended):
    running -= ended
    todo = changes([(work(name), wish) for name, wish in listed.items()], Known(running, ended))
    started = {item.id for item in todo.start}
    assert started == {n for n, wish in listed.items() if wish} - running - ended
    assert {w.id for w in todo.refuse} == {n for n, w in listed.items() if not w} - running - ended
    assert set(todo.stop) == {name for name in running if not listed.get(name)}
    assert set(todo.tell) == ended & set(listed)
    assert not started & set(todo.stop)


def test_an_order_is_taken_once_also_by_the_next_agent(open_book):
    book = open_book()
    assert book.take(work("or_1"))
    assert book.take(work("or_1")) is None
    assert open_book().take(work("or_1")) is None


def test_what_had_begun_is_found_unfinished_by_the_next_agent(open_book):
    book = open_book()
    book.take(work("or_1")).state(OrderState.RUNNING)
    book.take(work("or_2")).state(OrderState.SUCCEEDED)
    again = open_book()
    assert [spool.order_id for spool in again.unfinished()] == ["or_1"]
    assert again.ended() == {"or_2"}


def test_a_folder_without_its_record_never_began(open_book, tmp_path):
    (tmp_path / "or_1").mkdir()
    assert open_book().take(work("or_1"))


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "", "a" * 81, "or_1\n", ".hidden"])
def test_an_id_that_is_no_name_of_a_folder_is_refused(open_book, name):
    with pytest.raises(RequestError, match="is no id of an order"):
        open_book().take(work(name))


def test_old_delivered_orders_lose_their_files_but_not_their_place(open_book, tmp_path):
    book = open_book()
    for number in range(5):
        spool = book.take(work(f"or_{number}"))
        book.files(f"or_{number}").joinpath("big").write_bytes(b"x" * 1000)
        spool.state(OrderState.SUCCEEDED)
        if number != 1:
            spool.abandon()
    book.prune(keep=2)
    assert sorted(path.name for path in tmp_path.glob("*/files/big")) == ["big"] * 3
    assert (tmp_path / "or_1" / "order.json").exists()  # the broker does not have its end yet
    assert not (tmp_path / "or_0" / "order.json").exists()
    for known in (book, open_book()):
        assert known.ended() == {f"or_{number}" for number in range(5)}
        assert known.take(work("or_0")) is None
        assert known.spool("or_0") is None
