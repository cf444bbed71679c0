"""What a lease needs next, from what the ledger wants and what the clouds show. Pure.

    PENDING --choose, write the attempt--> LAUNCHING --made--> STARTING --listed running--> RUNNING
       ^  ^------- refused (definite) ---------'  |                |                           |
       |                                     unknown: same         '--------- gone: preempted -'
       |                                     token again                                       |
       '---------------------------------------------------------------------------------------'
    no candidate left -> FAILED;   not wanted -> CLOSING --terminate until confirmed--> CLOSED

Four laws. An attempt is in the ledger before its launch is asked for. Its token stays while the
outcome is unknown and goes after a definite refusal. A cloud that could not be listed has not
said that anything is gone. A machine counts as ended only when the cloud has confirmed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from broker.actions import Action, Launch, Note, Nothing, Save, Terminate
from broker.errors import BrokerError
from broker.model import (
    FINAL,
    Attempt,
    Instance,
    InstanceState,
    Lease,
    LeaseState,
    Market,
    Offer,
)

Seen = Mapping[str, Mapping[str, tuple[Instance, ...]]]
"""Cloud -> attempt id -> its machines. A cloud that could not be listed is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the broker is."""

    grace: timedelta = timedelta(seconds=30)  # a machine may exist for this long and not be listed
    backoff: tuple[int, ...] = (1, 2, 4, 8, 16, 30)  # seconds between repeats; the last one stays


def sightings(listings: Mapping[str, Iterable[Instance]]) -> Seen:
    """Listings by cloud, in the order that `step` looks them up."""
    seen: dict[str, dict[str, tuple[Instance, ...]]] = {cloud: {} for cloud in listings}
    for cloud, instances in listings.items():
        for item in instances:
            others = seen[cloud].get(item.attempt_id, ())
            seen[cloud][item.attempt_id] = (*others, item)
    return seen


def waits(lease: Lease, now: datetime) -> bool:
    """Nothing is to be done for it before its time has come."""
    early = lease.not_before is not None and now < lease.not_before
    return early and lease.attempt is None and lease.wanted and lease.state not in FINAL


def step(
    lease: Lease, seen: Seen, now: datetime, new_attempt_id: str, limits: Limits = Limits()
) -> Action:
    """The next thing to do for a lease. `new_attempt_id` names the attempt if one is begun."""
    if lease.state in FINAL:
        return Nothing(lease)
    if lease.attempt is None:
        return (
            _begin(lease, seen, now, new_attempt_id, limits)
            if lease.wanted
            else _closed(lease, now)
        )
    machines = seen.get(lease.attempt.offer.cloud)
    if machines is None:
        return Nothing(lease)
    found = machines.get(lease.attempt.id, ())
    if lease.attempt.instance_id is None:
        return _resolve(lease, lease.attempt, found, now, limits)
    return _watch(lease, lease.attempt, found, now, limits)


# ------------------------------------------------------------------------- folding what came back


def launched(lease: Lease, instance: Instance, now: datetime) -> Save:
    """The launch made this machine."""
    attempt = _attempt(lease)
    made = replace(attempt, instance_id=instance.id, launched_at=now, retry_at=None)
    state = LeaseState.STARTING if lease.wanted else lease.state
    return Save(
        replace(lease, attempt=made, state=state, reason=""),
        Note("lease.launched", f"{_name(lease)}: machine {instance.id} in {attempt.offer.key}"),
    )


def refused(lease: Lease, error: BrokerError, now: datetime) -> Save:
    """Definite: this request made nothing. Another offer is next, under a new token.

    When an earlier request of the attempt had no answer, that one may still have made a machine:
    the attempt is given up only when no listing has shown one for the grace.
    """
    attempt = _attempt(lease)
    note = Note(
        "lease.refused",
        f"{_name(lease)}: {attempt.offer.key} refused: {error.message}",
        {"offer": attempt.offer.key, "error": error.title},
    )
    if attempt.tries > 1:
        doubtful = replace(attempt, abandoned=error.message, tried_at=now)
        return Save(replace(lease, attempt=doubtful, reason=error.message), note)
    return Save(_without(lease, attempt, error.message), note)


def uncertain(lease: Lease, words: str, now: datetime, limits: Limits = Limits()) -> Save:
    """It may have been made: the attempt stays, and will be asked for again with the same token."""
    attempt = _attempt(lease)
    again = replace(attempt, tried_at=now, retry_at=_after(attempt.tries, now, limits))
    note = Note("lease.uncertain", f"{_name(lease)}: outcome unknown, asking again: {words}")
    return Save(
        replace(lease, attempt=again, reason=f"outcome unknown: {words}"),
        note if attempt.tries == 1 else None,
    )


def unconfirmed(lease: Lease, words: str) -> Save:
    """Asking for the end failed. It is asked for again; the words are told once."""
    note = Note("lease.unconfirmed", f"{_name(lease)}: could not end its machine yet: {words}")
    return Save(replace(lease, reason=words), None if lease.reason == words else note)


def abandon(lease: Lease, why: str) -> Save:
    """Give the machine up: `step` ends it, waits for the confirmation, then takes another offer."""
    given_up = replace(_attempt(lease), abandoned=why, retry_at=None)
    return Save(
        replace(lease, attempt=given_up, reason=why),
        Note("lease.abandoned", f"{_name(lease)}: {given_up.offer.key} is given up: {why}"),
    )


def cost(lease: Lease, now: datetime) -> Decimal:
    """What the lease has cost in USD up to now, at list price, the running machine included."""
    if lease.attempt is None or lease.closed_at is not None:
        return lease.usd_spent
    return lease.usd_spent + _cost_of(lease.attempt, now)


# ----------------------------------------------------------------------------- without an attempt


def _begin(lease: Lease, seen: Seen, now: datetime, new_id: str, limits: Limits) -> Action:
    """Choose the best candidate that has not refused and whose cloud could be listed."""
    if waits(lease, now):
        return Nothing(lease)
    left = [
        offer
        for offer in lease.candidates
        if offer.key not in lease.failed and not _barred(lease, offer)
    ]
    if not left:
        return _exhausted(lease, now)
    offer = next((offer for offer in left if offer.cloud in seen), None)
    if offer is None:
        return _blocked(lease, sorted({offer.cloud for offer in left}))
    pause = _after(1, now, limits)
    attempt = Attempt(new_id, offer, now, tries=1, tried_at=now, retry_at=pause)
    return Launch(
        replace(lease, state=LeaseState.LAUNCHING, attempt=attempt, reason=""),
        attempt,
        Note("lease.launching", f"{_name(lease)}: asking for {offer.key}", {"offer": offer.key}),
    )


def _barred(lease: Lease, offer: Offer) -> bool:
    """A spot machine, after as many have been taken away as the policy lets a lease lose."""
    most = lease.max_preemptions
    return most is not None and lease.preemptions >= most and offer.market is Market.SPOT


def _blocked(lease: Lease, clouds: list[str]) -> Action:
    reason = f"waiting for {', '.join(clouds)}: its machines cannot be listed"
    return Nothing(lease) if lease.reason == reason else Save(replace(lease, reason=reason))


def _exhausted(lease: Lease, now: datetime) -> Action:
    """After a preemption, what was sold out is asked once more; then the lease has failed."""
    if lease.forgiven < lease.preemptions:
        return Save(replace(lease, failed={}, forgiven=lease.preemptions))
    found = [f"{key}: {why}" for key, why in lease.failed.items()]
    if any(_barred(lease, offer) for offer in lease.candidates):
        found.append(f"no more spot after {lease.preemptions} preemptions")
    words = "; ".join(found)
    reason = f"no capacity: {words}" if words else "no capacity: no offer is allowed"
    return Save(
        replace(lease, state=LeaseState.FAILED, reason=reason, closed_at=now),
        Note("lease.failed", f"{_name(lease)}: {reason}"),
    )


def _closed(lease: Lease, now: datetime) -> Save:
    return Save(
        replace(lease, state=LeaseState.CLOSED, closed_at=now),
        Note("lease.closed", f"{_name(lease)}: closed"),
    )


# ------------------------------------------------------------------- while the outcome is unknown


def _resolve(
    lease: Lease, attempt: Attempt, found: tuple[Instance, ...], now: datetime, limits: Limits
) -> Action:
    """Adopt the machine when it is listed; else ask again with the same token, or let it go.

    Of several (the cloud ignored the token) one that lives, the first by id.
    """
    if found:
        best = min(found, key=lambda item: (item.state is InstanceState.GONE, item.id))
        return _adopt(lease, attempt, best, now)
    if not lease.wanted or attempt.abandoned:
        return _let_go(lease, attempt, now, limits)
    if not _due(attempt, now):
        return Nothing(lease)
    again = replace(
        attempt,
        tries=attempt.tries + 1,
        tried_at=now,
        retry_at=_after(attempt.tries + 1, now, limits),
    )
    return Launch(replace(lease, state=LeaseState.LAUNCHING, attempt=again), again)


def _adopt(lease: Lease, attempt: Attempt, machine: Instance, now: datetime) -> Save:
    """The lost reply is found again. It costs since the cloud made it, but not before we asked."""
    since = min(now, max(attempt.created_at, machine.launched_at or now))
    ours = replace(attempt, instance_id=machine.id, launched_at=since, retry_at=None, abandoned="")
    state = LeaseState.STARTING if lease.wanted else LeaseState.CLOSING
    return Save(
        replace(lease, attempt=ours, state=state, reason=""),
        Note("lease.adopted", f"{_name(lease)}: machine {machine.id} was made after all"),
    )


def _let_go(lease: Lease, attempt: Attempt, now: datetime, limits: Limits) -> Action:
    """Not asked for again and never seen: it is not there when it would have been listed by now.

    A request that arrives later still makes an orphan; the sweep ends it.
    """
    late = now - (attempt.tried_at or attempt.created_at) >= limits.grace
    if lease.wanted:
        return Save(_without(lease, attempt, attempt.abandoned)) if late else Nothing(lease)
    if late:
        return _closed(lease, now)
    if lease.state is LeaseState.CLOSING:
        return Nothing(lease)
    return Save(
        replace(lease, state=LeaseState.CLOSING, reason="waiting for a launch to show itself")
    )


# ---------------------------------------------------------------------------- with a known machine


def _watch(
    lease: Lease, attempt: Attempt, found: tuple[Instance, ...], now: datetime, limits: Limits
) -> Action:
    """Not listed means gone, except for a machine so young that a listing may not show it yet."""
    machine = next((item for item in found if item.id == attempt.instance_id), None)
    if machine is None and _may_be_unseen(attempt, now, limits):
        return _keep(lease, attempt, InstanceState.PENDING, now, limits)
    if machine is None or machine.state is InstanceState.GONE:
        return _ended(lease, attempt, machine, now)
    return _keep(lease, attempt, machine.state, now, limits)


def _keep(
    lease: Lease, attempt: Attempt, state: InstanceState, now: datetime, limits: Limits
) -> Action:
    """The machine is there: end it when it is not wanted, note that it runs when it does."""
    if not lease.wanted or attempt.abandoned or state is InstanceState.STOPPING:
        return _end(lease, attempt, now, limits)
    if state is not InstanceState.RUNNING or lease.state is LeaseState.RUNNING:
        return Nothing(lease)
    return Save(
        replace(lease, state=LeaseState.RUNNING, reason=""),
        Note("lease.running", f"{_name(lease)}: {attempt.instance_id} runs in {attempt.offer.key}"),
    )


def _end(lease: Lease, attempt: Attempt, now: datetime, limits: Limits) -> Action:
    """Ask for the end of the machine, again and again, until the cloud shows that it is gone.

    A machine that stops by itself is ended too: a stopped disk costs, and nobody will start it.
    """
    if attempt.terminate_asked_at is not None and not _due(attempt, now):
        return Nothing(lease)
    assert attempt.instance_id is not None
    first = attempt.terminate_asked_at is None
    tries = 1 if first else attempt.tries + 1
    asked = replace(
        attempt, terminate_asked_at=now, tries=tries, retry_at=_after(tries, now, limits)
    )
    state = lease.state if lease.wanted else LeaseState.CLOSING
    kind = "lease.ending" if lease.wanted else "lease.closing"
    note = Note(kind, f"{_name(lease)}: ending {attempt.instance_id}") if first else None
    return Terminate(replace(lease, attempt=asked, state=state), attempt.instance_id, note)


def _ended(lease: Lease, attempt: Attempt, machine: Instance | None, now: datetime) -> Save:
    """The cloud has confirmed that the machine is gone."""
    spent = lease.usd_spent + _cost_of(attempt, now)
    settled = replace(lease, usd_spent=spent)
    if not lease.wanted:
        return _closed(settled, now)
    if attempt.abandoned:
        words = f"{_name(lease)}: {attempt.instance_id} is gone, taking another"
        without = _without(settled, attempt, attempt.abandoned)
        return Save(without, Note("lease.replacing", words))
    return _preempted(settled, attempt, (machine and machine.reason) or "it is no longer listed")


def _preempted(lease: Lease, attempt: Attempt, words: str) -> Save:
    """Recover: the offer that was lost goes to the end of the candidates."""
    others = tuple(offer for offer in lease.candidates if offer.key != attempt.offer.key)
    again = tuple(offer for offer in lease.candidates if offer.key == attempt.offer.key)
    return Save(
        replace(
            lease,
            attempt=None,
            state=LeaseState.PENDING,
            candidates=(*others, *again),
            preemptions=lease.preemptions + 1,
            reason=f"preempted: {words}",
        ),
        Note(
            "lease.preempted",
            f"{_name(lease)}: {attempt.instance_id} in {attempt.offer.key} is gone: {words}",
            {"offer": attempt.offer.key, "instance": attempt.instance_id},
        ),
    )


# ----------------------------------------------------------------------------------- small answers


def _without(lease: Lease, attempt: Attempt, why: str) -> Lease:
    """The lease after an offer that it does not try again."""
    state = LeaseState.PENDING if lease.wanted else lease.state
    failed = {**lease.failed, attempt.offer.key: why}
    return replace(lease, attempt=None, state=state, failed=failed, reason=why)


def _may_be_unseen(attempt: Attempt, now: datetime, limits: Limits) -> bool:
    """It is younger than a listing may be late."""
    return attempt.launched_at is not None and now - attempt.launched_at < limits.grace


def _due(attempt: Attempt, now: datetime) -> bool:
    return attempt.retry_at is None or now >= attempt.retry_at


def _after(tries: int, now: datetime, limits: Limits) -> datetime:
    pause = limits.backoff[min(tries, len(limits.backoff)) - 1]
    return now + timedelta(seconds=pause)


def _cost_of(attempt: Attempt, now: datetime) -> Decimal:
    """USD from the launch to `now`, to a millionth; an unknown price counts as nothing."""
    if attempt.offer.price is None or attempt.launched_at is None:
        return Decimal(0)
    microseconds = max(0, (now - attempt.launched_at) // timedelta(microseconds=1))
    usd = attempt.offer.price.usd_per_hour * microseconds / 3_600_000_000
    return usd.quantize(Decimal("0.000001"))


def _attempt(lease: Lease) -> Attempt:
    assert lease.attempt is not None, f"{lease.id} has no attempt"
    return lease.attempt


def _name(lease: Lease) -> str:
    offers = [lease.attempt.offer] if lease.attempt else lease.candidates
    names = [offer.region for offer in offers if offer.node_id]  # an edge node's own name
    return f"{lease.role} {names[0] if names else lease.rank}"
