"""A machine's invitation is in the ledger before its user data is given away, and repeats."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.model import Attempt, JoinToken, Lease, Market, Node, Offer, Site
from broker.trust.machines import MachineInvitations
from broker.trust.tokens import attempt_token, redeem, token_hash

KEY = b"k" * 32
OFFER = Offer("aws", "eu-north-1", "eu-north-1a", "t3.small", Market.SPOT, 2, 2, site=Site("SE"))


@pytest.fixture
def hands(now):
    return {"now": now}


@pytest.fixture
def invitations(store, hands):
    return MachineInvitations(
        store,
        KEY,
        lambda: "https://127.0.0.1:7443",
        "sha256:" + "0" * 64,
        "0.1.0",
        lambda: hands["now"],
    )


@pytest.fixture
def lease(now):
    return Lease("ls_1", "run_1", "task", 0, (OFFER,), now, attempt=Attempt("at_abc", OFFER, now))


def test_the_node_and_the_hash_of_the_token_are_recorded_first(store, invitations, lease):
    script = invitations(lease)
    secret = attempt_token(KEY, "at_abc")
    assert secret in script
    (token,) = store.find(JoinToken)
    (node,) = store.find(Node)
    assert token.id == token_hash(secret)
    assert (node.id, node.kind, node.attempt_id) == ("nd_abc", "cloud", "at_abc")
    assert (node.name, node.country) == ("task-0", "SE")
    assert secret not in repr((token, node))


def test_asked_again_the_bytes_are_the_same_and_the_rows_are_one(store, invitations, lease):
    assert invitations(lease) == invitations(lease)
    assert len(store.find(JoinToken)) == len(store.find(Node)) == 1


def test_a_launch_asked_again_late_gives_an_unused_token_more_time(
    store, invitations, lease, hands, now
):
    invitations(lease)
    hands["now"] = now + timedelta(hours=5)
    invitations(lease)
    assert store.find(JoinToken)[0].expires_at == now + timedelta(hours=6)


def test_a_used_token_gets_no_more_time(store, invitations, lease, hands, ca, csr_of, now):
    invitations(lease)
    redeem(store, attempt_token(KEY, "at_abc"), csr_of(), now, ca)
    before = store.find(JoinToken)
    hands["now"] = now + timedelta(hours=5)
    invitations(lease)
    assert store.find(JoinToken) == before


def test_the_machine_enrols_as_the_node_of_its_attempt(store, invitations, lease, ca, csr_of, now):
    invitations(lease)
    node, _ = redeem(store, attempt_token(KEY, "at_abc"), csr_of(), now, ca)
    assert node.attempt_id == "at_abc"


def test_edge_nodes_and_leases_without_an_attempt_need_no_user_data(store, invitations, lease):
    attempt = replace(lease.attempt, offer=replace(OFFER, node_id="nd_1"))
    assert invitations(replace(lease, attempt=attempt)) == ""
    assert invitations(replace(lease, attempt=None)) == ""
    assert store.find(Node) == []
