"""A heartbeat changes at once what others decide by, and writes the rest once a second at most."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import ConflictError
from broker.gateway.presence import Presence, heard
from broker.gateway.wire import Beat
from broker.model import Capacity, Dataset, Event, Node, NodeState
from broker.store.memory import MemoryStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FULL = {
    "sent_at": "2030-01-01T00:00:00Z",
    "capacity": {
        "vcpus": 8,
        "memory_gib": 15.5,
        "disk_gib": 100,
        "accelerator": "T4",
        "accelerator_count": 1,
    },
    "datasets": [{"name": "scans", "rows": 426, "schema_hash": "ab", "data_class": "phi"}],
    "labels": {"rack": "7"},
    "country": "NO",
    "address": "10.0.0.7:9443",
    "running": ["or_1"],
    "from_a_newer_agent": {"ignored": True},
}


class CountingStore(MemoryStore):
    """Counts writes; `clashes` of them lose a race."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.clashes = 0

    def commit(self, *rows):
        self.commits += 1
        if self.clashes:
            self.clashes -= 1
            raise ConflictError("somebody was faster")
        return super().commit(*rows)


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def ticks():
    return Seconds()


@pytest.fixture
def ledger():
    return CountingStore()


@pytest.fixture
def presence(ledger, ticks):
    return Presence(ledger, timedelta(seconds=30), ticks)


@pytest.fixture
def node(ledger):
    return ledger.commit(Node("nd_1", "oslo-01", "edge", NOW, serial="aa"))[0]


def stored(ledger):
    return ledger.find(Node)[0]


def kinds(ledger):
    return [event.kind for event in sorted(ledger.find(Event), key=lambda e: e.at)]


def test_the_first_heartbeat_over_the_wire_brings_the_node_online_with_what_it_has(world):
    agent = world.agent()
    got = agent.caller()("POST", "/v1/heartbeat", FULL)
    assert got.json["next_s"] == world.settings.heartbeat_s
    assert abs(datetime.fromisoformat(got.json["server_time"]) - datetime.now(UTC)) < timedelta(
        seconds=30
    )
    node = world.stored(agent.node)
    assert node.state is NodeState.ONLINE
    assert node.capacity == Capacity(8, 15.5, 100, "T4", 1)
    assert node.datasets == (Dataset("scans", 426, "ab", "phi"),)
    assert (node.labels, node.country, node.address) == ({"rack": "7"}, "NO", "10.0.0.7:9443")
    assert node.seen_at


def test_the_country_that_the_owner_gave_stands(world):
    agent = world.agent(country="DE")
    agent.caller()("POST", "/v1/heartbeat", FULL)
    assert world.stored(agent.node).country == "DE"


def test_labels_are_the_agents_and_follow_it(world):
    """A public key is among them, and a new agent folder has a new one."""
    agent = world.agent()
    call = agent.caller()
    key = "ecdsa-sha2-nistp384 " + "A" * 184
    call("POST", "/v1/heartbeat", {"labels": {"flower-key": "old", "rack": "7"}})
    assert call("POST", "/v1/heartbeat", {"labels": {"flower-key": key}}).status == 200
    node = world.stored(agent.node)
    assert node.labels == {"flower-key": key}
    assert node.flower_key == key


def test_what_a_heartbeat_leaves_out_stays_as_it_was(world):
    agent = world.agent()
    call = agent.caller()
    call("POST", "/v1/heartbeat", FULL)
    before = world.stored(agent.node)
    call("POST", "/v1/heartbeat", {})
    after = world.stored(agent.node)
    assert replace(after, seen_at=None, version=0) == replace(before, seen_at=None, version=0)


def test_a_change_is_written_at_once(world):
    agent = world.agent()
    call = agent.caller()
    call("POST", "/v1/heartbeat", FULL)
    call("POST", "/v1/heartbeat", {**FULL, "datasets": []})
    assert world.stored(agent.node).datasets == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": {"vcpus": -1}},
        {"capacity": {"vcpus": "many"}},
        {"capacity": []},
        {"datasets": {"name": "x"}},
        {"datasets": [{"rows": 1}]},
        {"datasets": [{"name": "", "rows": 1}]},
        {"datasets": [{"name": "x", "rows": -1}]},
        {"datasets": [{"name": "x", "rows": 2**70}]},
        {"country": "Norway"},
        {"country": "no"},
        {"address": "http://evil/"},
        {"address": "a b"},
        {"address": "-" * 300},
        {"labels": {"x": 1}},
        {"labels": {str(i): "x" for i in range(65)}},
        {"running": ["../../etc"]},
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused_and_changes_nothing(world, wrong):
    agent = world.agent()
    before = world.stored(agent.node)
    got = agent.caller()("POST", "/v1/heartbeat", wrong)
    assert (got.status, got.code) == (400, "USE010")
    assert next(iter(wrong)) in got.json["detail"] or "number" in got.json["detail"]
    assert world.stored(agent.node) == before


