"""Runs by what a person types: an id, any unique prefix of one, or a name; and what belongs to them."""

from __future__ import annotations

from broker.errors import NotFoundError, UsageError
from broker.model import Lease, Order, Run
from broker.ports import Store


def run_of(store: Store, word: str) -> Run:
    """A run by id, prefix or name; a lease's id finds its run. The newest of a name wins."""
    if word.startswith("ls_"):
        leases = [lease for lease in store.find(Lease) if lease.id.startswith(word)]
        if leases:
            return store.find(Run, id=leases[0].run_id)[0]
    return _pick(store.find(Run), word)


def leases_of(store: Store, run: Run) -> list[Lease]:
    return sorted(store.find(Lease, run_id=run.id), key=lambda lease: (lease.role, lease.rank))


def orders_of(store: Store, run: Run) -> list[Order]:
    return sorted(store.find(Order, run_id=run.id), key=lambda order: order.id)


def _pick(rows: list[Run], word: str) -> Run:
    if named := [row for row in rows if row.name == word]:
        return named[-1]
    found = [row for row in rows if row.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(row.id for row in found[:5])
        raise UsageError(f"`{word}` could be {ids}", code="USE004", hint="give more of the id")
    raise NotFoundError(f"no run `{word}`", hint="`broker status --all` lists them")
