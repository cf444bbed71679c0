"""Law: whatever a lease and its cloud look like, there is one next action, and it is a safe one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker import converge
from broker.actions import Action, Launch, Nothing, Save, Terminate
from broker.converge import sightings, step
from broker.errors import AuthError, CapacityError
from broker.model import FINAL, Attempt, Instance, InstanceState, Lease, LeaseState, Market
from tests.core.stage import START, make_offer

S = timedelta(seconds=1)
A, B, FAR = make_offer("eu-1a"), make_offer("eu-1b"), make_offer("us-1a", cloud="other")
NOW = START + 3600 * S
OLD = NOW - 600 * S
EMPTY: dict[str, list[Instance]] = {"sim": [], "other": []}


def lease(**more: Any) -> Lease:
    base = Lease("ls_1", "run_1", "task", 0, (A, B, FAR), START)
    return replace(base, **more)


def attempt(**more: Any) -> Attempt:
    base = Attempt("at_1", A, OLD, tries=1, tried_at=OLD, retry_at=OLD + S)
    return replace(base, **more)


def held(state: LeaseState = LeaseState.RUNNING, **more: Any) -> Lease:
    """A lease whose machine was made ten minutes ago."""
    made = attempt(instance_id="i-1", launched_at=OLD, retry_at=None)
    return replace(lease(state=state, attempt=made), **more)


def machine(state: InstanceState = InstanceState.RUNNING, **more: Any) -> Instance:
    return replace(Instance("i-1", "sim", "eu-1", "at_1", "ls_1", state, OLD), **more)


def act(row: Lease, *seen: Instance, listings: Any = None) -> Action:
    found = {**EMPTY, "sim": list(seen)} if listings is None else listings
    return step(row, sightings(found), NOW, "at_new")


# ---------------------------------------------------------------------------- beginning an attempt


def test_the_first_candidate_is_written_down_before_it_is_launched() -> None:
    action = act(lease())
    assert isinstance(action, Launch)
    assert action.lease.state is LeaseState.LAUNCHING
    assert action.lease.attempt == action.attempt
    assert (action.attempt.id, action.attempt.offer, action.attempt.tries) == ("at_new", A, 1)
    assert action.note
    assert action.note.data == {"offer": A.key}


def test_an_offer_that_refused_is_not_tried_again() -> None:
    action = act(lease(failed={A.key: "sold out"}))
    assert isinstance(action, Launch)
    assert action.attempt.offer == B


def test_nothing_is_begun_before_its_hour() -> None:
    early = lease(not_before=NOW + S, reason="waits until 22:00 UTC")
    assert converge.waits(early, NOW)
    assert act(early) == Nothing(early)
    assert not converge.waits(early, NOW + S)
    assert isinstance(act(lease(not_before=NOW)), Launch)
    unwanted = act(replace(early, wanted=False))
    assert isinstance(unwanted, Save)
    assert unwanted.lease.state is LeaseState.CLOSED


MARKETS = st.lists(st.sampled_from([Market.SPOT, Market.ON_DEMAND, Market.OWNED]), max_size=5)


@given(MARKETS, st.integers(0, 4), st.none() | st.integers(0, 3))
def test_after_so_many_preemptions_no_spot_machine_is_tried(
    markets: list[Market], preemptions: int, most: int | None
) -> None:
    offers = tuple(
        replace(make_offer(f"eu-{n}a"), market=market) for n, market in enumerate(markets)
    )
    row = lease(candidates=offers, preemptions=preemptions, max_preemptions=most)
    action = act(replace(row, forgiven=preemptions))
    allowed = (
        [one for one in offers if one.market is not Market.SPOT]
        if (most is not None and preemptions >= most)
        else list(offers)
    )
    if allowed:
        assert isinstance(action, Launch)
        assert action.attempt.offer == allowed[0]
    else:
        assert isinstance(action, Save)
        assert action.lease.state is LeaseState.FAILED
        assert ("no more spot after" in action.lease.reason) == bool(offers)


def test_a_candidate_is_passed_over_while_its_cloud_cannot_be_listed() -> None:
    action = act(lease(), listings={"other": []})
    assert isinstance(action, Launch)
    assert action.attempt.offer == FAR


def test_a_lease_waits_and_says_so_when_no_cloud_of_its_candidates_can_be_listed() -> None:
    action = act(lease(), listings={})
    assert isinstance(action, Save)
    assert action.lease.reason == "waiting for other, sim: its machines cannot be listed"
    assert isinstance(act(action.lease, listings={}), Nothing)


def test_without_candidates_left_it_fails_with_every_providers_words() -> None:
    action = act(lease(failed={one.key: f"no {one.zone}" for one in (A, B, FAR)}))
    assert isinstance(action, Save)
    assert action.lease.state is LeaseState.FAILED
    assert action.lease.closed_at == NOW
    assert action.lease.reason.startswith(f"no capacity: {A.key}: no eu-1a; ")


def test_a_lease_without_any_candidate_fails() -> None:
    action = act(lease(candidates=()))
    assert isinstance(action, Save)
    assert action.lease.reason == "no capacity: no offer is allowed"


def test_after_each_preemption_what_was_sold_out_is_asked_once_more() -> None:
    sold_out = {one.key: "sold out" for one in (A, B, FAR)}
    once = act(lease(failed=sold_out, preemptions=1))
    assert isinstance(once, Save)
    assert (once.lease.failed, once.lease.forgiven) == ({}, 1)
    again = act(replace(once.lease, failed=sold_out))
    assert isinstance(again, Save)
    assert again.lease.state is LeaseState.FAILED


def test_a_lease_that_is_not_wanted_and_has_nothing_is_closed() -> None:
    action = act(lease(wanted=False))
    assert isinstance(action, Save)
    assert action.lease.state is LeaseState.CLOSED


def test_a_final_lease_takes_no_step() -> None:
    for state in FINAL:
        assert isinstance(act(lease(state=state)), Nothing)


# ------------------------------------------------------------------------ while nobody knows


def test_an_unknown_outcome_is_asked_for_again_with_the_same_token_and_growing_pauses() -> None:
    row, pauses = lease(state=LeaseState.LAUNCHING, attempt=attempt()), []
    for _ in range(8):
        action = act(row)
        assert isinstance(action, Launch)
        assert (action.attempt.id, action.attempt.offer) == ("at_1", A)
        assert action.attempt.retry_at
        pauses.append((action.attempt.retry_at - NOW) / S)
        waiting = replace(action.lease, attempt=action.attempt)
        assert isinstance(act(waiting), Nothing)
        row = replace(waiting, attempt=replace(action.attempt, retry_at=NOW))
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]


def test_a_machine_with_the_attempts_id_is_adopted_and_costs_since_it_was_made() -> None:
    action = act(lease(state=LeaseState.LAUNCHING, attempt=attempt()), machine())
    assert isinstance(action, Save)
    assert action.lease.state is LeaseState.STARTING
    assert action.lease.attempt
    assert action.lease.attempt.instance_id == "i-1"
    assert action.lease.attempt.launched_at == OLD


def test_a_wrong_clock_of_the_cloud_cannot_make_a_machine_older_than_its_attempt() -> None:
    row = lease(state=LeaseState.LAUNCHING, attempt=attempt())
    for theirs, ours in ((START, OLD), (NOW + 99 * S, NOW), (None, NOW)):
        action = act(row, machine(launched_at=theirs))
        assert isinstance(action, Save)
        assert action.lease.attempt
        assert action.lease.attempt.launched_at == ours


def test_of_two_machines_of_one_token_a_living_one_is_adopted() -> None:
    gone = machine(InstanceState.GONE, id="i-0")
    action = act(lease(attempt=attempt()), gone, machine(id="i-9"), machine(id="i-5"))
    assert isinstance(action, Save)
    assert action.lease.attempt
    assert action.lease.attempt.instance_id == "i-5"


def test_nothing_is_decided_while_the_cloud_cannot_be_listed() -> None:
    for row in (held(), held(wanted=False), lease(attempt=attempt()), held(LeaseState.STARTING)):
        assert isinstance(act(row, listings={"other": []}), Nothing)


def test_an_unknown_launch_that_is_not_wanted_is_let_go_after_the_grace() -> None:
    fresh = lease(wanted=False, attempt=attempt(tried_at=NOW - 29 * S))
    closing = act(fresh)
    assert isinstance(closing, Save)
    assert closing.lease.state is LeaseState.CLOSING
    assert isinstance(act(closing.lease), Nothing)
    closed = act(lease(wanted=False, attempt=attempt(tried_at=NOW - 30 * S)))
    assert isinstance(closed, Save)
    assert closed.lease.state is LeaseState.CLOSED
    never_tried = act(lease(wanted=False, attempt=attempt(tried_at=None)))
    assert isinstance(never_tried, Save)
    assert never_tried.lease.state is LeaseState.CLOSED


def test_an_unknown_launch_that_shows_itself_unwanted_is_ended() -> None:
    adopted = act(lease(wanted=False, attempt=attempt()), machine())
    assert isinstance(adopted, Save)
    assert adopted.lease.state is LeaseState.CLOSING
    assert isinstance(act(adopted.lease, machine()), Terminate)


# ------------------------------------------------------------------------------- with a machine


def test_a_listed_machine_makes_the_lease_run_once() -> None:
    action = act(held(LeaseState.STARTING), machine())
    assert isinstance(action, Save)
    assert action.lease.state is LeaseState.RUNNING
    assert isinstance(act(action.lease, machine()), Nothing)
    assert isinstance(act(held(LeaseState.STARTING), machine(InstanceState.PENDING)), Nothing)


def test_a_young_machine_that_is_not_listed_is_not_gone() -> None:
    young = attempt(instance_id="i-1", launched_at=NOW - 29 * S)
    assert isinstance(act(held(attempt=young)), Nothing)
    assert isinstance(act(held(attempt=young, wanted=False)), Terminate)


def test_a_lost_machine_is_recovered_elsewhere_and_its_offer_comes_last() -> None:
    words = machine(InstanceState.GONE, reason="spot capacity was reclaimed")
    for action in (act(held()), act(held(), words), act(held(), machine(id="i-2"))):
        assert isinstance(action, Save)
        row = action.lease
        assert (row.state, row.attempt, row.preemptions) == (LeaseState.PENDING, None, 1)
        assert row.candidates == (B, FAR, A)
        assert row.usd_spent == Decimal("0.166667")
        assert action.note
        assert action.note.kind == "lease.preempted"
    assert "spot capacity was reclaimed" in str(act(held(), words))


def test_what_was_sold_out_stays_known_over_a_preemption() -> None:
    action = act(held(failed={B.key: "sold out"}))
    assert isinstance(action, Save)
    assert action.lease.failed == {B.key: "sold out"}


def test_a_machine_is_ended_again_and_again_until_the_cloud_says_that_it_is_gone() -> None:
    first = act(held(wanted=False), machine())
    assert isinstance(first, Terminate)
    assert (first.instance_id, first.lease.state) == ("i-1", LeaseState.CLOSING)
    assert first.note
    assert first.lease.attempt
    assert isinstance(act(first.lease, machine()), Nothing)
    later = replace(first.lease, attempt=replace(first.lease.attempt, retry_at=NOW))
    second = act(later, machine(InstanceState.STOPPING))
    assert isinstance(second, Terminate)
    assert second.note is None
    assert second.lease.attempt
    assert second.lease.attempt.retry_at == NOW + 2 * S
    closed = act(later, machine(InstanceState.GONE))
    assert isinstance(closed, Save)
    assert closed.lease.state is LeaseState.CLOSED
    assert closed.lease.usd_spent == Decimal("0.166667")


def test_a_machine_that_stops_by_itself_is_ended_and_then_recovered() -> None:
    action = act(held(), machine(InstanceState.STOPPING))
    assert isinstance(action, Terminate)
    assert action.lease.state is LeaseState.RUNNING
    assert action.note
    assert action.note.kind == "lease.ending"
    after = act(action.lease, machine(InstanceState.GONE))
    assert isinstance(after, Save)
    assert after.lease.preemptions == 1


def test_a_machine_that_is_given_up_is_gone_before_another_one_is_asked_for() -> None:
    given_up = converge.abandon(held(), "its agent was not heard for 600 s").lease
    ending = act(given_up, machine())
    assert isinstance(ending, Terminate)
    assert isinstance(act(ending.lease, machine(InstanceState.STOPPING)), Nothing)
    replaced = act(ending.lease, machine(InstanceState.GONE))
    assert isinstance(replaced, Save)
    assert replaced.lease.failed == {A.key: "its agent was not heard for 600 s"}
    following = act(replaced.lease)
    assert isinstance(following, Launch)
    assert following.attempt.offer == B
    assert replaced.lease.preemptions == 0


def test_an_unknown_price_costs_nothing_that_we_could_name() -> None:
    free = attempt(offer=make_offer("eu-1a", usd=None), instance_id="i-1", launched_at=OLD)
    assert converge.cost(held(attempt=free), NOW) == 0
    assert converge.cost(held(usd_spent=Decimal(2)), NOW) == Decimal("2.166667")
    assert converge.cost(lease(usd_spent=Decimal(2)), NOW) == 2
    assert converge.cost(held(usd_spent=Decimal(2), closed_at=NOW), NOW) == 2
    assert converge.cost(held(), START) == 0


# -------------------------------------------------------------------------- folding outcomes


def test_a_made_machine_is_starting_from_now() -> None:
    save = converge.launched(lease(attempt=attempt(), reason="x"), machine(), NOW)
    assert save.lease.state is LeaseState.STARTING
    assert save.lease.attempt
    assert save.lease.attempt.launched_at == NOW
    assert save.lease.reason == ""
    unwanted = lease(state=LeaseState.CLOSING, wanted=False, attempt=attempt())
    assert converge.launched(unwanted, machine(), NOW).lease.state is LeaseState.CLOSING


def test_a_refusal_frees_the_lease_for_the_next_offer() -> None:
    save = converge.refused(lease(attempt=attempt()), CapacityError("sold out"), NOW)
    assert (save.lease.attempt, save.lease.state) == (None, LeaseState.PENDING)
    assert save.lease.failed == {A.key: "sold out"}
    unwanted = lease(state=LeaseState.CLOSING, wanted=False, attempt=attempt())
    after = converge.refused(unwanted, CapacityError("sold out"), NOW).lease
    assert after.state is LeaseState.CLOSING


def test_a_refusal_says_nothing_about_an_earlier_request_without_an_answer() -> None:
    row = lease(state=LeaseState.LAUNCHING, attempt=attempt(tries=2))
    doubtful = converge.refused(row, AuthError("the token has expired"), NOW).lease
    assert doubtful.attempt
    assert doubtful.attempt.id == "at_1"
    assert isinstance(act(doubtful), Nothing)
    adopted = act(doubtful, machine())
    assert isinstance(adopted, Save)
    assert adopted.lease.attempt
    assert adopted.lease.attempt.abandoned == ""
    late = replace(doubtful, attempt=replace(doubtful.attempt, tried_at=NOW - 30 * S))
    dropped = act(late)
    assert isinstance(dropped, Save)
    assert dropped.lease.attempt is None
    assert dropped.lease.failed == {A.key: "the token has expired"}


def test_an_unknown_outcome_is_told_once() -> None:
    first = converge.uncertain(lease(attempt=attempt()), "reset", NOW)
    assert first.note
    assert first.lease.attempt
    assert first.lease.attempt.retry_at == NOW + S
    assert first.lease.reason == "outcome unknown: reset"
    assert converge.uncertain(lease(attempt=attempt(tries=2)), "reset", NOW).note is None


def test_a_failed_end_is_told_once() -> None:
    first = converge.unconfirmed(held(), "access denied")
    assert first.note
    assert converge.unconfirmed(first.lease, "access denied").note is None


# ---------------------------------------------------------------------------------------- totality

moments = st.integers(-700, 700).map(lambda seconds: NOW + seconds * S)
attempts = st.builds(
    Attempt,
    id=st.sampled_from(["at_1", "at_2"]),
    offer=st.sampled_from([A, B, FAR]),
    created_at=moments,
    instance_id=st.sampled_from([None, "i-1", "i-2"]),
    launched_at=st.none() | moments,
    terminate_asked_at=st.none() | moments,
    retry_at=st.none() | moments,
    tries=st.integers(0, 99),
    tried_at=st.none() | moments,
    abandoned=st.sampled_from(["", "silent"]),
)
leases = st.builds(
    Lease,
    id=st.just("ls_1"),
    run_id=st.just("run_1"),
    role=st.just("task"),
    rank=st.just(0),
    candidates=st.lists(st.sampled_from([A, B, FAR]), unique_by=lambda one: one.key).map(tuple),
    created_at=moments,
    wanted=st.booleans(),
    state=st.sampled_from(LeaseState),
    attempt=st.none() | attempts,
    failed=st.dictionaries(st.sampled_from([A.key, B.key, FAR.key]), st.just("no")),
    preemptions=st.integers(0, 3),
    forgiven=st.integers(0, 3),
)
machines = st.lists(
    st.builds(
        Instance,
        id=st.sampled_from(["i-1", "i-2"]),
        cloud=st.just("sim"),
        region=st.just("eu-1"),
        attempt_id=st.sampled_from(["at_1", "at_2"]),
        lease_id=st.just("ls_1"),
        state=st.sampled_from(InstanceState),
        launched_at=st.none() | moments,
    ),
    max_size=3,
)
worlds = st.dictionaries(st.sampled_from(["sim", "other"]), machines)


@given(row=leases, listings=worlds)
def test_every_state_has_an_action_and_the_action_is_safe(row: Lease, listings: Any) -> None:
    action = step(row, sightings(listings), NOW, "at_new")
    after = action.lease
    if isinstance(action, Launch):
        assert row.wanted
        assert action.attempt.offer in row.candidates or action.attempt.id != "at_new"
        assert action.attempt.offer.cloud in listings
        assert after.attempt == action.attempt
        same = row.attempt is not None and row.attempt.id == action.attempt.id
        assert same or row.attempt is None, "a token is never replaced while its outcome is unknown"
    if isinstance(action, Terminate):
        assert after.attempt
        assert after.attempt.instance_id == action.instance_id
    if row.attempt and row.attempt.offer.cloud not in listings:
        assert isinstance(action, Nothing), "unknown is not absent"
    if isinstance(action, Nothing):
        assert after is row
    if row.attempt and after.attempt is None:
        alive = [
            item
            for item in listings[row.attempt.offer.cloud]
            if item.attempt_id == row.attempt.id
            and item.id == row.attempt.instance_id
            and item.state is not InstanceState.GONE
        ]
        assert not alive, "an attempt is dropped only when its machine is gone"
    assert set(after.candidates) == set(row.candidates)