def test_an_infinite_capacity_is_refused(world):
    got = world.agent().caller()("POST", "/v1/heartbeat", b'{"capacity": {"vcpus": 1e999}}')
    assert got.code == "USE010"


def test_a_thousand_unchanged_heartbeats_are_one_write(presence, ledger, node):
    presence.beat(node, Beat(), NOW)
    node, before = stored(ledger), ledger.commits
    for second in range(1000):
        presence.beat(node, Beat(), NOW + timedelta(milliseconds=second))
    assert ledger.commits == before
    presence.flush()
    presence.flush()
    assert ledger.commits == before + 1
    assert stored(ledger).seen_at == NOW + timedelta(milliseconds=999)


def test_coming_and_going_is_told_once_each(presence, ledger, node, ticks):
    presence.beat(node, Beat(), NOW)
    presence.beat(stored(ledger), Beat(), NOW)
    ticks.now += 60
    for _ in range(2):
        presence.sweep(NOW + timedelta(seconds=60))
    assert stored(ledger).state is NodeState.LOST
    presence.beat(stored(ledger), Beat(), NOW + timedelta(seconds=61))
    assert stored(ledger).state is NodeState.ONLINE
    assert kinds(ledger) == ["node.online", "node.lost", "node.online"]


def test_a_clock_that_jumps_makes_nobody_look_lost(presence, ledger, node, ticks):
    presence.beat(node, Beat(), NOW)
    ticks.now += 29
    presence.sweep(NOW + timedelta(days=1))
    assert stored(ledger).state is NodeState.ONLINE


def test_a_gateway_that_has_just_started_gives_every_node_time_to_call(ledger, node, ticks):
    ledger.commit(replace(node, state=NodeState.ONLINE, seen_at=NOW - timedelta(days=2)))
    fresh = Presence(ledger, timedelta(seconds=30), ticks)
    ticks.now += 29
    fresh.sweep(NOW)
    assert stored(ledger).state is NodeState.ONLINE
    ticks.now += 2
    fresh.sweep(NOW)
    assert stored(ledger).state is NodeState.LOST


def test_a_node_that_another_gateway_hears_is_not_lost(presence, ledger, node, ticks):
    ledger.commit(replace(node, state=NodeState.ONLINE, seen_at=NOW))
    ticks.now += 60
    presence.sweep(NOW + timedelta(seconds=10))
    assert stored(ledger).state is NodeState.ONLINE


@pytest.mark.parametrize("state", [NodeState.REVOKED, NodeState.GONE])
def test_a_heartbeat_on_its_way_brings_nobody_back(presence, ledger, node, state):
    ledger.commit(replace(node, state=state))
    presence.beat(node, Beat(), NOW)
    presence.flush()
    assert stored(ledger).state is state
    assert stored(ledger).seen_at is None


def test_a_drained_node_stays_drained_and_is_still_seen(presence, ledger, node):
    (drained,) = ledger.commit(replace(node, state=NodeState.DRAINED))
    presence.beat(drained, Beat(), NOW)
    presence.flush()
    assert stored(ledger).state is NodeState.DRAINED
    assert stored(ledger).seen_at == NOW


def test_a_lost_race_is_run_again(presence, ledger, node):
    ledger.clashes = 3
    presence.beat(node, Beat(country="NO"), NOW)
    assert stored(ledger).country == "NO"


def test_a_race_lost_for_ever_is_said(presence, ledger, node):
    ledger.clashes = 1000
    with pytest.raises(ConflictError):
        presence.beat(node, Beat(country="NO"), NOW)


def test_one_row_that_changed_does_not_keep_the_others_from_being_written(presence, ledger, node):
    other = ledger.commit(Node("nd_2", "berlin-01", "edge", NOW, state=NodeState.ONLINE))[0]
    (node,) = ledger.commit(replace(node, state=NodeState.ONLINE))
    for each in (node, other):
        presence.beat(each, Beat(), NOW)
    ledger.clashes = 2
    presence.flush()
    assert sum(row.seen_at is not None for row in ledger.find(Node)) == 1


def test_what_a_heartbeat_makes_of_a_node_is_pure(node):
    assert heard(node, Beat(), NOW) == replace(node, state=NodeState.ONLINE, seen_at=NOW)
    assert node.state is NodeState.INVITED


def test_silence_over_the_wire_ends_in_lost_and_a_word_in_online(world, eventually):
    agent = world.agent()
    call = agent.caller()
    call("POST", "/v1/heartbeat", {})
    eventually(lambda: world.stored(agent.node).state is NodeState.LOST)
    call("POST", "/v1/heartbeat", {})
    assert world.stored(agent.node).state is NodeState.ONLINE
