"""However much is lost on the way, the broker ends up with everything, once and in order."""

from __future__ import annotations

import random
import time

import pytest

from broker.errors import NotFoundError, RequestError, UnknownOutcomeError
from broker.model import OrderState
from edge.courier import Courier, bounded
from edge.spool import Spool
from edge.wire import Wire

RANK = {"running": 1, "ready": 2, "succeeded": 3, "failed": 3, "cancelled": 3}


class LittleBroker:
    """Keeps the protocol's laws, and loses requests and replies with the chance `loss`."""

    def __init__(self, seed: int, loss: float) -> None:
        self._chance, self.loss = random.Random(seed), loss
        self.states: list[str] = []
        self.stored = bytearray()
        self.items: dict[int, dict] = {}
        self.refused: set[str] = set()

    def report(self, order_id, said) -> None:
        with self._lossy():
            if said["state"] in self.refused and said.get("data"):
                raise RequestError("too much")
            if RANK[said["state"]] > RANK.get(self.states[-1] if self.states else "", 0):
                self.states.append(said["state"])
                self.at_end = (bytes(self.stored), len(self.items))

    def log(self, order_id, offset, data) -> int:
        with self._lossy():
            if offset <= len(self.stored):
                self.stored += data[len(self.stored) - offset :]
            return len(self.stored)

    def events(self, order_id, first, items) -> None:
        with self._lossy():
            if any(item["kind"] in self.refused for item in items):
                raise RequestError("no such kind")
            for place, item in enumerate(items, start=first):
                self.items.setdefault(place, item)

    def _lossy(self):
        return _Lossy(self._chance.random() < self.loss, self._chance.random() < self.loss)


class _Lossy:
    def __init__(self, request: bool, reply: bool) -> None:
        self._request, self._reply = request, reply

    def __enter__(self) -> None:
        if self._request:
            raise UnknownOutcomeError("the request is lost")

    def __exit__(self, kind, error, trace) -> None:
        if self._reply and kind is None:
            raise UnknownOutcomeError("the reply is lost")


def push(spool, courier, tries=10_000) -> None:
    for _ in range(tries):
        if spool.delivered:
            return
        try:
            courier.deliver(spool)
        except UnknownOutcomeError:
            continue
    raise AssertionError("not delivered")


@pytest.fixture
def make_spool(tmp_path):
    def make(name="or_1") -> Spool:
        (tmp_path / name).mkdir(exist_ok=True)
        return Spool(tmp_path / name, lambda: None)

    return make


@pytest.mark.parametrize("seed", range(40))
def test_lost_requests_and_replies_and_restarts_lose_and_double_nothing(make_spool, seed):
    chance = random.Random(seed)
    broker = LittleBroker(seed, loss=0.4)
    courier = Courier(broker)
    spool, written, count = make_spool(), bytearray(), 0
    spool.state(OrderState.RUNNING)
    for _ in range(60):
        step = chance.randrange(5)
        if step == 0:
            data = chance.randbytes(chance.randrange(1, 4000))
            spool.log(data)
            written += data
        elif step == 1:
            spool.event({"kind": "round", "round": count})
            count += 1
        elif step == 2:
            spool = make_spool()  # the agent was restarted
        else:
            try:
                courier.deliver(spool)
            except UnknownOutcomeError:
                continue
    spool.state(OrderState.SUCCEEDED, exit_code=0)
    push(spool, courier)
    assert bytes(broker.stored) == bytes(written)
    assert [broker.items[n]["round"] for n in range(len(broker.items))] == list(range(count))
    assert broker.states == ["running", "succeeded"]
    assert broker.at_end == (bytes(written), count)  # nothing came after the end


def test_a_broker_that_lost_its_log_gets_it_again(make_spool):
    broker, spool = LittleBroker(0, 0), make_spool()
    courier = Courier(broker)
    spool.log(b"a" * 1000)
    courier.deliver(spool)
    del broker.stored[300:]
    spool.log(b"b" * 500)
    spool.state(OrderState.FAILED)
    push(spool, courier)
    assert broker.stored == b"a" * 1000 + b"b" * 500


def test_a_record_that_the_broker_refuses_keeps_no_other_back(make_spool):
    broker, spool = LittleBroker(0, 0), make_spool()
    courier = Courier(broker)
    broker.refused = {"bad", "succeeded"}
    for kind in ("a", "bad", "b"):
        spool.event({"kind": kind})
    spool.state(OrderState.SUCCEEDED, data={"huge": 1})
    push(spool, courier)
    assert {place: item["kind"] for place, item in broker.items.items()} == {0: "a", 2: "b"}
    assert broker.states == ["succeeded"]


def test_an_order_that_the_broker_does_not_know_is_given_up(make_spool):
    class Forgetful(LittleBroker):
        def report(self, order_id, said) -> None:
            raise NotFoundError("no order or_1")

    spool = make_spool()
    spool.state(OrderState.FAILED)
    Courier(Forgetful(0, 0)).deliver(spool)
    assert spool.delivered
    assert make_spool().delivered  # and it stays so


def test_an_ended_order_can_be_told_again(make_spool):
    broker, spool = LittleBroker(0, 0), make_spool()
    courier = Courier(broker)
    spool.state(OrderState.SUCCEEDED)
    push(spool, courier)
    broker.states.clear()
    spool.rewind()
    push(spool, courier)
    assert broker.states == ["succeeded"]


@pytest.mark.parametrize("seed", range(3))
def test_the_real_gateway_behind_a_wire_that_breaks_gets_everything(
    world, joined, breaker, tmp_path, make_spool, seed
):
    proxy = breaker(world.gateway.agent_port, seed)
    credentials = joined(tmp_path / "home", through=proxy.port)
    order = world.order(world.row(credentials))
    spool, written = make_spool(order.id), bytearray()
    spool.state(OrderState.RUNNING)
    with Wire(credentials) as wire:
        courier = Courier(wire)
        for number in range(30):
            data = random.Random(number).randbytes(20_000)
            spool.log(data)
            written += data
            spool.event({"kind": "round", "round": number})
            push_once(spool, courier)
        spool.state(OrderState.SUCCEEDED, exit_code=0)
        until = time.monotonic() + 30
        while not spool.delivered and time.monotonic() < until:
            push_once(spool, courier)
    assert proxy.cuts > 5
    assert world.stored(order).state is OrderState.SUCCEEDED
    assert world.log(order) == bytes(written)
    assert [event.data["round"] for event in world.events(order)] == list(range(30))


def push_once(spool, courier) -> None:
    try:
        courier.deliver(spool)
    except UnknownOutcomeError:
        return


def test_events_are_sent_in_calls_of_bounded_size():
    items = [{"kind": "x" * 100}] * 10
    assert len(bounded(items, 350)) == 3
    assert len(bounded(items, 10)) == 1
    assert bounded(items, 10**6) == items
