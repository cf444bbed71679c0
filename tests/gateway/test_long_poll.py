"""Agents learn of their orders within moments, and waiting costs the ledger one read for all."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from broker.gateway.server import _every
from broker.gateway.watch import EVERY_S, OrderWatch, tag_of
from broker.model import Node, Order, OrderState


def poll(call, tag=None, wait=0):
    headers = {"if_none_match": tag} if tag else {}
    return call("GET", f"/v1/orders?wait_s={wait}", **headers)


def test_the_first_poll_is_answered_at_once_even_when_there_is_nothing(world):
    call = world.agent().caller()
    got = poll(call, wait=30)
    assert got.json == {"orders": []}
    assert got.headers["etag"]


def test_all_open_orders_of_this_node_are_listed_with_what_is_to_be_done(world):
    agent, other = world.agent(), world.agent()
    first = world.order(agent, spec={"run": "echo 1"})
    second = world.order(agent, wanted=False, state=OrderState.RUNNING)
    world.order(agent, state=OrderState.SUCCEEDED)
    world.order(other)
    got = poll(agent.caller()).json["orders"]
    assert got == [
        {"id": o.id, "kind": o.kind, "spec": o.spec, "wanted": o.wanted, "run_id": o.run_id}
        for o in (first, second)
    ]


def test_an_unchanged_set_is_answered_with_304_after_the_wait(world):
    call = world.agent().caller()
    tag = poll(call).headers["etag"]
    started = time.monotonic()
    got = poll(call, tag, wait=1)
    assert (got.status, got.body) == (304, b"")
    assert got.headers["etag"] == tag
    assert 0.9 < time.monotonic() - started < 10


@pytest.mark.parametrize("change", ["new order", "not wanted", "ended elsewhere"])
def test_a_change_wakes_the_agent_that_waits(world, change):
    agent = world.agent()
    call = agent.caller()
    order = world.order(agent)
    tag = poll(call).headers["etag"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, call, tag, 30)
        started = time.monotonic()
        if change == "new order":
            world.order(agent)
        elif change == "not wanted":
            world.store.commit(replace(order, wanted=False))
        else:
            world.store.commit(replace(order, state=OrderState.LOST))
        got = waiting.result(20)
    assert got.status == 200
    assert time.monotonic() - started < 10
    assert got.headers["etag"] != tag
    wanted = {"new order": [True, True], "not wanted": [False], "ended elsewhere": []}[change]
    assert [each["wanted"] for each in got.json["orders"]] == wanted


def test_progress_of_an_order_wakes_nobody(world):
    agent = world.agent()
    call = agent.caller()
    order = world.order(agent)
    tag = poll(call).headers["etag"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, call, tag, 1)
        world.store.commit(replace(order, state=OrderState.RUNNING))
        assert waiting.result(20).status == 304


@pytest.mark.parametrize("wait", ["-1", "x", "1.5", "9" * 20])
def test_a_wait_that_is_no_number_is_refused(world, wait):
    got = poll(world.agent().caller(), wait=wait)
    assert (got.status, got.code) == (400, "USE010")


def order(node_id="nd_1", **fields):
    made = Order("or_1", "run_1", "ls_1", "at_1", node_id, "process", {}, None)
    return replace(made, **fields)


def test_the_tag_follows_ids_and_wishes_and_nothing_else():
    base = tag_of([order()])
    assert tag_of([order(state=OrderState.RUNNING, version=9, spec={"x": 1})]) == base
    assert tag_of([order(wanted=False)]) != base
    assert tag_of([order(id="or_2")]) != base
    assert tag_of([]) != base
    pair = [order(), order(id="or_2")]
    assert tag_of(pair) == tag_of(reversed(pair))


def test_a_hundred_that_wait_cost_one_read_every_200_ms_and_nobody_costs_nothing():
    reads = []

    async def scene():
        async def read():
            reads.append(1)
            return [order("nd_7")]

        watch = OrderWatch(read)
        running = asyncio.create_task(_every(EVERY_S, watch.wake))
        await asyncio.sleep(0.3)
        assert reads == []
        tag = tag_of([])
        waits = [asyncio.create_task(watch.wait(f"nd_{n}", tag, 1.0)) for n in range(100)]
        done, pending = await asyncio.wait(waits, timeout=0.7)
        assert [waits.index(one) for one in done] == [7]
        assert len(pending) == 99
        await asyncio.wait(waits)
        count = len(reads)
        assert 3 <= count <= 8
        await asyncio.sleep(0.5)
        assert len(reads) <= count + 1
        running.cancel()

    asyncio.run(scene())


def test_closing_wakes_everybody():
    async def scene():
        async def read():
            return []

        watch = OrderWatch(read)
        waits = [asyncio.create_task(watch.wait(f"nd_{n}", tag_of([]), 60)) for n in range(5)]
        await asyncio.sleep(0)
        watch.close()
        await asyncio.wait_for(asyncio.gather(*waits), 5)
        await asyncio.wait_for(watch.wait("nd_1", tag_of([]), 60), 1)

    asyncio.run(scene())


def test_many_agents_wait_and_each_is_woken_by_its_own_order_only(world):
    agents = [world.agent() for _ in range(6)]
    calls = [agent.caller() for agent in agents]
    tags = [poll(call).headers["etag"] for call in calls]
    results = {}

    def wait(place):
        results[place] = poll(calls[place], tags[place], 3).status

    threads = [threading.Thread(target=wait, args=[place]) for place in range(6)]
    for thread in threads:
        thread.start()
    world.order(agents[2])
    for thread in threads:
        thread.join(20)
    assert results == {0: 304, 1: 304, 2: 200, 3: 304, 4: 304, 5: 304}
    assert len(world.store.find(Node)) == 6


def test_a_ledger_that_fails_for_a_moment_ends_no_poll_for_good(world, monkeypatch, eventually):
    agent = world.agent()
    call = agent.caller()
    tag = poll(call).headers["etag"]
    failed = []

    def failing(*_, **__):
        failed.append(1)
        raise OSError("the ledger cannot be read")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, call, tag, 30)
        eventually(lambda: world.gateway._service._watch._waiters)
        with monkeypatch.context() as patched:
            patched.setattr(world.store, "find", failing)
            eventually(lambda: len(failed) >= 2)
        world.order(agent)
        assert waiting.result(20).status == 200
