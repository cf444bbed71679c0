"""Carrying out one action for one lease: write the intent, do it, write what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from broker import converge
from broker.actions import Action, Launch, Note, Nothing, Save, Terminate
from broker.converge import Limits, Seen
from broker.errors import AuthError, BrokerError, CapacityError, NotFoundError, RequestError
from broker.failpoints import failpoint
from broker.journal import Journal
from broker.model import FINAL, Attempt, Lease, Row
from broker.ports import Provider

DEFINITE = (CapacityError, AuthError, RequestError)  # nothing was made: another offer may be tried
CONFLICT_TRIES = 5

Fold = Callable[[Lease], Save]


@dataclass(frozen=True, slots=True)
class Effects:
    """What the engine may do to the world on behalf of a lease. Safe to use from many threads."""

    journal: Journal
    providers: Mapping[str, Provider]
    user_data: Callable[[Lease], str]
    limits: Limits

    def next_action(self, lease: Lease, seen: Seen, now: datetime) -> Action:
        """`now` is a moment at which `seen` was true."""
        return converge.step(lease, seen, now, self.journal.new_token(), self.limits)

    def carry_out(self, action: Action, seen: Seen) -> None:
        """Do it. A definite refusal is followed by the next candidate at once."""
        while not isinstance(action, Nothing):
            lease = self._write(action)
            if lease is None or isinstance(action, Save):
                return
            if isinstance(action, Terminate):
                self._terminate(lease, action.instance_id)
                return
            after = self._launch(lease, action.attempt)
            if after is None or after.attempt is not None or not after.wanted:
                return
            action = self.next_action(after, seen, self.journal.now())

    def _launch(self, lease: Lease, attempt: Attempt) -> Lease | None:
        """Ask for the machine; returns the lease with the outcome written into it."""
        fold = self._ask(lease, attempt)
        return self._fold(lease, fold)

    def _ask(self, lease: Lease, attempt: Attempt) -> Fold:
        now = self.journal.now
        try:
            user_data = self.user_data(lease)
            failpoint("launch.before-call")
            machine = self.providers[attempt.offer.cloud].launch(
                attempt.offer, attempt.id, lease.id, user_data
            )
            failpoint("launch.after-call")
        except DEFINITE as error:
            refusal = error
            return lambda row: converge.refused(row, refusal, now())
        except Exception as error:  # noqa: BLE001 - whatever else it is, the machine may exist
            words = _words(error)
            return lambda row: converge.uncertain(row, words, now(), self.limits)
        return lambda row: converge.launched(row, machine, now())

    def _terminate(self, lease: Lease, instance_id: str) -> None:
        """Ask for the end. Only a later listing confirms it, so "not found" says nothing here."""
        assert lease.attempt is not None
        try:
            failpoint("terminate.before-call")
            self.providers[lease.attempt.offer.cloud].terminate(instance_id)
            failpoint("terminate.after-call")
        except NotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - asked for again; the words are kept
            words = _words(error)
            self._fold(lease, lambda row: converge.unconfirmed(row, words))

    def _fold(self, lease: Lease, fold: Fold) -> Lease | None:
        """Write an outcome, also over a change that somebody made to the lease meanwhile.

        None when the lease no longer holds that attempt: the sweep ends what it made.
        """
        assert lease.attempt is not None
        attempt_id = lease.attempt.id
        for _ in range(CONFLICT_TRIES):
            saved = self._write(fold(lease), "outcome")
            if saved:
                return saved
            lease = self.journal.store.find(Lease, id=lease.id)[0]
            if lease.state in FINAL or not lease.attempt or lease.attempt.id != attempt_id:
                return None
        return None

    def _write(self, action: Save | Launch | Terminate, place: str = "") -> Lease | None:
        """The lease as stored, its event beside it; None when somebody changed it first."""
        rows: list[Row] = [action.lease]
        if action.note:
            rows.append(lease_event(self.journal, action.lease, action.note))
        saved = self.journal.write(place or type(action).__name__.lower(), *rows)
        if saved is None:
            return None
        assert isinstance(saved[0], Lease)
        return saved[0]


def lease_event(journal: Journal, lease: Lease, note: Note) -> Row:
    return journal.event(lease.id, lease.run_id, note.kind, note.message, **note.data)


def _words(error: Exception) -> str:
    if isinstance(error, BrokerError):
        return error.message
    return f"{type(error).__name__}: {error}"
