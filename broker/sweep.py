"""Machines that carry our tag and belong to no open lease. Pure.

A suspect is condemned when two consecutive listings show it and it is older than the grace. The
fuse keeps a lost or replaced ledger from looking like a cloud full of orphans: leases are never
deleted, so a machine whose lease the ledger does not know says more about the ledger than about
the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.ids import made_at
from broker.model import FINAL, Instance, InstanceState, Lease

Key = tuple[str, str]  # cloud, instance id


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the sweep must know of the ledger, read after the clouds were listed.

    `leases` holds those that the machines name, by id; `first` and `last` are the smallest and the
    largest id of any lease in it, "" when it has none.
    """

    leases: Mapping[str, Lease]
    first: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A machine without an open lease. `known`: the ledger has its lease, so it is ours to end."""

    instance: Instance
    why: str
    known: bool
    since: datetime  # when it was first seen without a lease
    asked_at: datetime | None = None  # when its end was last asked for

    @property
    def key(self) -> Key:
        return self.instance.cloud, self.instance.id


@dataclass(frozen=True, slots=True)
class Verdict:
    """`condemned` are to be ended now; `suspects` go into the next sweep; `fuse` says why not."""

    condemned: tuple[Suspect, ...]
    suspects: Mapping[Key, Suspect]
    fuse: str = ""


def sweep(
    listings: Mapping[str, Iterable[Instance]],
    ledger: Ledger,
    before: Mapping[Key, Suspect],
    now: datetime,
    grace: timedelta,
) -> Verdict:
    """Judge every listed machine. Suspects in a cloud that could not be listed stay suspects."""
    alive = [
        item
        for cloud in sorted(listings)
        for item in listings[cloud]
        if item.state is not InstanceState.GONE
    ]
    found = [
        _suspect(item, why, ledger, before, now)
        for item in alive
        if (why := _orphaned(item, ledger))
    ]
    unseen = {key: one for key, one in before.items() if key[0] not in listings}
    due = [one for one in found if one.key in before and _due(one, now, grace)]
    condemned, fuse = _fused(due, ledger, max(3, len(alive) // 20))
    asked = {one.key: replace(one, asked_at=now) for one in condemned}
    return Verdict(condemned, {**unseen, **{one.key: one for one in found}, **asked}, fuse)


def _orphaned(item: Instance, ledger: Ledger) -> str:
    """Why no open lease holds this machine; "" when one does."""
    lease = ledger.leases.get(item.lease_id)
    if lease is None:
        return "the ledger does not know its lease"
    if lease.state in FINAL:
        return f"its lease is {lease.state}"
    if lease.attempt is None or lease.attempt.id != item.attempt_id:
        return "its lease has moved on to another attempt"
    if lease.attempt.instance_id not in (None, item.id):
        return f"its lease holds {lease.attempt.instance_id}"
    return ""


def _suspect(
    item: Instance, why: str, ledger: Ledger, before: Mapping[Key, Suspect], now: datetime
) -> Suspect:
    earlier = before.get((item.cloud, item.id))
    known = item.lease_id in ledger.leases
    if earlier:
        return replace(earlier, instance=item, why=why, known=known)
    return Suspect(item, why, known, since=now)


def _due(one: Suspect, now: datetime, grace: timedelta) -> bool:
    """Old enough, by the cloud's clock or by ours, and not asked for a moment ago."""
    born = min(one.since, one.instance.launched_at or one.since)
    quiet = one.asked_at is None or now - one.asked_at >= grace
    return quiet and now - born >= grace


def _fused(due: list[Suspect], ledger: Ledger, most: int) -> tuple[tuple[Suspect, ...], str]:
    """Those that may be ended in one tick, and the words of the fuse when it holds some back.

    Of machines whose lease the ledger knows at most `most` are ended now, the rest in later ticks.
    """
    strangers = [one for one in due if not one.known]
    known = tuple(one for one in due if one.known)
    if words := _distrust(due, strangers, ledger):
        return (), words
    if len(strangers) > most:
        words = f"{len(strangers)} machines have leases that the ledger does not know"
        return known[:most], f"{words}; only {most} at a time are ended without asking"
    return (*strangers, *known)[:most], ""


def _distrust(due: list[Suspect], strangers: list[Suspect], ledger: Ledger) -> str:
    """Why this does not look like the ledger that made those machines; "" when it does."""
    if due and not ledger.first:
        return f"the ledger is empty, yet {len(due)} machines carry our tag; nothing is ended"
    for one in strangers:
        if _other_ledger(one.instance, ledger):
            words = (
                f"{one.instance.id} was leased before this ledger's first lease or after its last"
            )
            return f"{words}: the ledger was replaced or restored; nothing is ended"
    return ""


def _other_ledger(item: Instance, ledger: Ledger) -> bool:
    made = made_at(item.lease_id)
    return made is not None and not ledger.first < item.lease_id < ledger.last
