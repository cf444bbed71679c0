"""The gateway over the real ledger: many agents at once, and a revocation from another process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.errors import BrokerError
from broker.model import Event, NodeState, OrderState
from broker.store.ledger import Ledger

REVOKE = (
    "import sys; from datetime import datetime, UTC; from broker import fleet;"
    "from broker.store.ledger import Ledger;"
    "fleet.revoke(Ledger(sys.argv[1]), sys.argv[2], datetime.now(UTC))"
)


@pytest.fixture
def store(tmp_path):
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield ledger


def life(world, agent):
    """One agent's requests, twice each, as after lost answers."""
    call, order = agent.caller(), world.order(agent)
    path = f"/v1/orders/{order.id}"
    statuses = []
    for _ in range(2):
        statuses += [
            call("POST", "/v1/heartbeat", {"capacity": {"vcpus": 2}}).status,
            call("POST", f"{path}/report", {"state": "running"}).status,
            call("POST", f"{path}/log?offset=0", b"hello").status,
            call("POST", f"{path}/events", {"seq0": 0, "items": [{"kind": "round"}]}).status,
            call("POST", f"{path}/report", {"state": "succeeded", "exit_code": 0}).status,
        ]
    return order, statuses


def test_eight_agents_at_once_leave_each_fact_once(world):
    agents = [world.agent() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        lives = list(pool.map(lambda agent: life(world, agent), agents))
    for order, statuses in lives:
        assert set(statuses) == {200}
        assert world.stored(order).state is OrderState.SUCCEEDED
        kinds = [event.kind for event in world.store.find(Event, subject=order.id)]
        assert sorted(kinds) == ["fed.round", "order.running", "order.succeeded"]
        assert (world.folder / "logs" / f"{order.id}.log").read_bytes() == b"hello"
    assert {world.stored(agent.node).state for agent in agents} == {NodeState.ONLINE}


def test_a_revocation_by_another_process_bites_at_the_next_request(world):
    agent = world.agent()
    call = agent.caller()
    assert call("POST", "/v1/heartbeat", {}).status == 200
    url = f"sqlite:///{world.folder / 'ledger.db'}"
    subprocess.run([sys.executable, "-c", REVOKE, url, agent.node.id], check=True, timeout=60)
    assert call("POST", "/v1/heartbeat", {}).code == "NOD003"


def test_a_ledger_that_fails_is_a_500_that_does_not_say_where_it_lies(world, monkeypatch, caplog):
    agent = world.agent()
    call = agent.caller()
    assert call("GET", "/v1/orders").status == 200

    def failing(*_, **__):
        raise BrokerError(f"the ledger is damaged: {world.folder}", code="STO003")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "find", failing)
        got = call("GET", "/v1/orders")
    assert (got.status, got.code) == (500, "BRK002")
    assert str(world.folder) not in got.body.decode()
    assert str(world.folder) in caplog.text
    assert call("GET", "/v1/orders").status == 200
