"""Edge nodes as offers, shares of them as instances, and the verbs that invite and send away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from broker import fleet
from broker.errors import CapacityError, NotFoundError, UsageError
from broker.fleet import Fleet
from broker.model import (
    Allocation,
    Capacity,
    Dataset,
    Event,
    InstanceState,
    JoinToken,
    Market,
    Node,
    NodeState,
    Order,
    OrderState,
    Site,
)
from broker.trust.tokens import redeem, token_hash

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SITES = {"NO": Site("NO", frozenset({"EEA"}), 30.0, "atlas")}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def edge(store, clock):
    return Fleet(store, SITES, now=clock)


@pytest.fixture
def oslo(store):
    row = Node(
        "nd_oslo",
        "oslo-01",
        "edge",
        NOW,
        state=NodeState.ONLINE,
        country="NO",
        capacity=Capacity(8, 16, 100, "T4", 1),
        datasets=(Dataset("scans", 426), Dataset("labs", 9)),
    )
    return store.commit(row)[0]


def moved(store, node, state):
    return store.commit(replace(store.find(Node, id=node.id)[0], state=state))[0]


def offer_of(edge):
    (offer,) = edge.offers()
    return offer


def test_an_online_node_is_an_offer_at_no_price_with_its_data_and_its_country(edge, oslo):
    offer = offer_of(edge)
    assert (offer.cloud, offer.region, offer.node_id) == ("edge", "oslo-01", "nd_oslo")
    assert (offer.market, offer.available) == (Market.OWNED, True)
    assert (offer.vcpus, offer.memory_gib) == (8, 16)
    assert (offer.accelerator, offer.accelerator_count) == ("T4", 1)
    assert offer.price
    assert (offer.price.usd_per_hour, offer.price.source) == (Decimal(0), "owner")
    assert offer.datasets == ("labs", "scans")
    assert offer.site == Site("NO", frozenset({"EEA"}), 30.0, "atlas")


def test_what_is_not_known_is_none_and_never_a_guess(edge, store):
    store.commit(Node("nd_1", "plain", "edge", NOW, state=NodeState.ONLINE))
    offer = offer_of(edge)
    assert (offer.vcpus, offer.memory_gib, offer.site.country) == (None, None, None)
    assert offer.site.carbon_g_per_kwh is None


def test_a_country_without_facts_is_still_named(store):
    store.commit(Node("nd_1", "lyon-03", "edge", NOW, state=NodeState.ONLINE, country="FR"))
    assert offer_of(Fleet(store, SITES)).site == Site("FR", source="owner")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (NodeState.INVITED, None),
        (NodeState.ONLINE, True),
        (NodeState.LOST, False),
        (NodeState.DRAINED, False),
        (NodeState.REVOKED, None),
        (NodeState.GONE, None),
    ],
)
def test_nodes_that_may_come_back_stay_in_the_list_unavailable(edge, store, oslo, state, shown):
    moved(store, oslo, state)
    assert [offer.available for offer in edge.offers()] == ([] if shown is None else [shown])


def test_cloud_machines_are_no_edge_offers(edge, store):
    store.commit(Node("nd_1", "task-0", "cloud", NOW, state=NodeState.ONLINE))
    assert list(edge.offers()) == []


@pytest.mark.parametrize("state", [s for s in NodeState if s is not NodeState.ONLINE])
def test_a_node_that_is_not_online_is_sold_out(edge, store, oslo, state):
    offer = offer_of(edge)
    moved(store, oslo, state)
    with pytest.raises(CapacityError, match=f"oslo-01 is {state}"):
        edge.launch(offer, "at_1", "ls_1", "")
    assert store.find(Allocation) == []


def test_an_unknown_node_is_sold_out(edge, oslo):
    offer = replace(offer_of(edge), node_id="nd_none")
    with pytest.raises(CapacityError, match="nd_none"):
        edge.launch(offer, "at_1", "ls_1", "")


def test_a_node_carries_four_shares_and_a_released_one_is_free_again(edge, oslo):
    offer = offer_of(edge)
    for number in range(4):
        edge.launch(offer, f"at_{number}", f"ls_{number}", "")
    assert not offer_of(edge).available
    with pytest.raises(CapacityError, match="all 4 shares"):
        edge.launch(offer, "at_9", "ls_9", "")
    edge.terminate("at_2")
    assert offer_of(edge).available
    assert edge.launch(offer, "at_9", "ls_9", "").state is InstanceState.RUNNING


def test_the_limit_holds_when_many_launch_at_once(edge, store, oslo):
    offer = offer_of(edge)

    def launch(number):
        try:
            return edge.launch(offer, f"at_{number}", f"ls_{number}", "").id
        except CapacityError:
            return None

    with ThreadPoolExecutor(12) as pool:
        given = [one for one in pool.map(launch, range(12)) if one]
    assert len(given) == 4
    assert sorted(given) == [share.id for share in store.find(Allocation)]


def test_a_lost_node_still_has_its_shares_because_unknown_is_not_absent(edge, store, oslo):
    edge.launch(offer_of(edge), "at_1", "ls_1", "")
    for state in (NodeState.LOST, NodeState.DRAINED):
        moved(store, oslo, state)
        assert [item.state for item in edge.instances()] == [InstanceState.RUNNING]


@pytest.mark.parametrize("state", [NodeState.REVOKED, NodeState.GONE])
def test_the_shares_of_a_node_that_was_sent_away_are_gone_and_say_why(edge, store, oslo, state):
    edge.launch(offer_of(edge), "at_1", "ls_1", "")
    moved(store, oslo, state)
    (item,) = edge.instances()
    assert (item.state, item.reason) == (InstanceState.GONE, f"the node is {state}")
    edge.terminate("at_1")


def test_a_released_share_is_shown_as_gone_for_an_hour(edge, clock, oslo):
    edge.launch(offer_of(edge), "at_1", "ls_1", "")
    edge.terminate("at_1")
    assert [item.state for item in edge.instances()] == [InstanceState.GONE]
    clock.now += timedelta(hours=1)
    assert list(edge.instances()) == []
    with pytest.raises(NotFoundError):
        edge.terminate("at_1")


def test_giving_a_share_back_stops_the_attempts_open_orders_and_no_others(edge, store, oslo):
    edge.launch(offer_of(edge), "at_1", "ls_1", "")
    base = Order("or_1", "run_1", "ls_1", "at_1", "nd_oslo", "process", {}, NOW)
    store.commit(
        base,
        replace(base, id="or_2", state=OrderState.SUCCEEDED),
        replace(base, id="or_3", attempt_id="at_2"),
    )
    edge.terminate("at_1")
    assert [order.wanted for order in store.find(Order)] == [False, True, True]


def test_an_invitation_makes_a_node_and_a_secret_that_enrols_it(store, ca, make_csr):
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)
    secret, node = fleet.invite(store, "oslo-01", country="NO", now=now)
    assert (node.state, node.country) == (NodeState.INVITED, "NO")
    assert store.find(JoinToken)[0].id == token_hash(secret)
    enrolled, _ = redeem(store, secret, make_csr(ec.generate_private_key(ec.SECP256R1())), now, ca)
    assert enrolled.id == node.id
    kinds = [event.kind for event in store.find(Event, subject=node.id)]
    assert sorted(kinds) == ["node.enrolled", "node.invited"]


@pytest.mark.parametrize("name", ["", "Oslo", "1st", "-x", "a" * 42, "oslo_01", "oslo 01", "../x"])
def test_a_bad_name_is_refused(store, name):
    with pytest.raises(UsageError) as caught:
        fleet.invite(store, name, now=NOW)
    assert caught.value.code == "FLT001"


@pytest.mark.parametrize("country", ["", "no", "Norway", "NOR", "N0"])
def test_a_bad_country_is_refused(store, country):
    with pytest.raises(UsageError) as caught:
        fleet.invite(store, "oslo-01", country=country, now=NOW)
    assert caught.value.code == "FLT002"


def test_a_node_that_runs_cannot_be_invited_again_and_one_that_does_not_can(store, oslo):
    with pytest.raises(UsageError) as caught:
        fleet.invite(store, "oslo-01", now=NOW)
    assert caught.value.code == "FLT003"
    moved(store, oslo, NodeState.LOST)
    _, again = fleet.invite(store, "oslo-01", now=NOW)
    assert again.id == oslo.id
    assert again.country == "NO"


def test_the_name_of_a_revoked_node_is_free_for_a_new_one(store, oslo):
    fleet.revoke(store, oslo.id, NOW)
    _, node = fleet.invite(store, "oslo-01", now=NOW)
    assert node.id != oslo.id
    assert fleet.node_named(store, "oslo-01").id == node.id
    assert fleet.node_named(store, oslo.id).id == oslo.id


def test_a_misspelt_node_is_not_found_with_a_tip(store, oslo):
    with pytest.raises(NotFoundError) as caught:
        fleet.node_named(store, "olso-01")
    assert "oslo-01" in (caught.value.hint or "")


def test_draining_revoking_and_resuming_are_told_once(store, oslo):
    assert fleet.drain(store, "oslo-01", NOW).state is NodeState.DRAINED
    assert fleet.drain(store, "oslo-01", NOW).state is NodeState.DRAINED
    assert fleet.resume(store, "oslo-01", NOW).state is NodeState.LOST
    assert fleet.resume(store, "oslo-01", NOW).state is NodeState.LOST
    assert fleet.revoke(store, oslo.id, NOW).state is NodeState.REVOKED
    for verb in (fleet.drain, fleet.resume, fleet.revoke):
        assert verb(store, oslo.id, NOW).state is NodeState.REVOKED
    kinds = sorted(event.kind for event in store.find(Event))
    assert kinds == ["node.drained", "node.lost", "node.revoked"]


def test_resuming_an_online_node_changes_nothing(store, oslo):
    assert fleet.resume(store, "oslo-01", NOW) == oslo
