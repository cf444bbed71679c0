"""A gateway starts inside any process, serves, and ends without a trace."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.errors import UsageError
from broker.gateway import Gateway
from broker.model import Node


def gateway_threads():
    return [thread for thread in threading.enumerate() if "gateway" in thread.name]


def test_start_and_stop_leave_no_thread_and_no_signal_handler(world):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert gateway_threads()
    world.agent().caller()("POST", "/v1/heartbeat", {})
    world.gateway.stop()
    assert gateway_threads() == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    for port in (world.gateway.enrol_port, world.gateway.agent_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_starting_twice_and_stopping_twice_is_once(world):
    threads = len(gateway_threads())
    world.gateway.start()
    assert len(gateway_threads()) == threads
    world.gateway.stop()
    world.gateway.stop()


def test_a_restart_keeps_ports_so_that_agents_find_it_again(world):
    agent = world.agent()
    call, urls = agent.caller(), (world.gateway.enrol_url, world.gateway.agent_url)
    assert call("POST", "/v1/heartbeat", {}).status == 200
    world.gateway.stop()
    world.gateway.start()
    assert (world.gateway.enrol_url, world.gateway.agent_url) == urls
    assert agent.caller()("POST", "/v1/heartbeat", {}).status == 200


def test_a_port_that_is_taken_is_said_in_words_and_leaves_nothing_behind(world):
    settings = replace(world.settings, enrol_port=0, agent_port=world.gateway.agent_port)
    threads = len(gateway_threads())
    with pytest.raises(UsageError, match=str(world.gateway.agent_port)) as caught:
        Gateway(world.store, world.ca, settings).start()
    assert caught.value.code == "GTW001"
    assert len(gateway_threads()) == threads


def test_stopping_answers_those_who_wait_and_is_quick(world, eventually):
    agents = [world.agent() for _ in range(4)]
    calls = [agent.caller() for agent in agents]
    tags = [call("GET", "/v1/orders").headers["etag"] for call in calls]
    idle = world.agent().caller()
    idle("POST", "/v1/heartbeat", {})
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(call, "GET", "/v1/orders?wait_s=60", if_none_match=tag)
            for call, tag in zip(calls, tags, strict=True)
        ]
        eventually(lambda: len(world.gateway._service._watch._waiters) == 4)
        started = time.monotonic()
        world.gateway.stop()
        assert time.monotonic() - started < 8
        assert {future.result(10).status for future in waiting} == {304}


def test_stopping_writes_the_heartbeats_that_are_still_in_memory(world):
    agent = world.agent()
    call = agent.caller()
    call("POST", "/v1/heartbeat", {})
    first = world.stored(agent.node).seen_at
    world.clock.ahead = timedelta(minutes=1)
    call("POST", "/v1/heartbeat", {})
    world.gateway.stop()
    assert world.stored(agent.node).seen_at > first + timedelta(seconds=50)


def test_nothing_is_logged_in_the_course_of_a_normal_life(world, caplog):
    with caplog.at_level(logging.INFO):
        agent = world.agent()
        agent.caller()("POST", "/v1/heartbeat", {})
        socket.create_connection(("127.0.0.1", world.gateway.agent_port)).close()
        agent.caller()("GET", "/nowhere")
        world.gateway.stop()
    assert [r for r in caplog.records if r.name.startswith(("uvicorn", "asyncio", "broker"))] == []


def test_urls_name_the_public_host_and_ipv6_in_brackets(world):
    named = Gateway(world.store, world.ca, replace(world.settings, public_host="b.example"))
    assert named.enrol_url == "https://b.example:0"
    six = Gateway(world.store, world.ca, replace(world.settings, host="::1", enrol_port=7443))
    assert six.enrol_url == "https://[::1]:7443"
    wild = replace(world.settings, host="0.0.0.0")
    assert wild.advertised == socket.gethostname()


def test_no_private_key_byte_is_in_any_request_of_an_agents_life(world, make_agent):
    """Everything that left on any connection, searched for the key in every form it could take."""
    agent = make_agent()
    agent.enrol()
    call = agent.caller()
    order = world.order(agent)
    call("POST", "/v1/heartbeat", {})
    call("POST", f"/v1/orders/{order.id}/report", {"state": "running"})
    call("POST", f"/v1/orders/{order.id}/log?offset=0", b"log")
    call("POST", "/v1/renew", {"csr_pem": agent.csr()})
    sent = b"".join(data for caller in world.callers for data in caller.sent)
    assert b"CERTIFICATE REQUEST" in sent
    number = agent.key.private_numbers().private_value
    raw = number.to_bytes(32, "big")
    for needle in (raw, raw[::-1], raw.hex().encode(), str(number).encode(), b"PRIVATE KEY"):
        assert needle not in sent
    assert world.store.find(Node)
