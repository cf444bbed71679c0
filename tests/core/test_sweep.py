"""Law: a machine of ours without an open lease is ended, in time, and nothing else ever is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.ids import new_id
from broker.model import Attempt, Instance, InstanceState, Lease, LeaseState
from broker.sweep import Ledger, Verdict, sweep
from tests.core.stage import START, make_offer

S = timedelta(seconds=1)
GRACE = 30 * S
NOW = START + 3600 * S
OFFER = make_offer("eu-1a")


def lease_id(minutes: int) -> str:
    return new_id("ls", START + timedelta(minutes=minutes), b"12345")


def lease(state: LeaseState = LeaseState.RUNNING, **more: Any) -> Lease:
    attempt = Attempt("at_1", OFFER, START, instance_id="i-1")
    row = Lease(lease_id(5), "run_1", "task", 0, (OFFER,), START, state=state, attempt=attempt)
    return replace(row, **more)


def machine(name: str = "i-1", **more: Any) -> Instance:
    item = Instance(name, "sim", "eu-1", "at_1", lease_id(5), InstanceState.RUNNING, START)
    return replace(item, **more)


def ledger(*leases: Lease) -> Ledger:
    return Ledger({one.id: one for one in leases}, lease_id(0), lease_id(60))


def twice(found: list[Instance], known: Ledger, before: Any = None) -> Verdict:
    first = sweep({"sim": found}, known, before or {}, NOW, GRACE)
    assert first.condemned == ()
    return sweep({"sim": found}, known, first.suspects, NOW + 60 * S, GRACE)


def ended(verdict: Verdict) -> list[str]:
    return [one.instance.id for one in verdict.condemned]


@pytest.mark.parametrize(
    ("row", "item", "why"),
    [
        (lease(LeaseState.CLOSED), machine(), "its lease is closed"),
        (lease(LeaseState.FAILED), machine(), "its lease is failed"),
        (lease(attempt=None), machine(), "its lease has moved on to another attempt"),
        (lease(), machine(attempt_id="at_0"), "its lease has moved on to another attempt"),
        (lease(), machine("i-2"), "its lease holds i-1"),
        (lease(id=lease_id(7)), machine(), "the ledger does not know its lease"),
    ],
)
def test_a_machine_that_no_open_lease_holds_is_ended(row: Lease, item: Instance, why: str) -> None:
    verdict = twice([item], ledger(row))
    assert [(one.instance, one.why) for one in verdict.condemned] == [(item, why)]


def test_a_machine_that_a_lease_holds_or_may_still_adopt_is_spared() -> None:
    unknown = lease(attempt=Attempt("at_1", OFFER, START))
    for row in (lease(), unknown, lease(LeaseState.CLOSING)):
        assert ended(twice([machine()], ledger(row))) == []
    assert ended(twice([machine(state=InstanceState.GONE)], ledger())) == []


def test_one_sighting_is_not_enough_and_a_suspect_that_was_cleared_starts_anew() -> None:
    closed, held = ledger(lease(LeaseState.CLOSED)), ledger(lease())
    first = sweep({"sim": [machine()]}, closed, {}, NOW, GRACE)
    cleared = sweep({"sim": [machine()]}, held, first.suspects, NOW, GRACE)
    assert cleared.suspects == {}
    assert ended(sweep({"sim": [machine()]}, closed, cleared.suspects, NOW, GRACE)) == []


def test_a_cloud_that_cannot_be_listed_keeps_its_suspects() -> None:
    closed = ledger(lease(LeaseState.CLOSED))
    first = sweep({"sim": [machine()]}, closed, {}, NOW, GRACE)
    blind = sweep({}, closed, first.suspects, NOW, GRACE)
    assert blind.suspects == first.suspects
    assert ended(sweep({"sim": [machine()]}, closed, blind.suspects, NOW, GRACE)) == ["i-1"]


def test_a_young_machine_is_spared_by_whichever_clock_made_it() -> None:
    closed = ledger(lease(LeaseState.CLOSED))
    for born in (NOW, NOW + 999 * S, None):
        found = {"sim": [machine(launched_at=born)]}
        first = sweep(found, closed, {}, NOW, GRACE)
        assert ended(sweep(found, closed, first.suspects, NOW + 29 * S, GRACE)) == []
        assert ended(sweep(found, closed, first.suspects, NOW + 30 * S, GRACE)) == ["i-1"]


def test_the_end_is_asked_for_again_only_after_the_grace() -> None:
    closed = ledger(lease(LeaseState.CLOSED))
    verdict = twice([machine()], closed)
    found, at = {"sim": [machine()]}, NOW + 60 * S
    assert ended(sweep(found, closed, verdict.suspects, at + 29 * S, GRACE)) == []
    assert ended(sweep(found, closed, verdict.suspects, at + 30 * S, GRACE)) == ["i-1"]


def test_an_empty_ledger_ends_nothing() -> None:
    verdict = twice([machine()], Ledger({}))
    assert ended(verdict) == []
    assert verdict.fuse == "the ledger is empty, yet 1 machines carry our tag; nothing is ended"


@pytest.mark.parametrize("minutes", [-1, 61])
def test_a_machine_from_before_or_after_this_ledger_stops_the_sweep(minutes: int) -> None:
    """The ledger was made anew, or is a copy from before the machine's lease."""
    stranger = machine("i-9", lease_id=lease_id(minutes))
    closed = machine()
    verdict = twice([stranger, closed], ledger(lease(LeaseState.CLOSED)))
    assert ended(verdict) == []
    assert "the ledger was replaced or restored" in verdict.fuse


def test_an_id_that_is_not_ours_says_nothing_about_the_ledger() -> None:
    assert ended(twice([machine(lease_id="forged")], ledger(lease()))) == ["i-1"]


@pytest.mark.parametrize(
    ("count", "total", "spared"), [(3, 3, False), (4, 4, True), (5, 100, False), (6, 100, True)]
)
def test_many_strangers_at_once_blow_the_fuse(count: int, total: int, spared: bool) -> None:
    strangers = [machine(f"i-{n}", lease_id=lease_id(7)) for n in range(count)]
    held = [machine() for _ in range(total - count)]
    verdict = twice([*strangers, *held], ledger(lease()))
    assert len(verdict.condemned) == (0 if spared else count)
    assert bool(verdict.fuse) is spared


def test_many_machines_of_closed_leases_are_ended_a_few_at_a_time() -> None:
    """The ledger knows them, so they are orphans; a bug of ours still cannot end all at once."""
    closed, found = ledger(lease(LeaseState.CLOSED)), [machine(f"i-{n}") for n in range(10)]
    before, gone, at = sweep({"sim": found}, closed, {}, NOW, GRACE).suspects, [], NOW
    for _ in range(4):
        at += 60 * S
        verdict = sweep({"sim": found}, closed, before, at, GRACE)
        assert 1 <= len(verdict.condemned) <= 3
        gone += ended(verdict)
        found, before = [one for one in found if one.id not in gone], verdict.suspects
    assert len(gone) == 10


def test_known_orphans_are_ended_beside_strangers_that_blow_the_fuse() -> None:
    strangers = [machine(f"i-{n}", lease_id=lease_id(7)) for n in range(4)]
    verdict = twice([*strangers, machine("i-9")], ledger(lease(LeaseState.CLOSED)))
    assert ended(verdict) == ["i-9"]
    assert verdict.fuse
