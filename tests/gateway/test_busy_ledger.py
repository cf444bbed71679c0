"""A race that is lost for ever ends in words and a 503, never in a loop or half a change."""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import replace

import pytest

from broker import fleet
from broker.errors import ConflictError, UnknownOutcomeError
from broker.fleet import Fleet
from broker.gateway.identity import identify, renew
from broker.model import Allocation, Attempt, JoinToken, Lease, Market, NodeState, Offer
from broker.trust.machines import MachineInvitations


@pytest.fixture
def contended(world, monkeypatch):
    """From now on every commit finds that somebody was faster."""

    def begin():
        def commit(*_):
            raise ConflictError("somebody was faster")

        monkeypatch.setattr(world.store, "commit", commit)

    return begin


def test_over_the_wire_a_busy_ledger_is_a_503_to_try_again(world, contended, make_agent):
    agent, fresh = world.agent(), make_agent()
    order, secret = world.order(agent), world.invite(fresh.node)
    call = agent.caller()
    contended()
    for method, path, body in [
        ("POST", "/v1/heartbeat", {"country": "NO"}),
        ("POST", f"/v1/orders/{order.id}/report", {"state": "running"}),
        ("POST", f"/v1/orders/{order.id}/events", {"seq0": 0, "items": [{"kind": "round"}]}),
        ("POST", "/v1/renew", {"csr_pem": agent.csr()}),
    ]:
        got = call(method, path, body)
        assert (got.status, got.code) == (503, "CON001"), path
    got = fresh.enrol(secret)
    assert (got.status, got.code) == (503, "CON001")
    (token,) = world.store.find(JoinToken, node_id=fresh.node.id)
    assert token.used_at is None


def test_a_token_claimed_but_not_enrolled_is_redeemed_by_asking_again(world, make_agent):
    """The broker died between the two commits: the same key gets its certificate all the same."""
    agent = make_agent()
    secret = world.invite(agent.node)
    commit = world.store.commit

    def dies_after_the_claim(*rows):
        if isinstance(rows[0], JoinToken):
            return commit(*rows)
        raise ConflictError("gone")

    world.store.commit = dies_after_the_claim
    assert agent.enrol(secret).status == 503
    world.store.commit = commit
    assert world.store.find(JoinToken)[0].used_at
    assert agent.enrol(secret).status == 200
    assert agent.caller()("POST", "/v1/heartbeat", {}).status == 200


def test_settling_a_new_certificate_can_wait_for_the_next_request(world, contended):
    agent = world.agent()
    der = ssl.PEM_cert_to_DER_cert(agent.pem)
    world.store.commit(replace(world.stored(agent.node), previous_serial="old"))
    contended()
    node, _ = identify(world.store, der, world.clock())
    assert node.previous_serial == "old"
    with pytest.raises(ConflictError):
        renew(world.store, der, agent.csr(), world.clock(), world.ca)


def test_a_fleet_on_a_busy_ledger_has_an_unknown_outcome_and_changes_nothing(world, contended):
    node = world.node(state=NodeState.ONLINE)
    edge = Fleet(world.store)
    (offer,) = edge.offers()
    edge.launch(offer, "at_1", "ls_1", "")
    contended()
    with pytest.raises(UnknownOutcomeError):
        edge.launch(offer, "at_2", "ls_2", "")
    with pytest.raises(UnknownOutcomeError):
        edge.terminate("at_1")
    with pytest.raises(ConflictError):
        fleet.drain(world.store, node.id, world.clock())
    assert [share.released for share in world.store.find(Allocation)] == [False]


def test_an_invitation_that_somebody_else_recorded_first_is_the_same_one(world, contended):
    offer = Offer("aws", "r", None, "t", Market.SPOT, 1, 1)
    now = world.clock()
    lease = Lease("ls_1", "run_1", "task", 0, (offer,), now, attempt=Attempt("at_1", offer, now))
    invitations = MachineInvitations(
        world.store, b"k" * 32, lambda: "https://b", "sha256:00", "0.1.0", lambda: now
    )
    first = invitations(lease)
    contended()
    assert invitations(lease) == first


def test_housekeeping_that_fails_is_said_and_goes_on(world, monkeypatch, caplog, eventually):
    presence = world.gateway._service._presence
    flush, calls = presence.flush, []

    def fails_once():
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise OSError("no space left")
        flush()

    with caplog.at_level(logging.WARNING, "broker.gateway"):
        monkeypatch.setattr(presence, "flush", fails_once)
        eventually(lambda: len(calls) >= 2)
    assert "no space left" in caplog.text
    assert world.agent().caller()("POST", "/v1/heartbeat", {}).status == 200
