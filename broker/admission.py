"""Admitting runs against budgets and blast radii, and settling what they took.

The accounts that a plan touches are read, reserved and written in the one transaction that writes
the run: a kill between two lines loses nothing and counts nothing twice. Two admissions at once
cannot both take the last dollar, because each account's version guards it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from broker.converge import cost
from broker.errors import BrokerError, BudgetError, ConflictError, PolicyError
from broker.ids import new_id
from broker.model import (
    FINAL,
    RUN_ENDED,
    Account,
    Demand,
    Event,
    Explanation,
    Lease,
    Plan,
    Row,
    Run,
)
from broker.policy import Policy, accounts
from broker.policy.accounts import Agreed, Claim, Overdrawn
from broker.policy.rules import Budget, Rule
from broker.policy.standing import MACHINES, USD, USD_PER_HOUR, Standing
from broker.policy.windows import max_preemptions
from broker.ports import Store

FREELY = 3  # tries before an admission queues up with the others of this process
TRIES = 500  # each is lost only to somebody who was admitted or settled meanwhile
SHOWN = 5  # holders of an account in a message
_queue = threading.Lock()


def standing(store: Store | None, policy: Policy, demand: Demand, now: datetime) -> Standing:
    """What the judge must know of the ledger for this demand; without one all is untouched."""
    known = _read(store, accounts.accounts_of(policy, demand, now)) if store else []
    sums = {
        unit: {one.id: accounts.taken(one) for one in known if one.unit == unit}
        for unit in (MACHINES, USD_PER_HOUR)
    }
    left = {one.id: accounts.left(one) for one in known if one.unit == USD}
    return Standing(now, left, sums[MACHINES], sums[USD_PER_HOUR])


def forecast(
    store: Store | None, policy: Policy, agreed: Sequence[Agreed], now: datetime
) -> tuple[str, ...]:
    """What to warn of before the run is admitted: budgets of which it reaches a `warn_at`."""
    wanted = accounts.claims(policy, agreed, now)
    known = {one.id: one for one in _read(store, [claim.account for claim in wanted])}
    return tuple(words for words, _ in _warnings(wanted, known, ""))


def hard_stop(policy: Policy, agreed: Sequence[Agreed], now: datetime) -> Decimal | None:
    """The least that a budget will hold for the run, at which it is ended; None: no budget binds it."""
    usd = [one for one in accounts.claims(policy, agreed, now) if one.account.unit == USD]
    return min((one.amount for one in usd if one.amount is not None), default=None)


def admit(
    store: Store, policy: Policy, agreed: Sequence[Agreed], rows: Sequence[Row], now: datetime
) -> tuple[Row, ...]:
    """Commit a run, first of `rows`, with its leases, accounts and explanations; returns them all.

    The run's `spec["budget_usd"]` becomes the least of what it says and what is held for it, so
    that it is ended before it costs more. BudgetError BUD005: a budget has too little left;
    BUD006: nothing bounds the cost. PolicyError POL040: a blast radius is reached.
    """
    if broken := accounts.too_many_nodes(policy, agreed, now):
        raise _too_many(*broken)
    wanted = accounts.claims(policy, agreed, now)
    rows, told = _restrained(rows, policy, agreed), _explanations(rows, agreed, now)
    for attempt in range(TRIES):
        waits = attempt >= FREELY
        queue: AbstractContextManager[object] = _queue if waits else nullcontext()
        with queue:
            known = {one.id: one for one in _read(store, [claim.account for claim in wanted])}
            held = _reserved(wanted, known, rows[0].id)
            warned = _warning_events(wanted, known, rows[0].id, now)
            try:
                return store.commit(*_bounded(rows, held), *held, *told, *warned)
            except ConflictError:
                if store.find(Run, id=rows[0].id):  # it is there already, and was not changed
                    raise
    raise ConflictError(
        f"{rows[0].id} could not be admitted: others always came first", hint="try again"
    )


def settle(store: Store, now: datetime) -> int:
    """Move what ended runs held to what they really cost; how many accounts changed.

    A run has ended here when it is over and all its machines are gone, which `--keep` delays.
    Settling twice is settling once: what is not held cannot be moved.
    """
    changed = 0
    for account in store.find(Account):
        if not account.held:
            continue
        after = accounts.settle(account, _costs(store, account.held, now))
        if after == account:
            continue
        try:
            store.commit(after)
        except ConflictError:
            continue  # somebody was admitted meanwhile: the next tick settles it
        changed += 1
    return changed


# ----------------------------------------------------------------------------------------- reading


def _read(store: Store | None, empty: Iterable[Account]) -> list[Account]:
    """The accounts as the ledger has them, under today's limit; untouched ones as they are given."""
    wanted = list(empty)
    if store is None or not wanted:
        return wanted
    stored = {one.id: one for one in store.find(Account, id=[one.id for one in wanted])}
    return [replace(stored.get(one.id, one), limit=one.limit) for one in wanted]


def _costs(store: Store, runs: Iterable[str], now: datetime) -> dict[str, Decimal]:
    """What each of these runs that has ended really cost. One that is not there has taken nothing."""
    ids = list(runs)
    known = {run.id: run for run in store.find(Run, id=ids)}
    leases = store.find(Lease, run_id=ids)
    open_ones = {lease.run_id for lease in leases if lease.state not in FINAL}
    open_ones |= {run.id for run in known.values() if run.state not in RUN_ENDED}
    spent = {name: Decimal(0) for name in ids if name not in open_ones}
    for lease in leases:
        if lease.run_id in spent:
            spent[lease.run_id] += cost(lease, now)
    return spent


# --------------------------------------------------------------------------------------- reserving


def _reserved(wanted: Iterable[Claim], known: dict[str, Account], run_id: str) -> list[Account]:
    """The accounts with the run's share held; the error that says what does not fit."""
    held = []
    for claim in wanted:
        after = accounts.reserve(known[claim.account.id], claim, run_id)
        if isinstance(after, Overdrawn):
            raise refusal(after)
        held.append(after)
    return held


def _restrained(rows: Sequence[Row], policy: Policy, agreed: Sequence[Agreed]) -> list[Row]:
    """The leases know how often the policy lets a spot machine be taken from them."""
    most = {demand.role: max_preemptions(policy, demand) for demand, _ in agreed}
    return [
        replace(row, max_preemptions=most.get(row.role)) if isinstance(row, Lease) else row
        for row in rows
    ]


def _bounded(rows: Sequence[Row], held: Iterable[Account]) -> list[Row]:
    """The rows, the run of which may not cost more than is held for it."""
    run, *others = rows
    assert isinstance(run, Run)
    amounts = [one.held[run.id] for one in held if one.unit == USD]
    if own := run.spec.get("budget_usd"):
        amounts.append(Decimal(own))
    if not amounts:
        return [run, *others]
    return [replace(run, spec={**run.spec, "budget_usd": str(min(amounts))}), *others]


def _explanations(
    rows: Sequence[Row], agreed: Sequence[tuple[Demand, Plan]], now: datetime
) -> list[Explanation]:
    run_id = rows[0].id
    return [
        Explanation(
            id=f"{run_id}:{demand.role}",
            run_id=run_id,
            role=demand.role,
            created_at=now,
            decisions=plan.decisions,
            refusals=plan.refusals,
            policies=plan.policies,
            catalog_as_of=plan.catalog_as_of,
        )
        for demand, plan in agreed
    ]


# ------------------------------------------------------------------------------------------- words


def refusal(over: Overdrawn) -> BrokerError:
    """What is wanted, what is left, and who has the rest."""
    claim, account = over.claim, over.account
    message = f"{claim.rule.id}: {_wanted(over)}"
    where, hint = claim.location, _holders(account)
    if account.unit != USD:
        return PolicyError(message, code="POL040", location=where, hint=hint)
    if claim.amount is not None:
        return BudgetError(message, code="BUD005", location=where, hint=hint)
    return BudgetError(
        f"{claim.rule.id}: nothing says what this may cost, so nothing can be set aside for it",
        code="BUD006",
        location=where,
        hint="add `duration:` or `budget:` to the file, or --max-cost",
    )


def _wanted(over: Overdrawn) -> str:
    account, unit = over.account, over.account.unit
    when = f" in {account.period}" if account.period else ""
    amount = "an unknown rate" if over.claim.amount is None else _said(over.claim.amount, unit)
    return (
        f"this takes up to {amount}, {_said(over.left, unit)} of {_said(account.limit, unit)} "
        f"are left to project {account.project}{when}"
    )


def _holders(account: Account) -> str:
    held = sorted(account.held.items(), key=lambda one: (-one[1], one[0]))
    named = [f"{name} holds {_said(amount, account.unit)}" for name, amount in held[:SHOWN]]
    if len(held) > SHOWN:
        named.append(f"{len(held) - SHOWN} more runs hold the rest")
    if account.settled:
        named.append(f"{_said(account.settled, account.unit)} are spent")
    return "; ".join([*named, f"`broker budget show {account.rule}`"])


def _said(amount: Decimal, unit: str) -> str:
    if unit == MACHINES:
        return f"{amount:f} machine{'' if amount == 1 else 's'}"
    return f"{amount:.2f} $/h" if unit == USD_PER_HOUR else f"{amount:.2f} $"


def _too_many(rule: Rule, most: int, nodes: int) -> PolicyError:
    return PolicyError(
        f"{rule.id}: one run may have {most} nodes, this one has {nodes}",
        code="POL040",
        location=rule.locations.get("max_nodes_per_run", rule.location),
        hint="ask for fewer nodes, or start several runs",
    )


def _warnings(
    wanted: Iterable[Claim], known: dict[str, Account], run_id: str
) -> list[tuple[str, Account]]:
    found = []
    for claim in wanted:
        before, terms = known[claim.account.id], claim.rule.terms
        after = accounts.reserve(before, claim, run_id)
        if isinstance(terms, Budget) and isinstance(after, Account):
            mark = accounts.crossed(before, after, terms.warn_at)
            if mark is not None:
                found.append((_warning(after, mark), after))
    return found


def _warning(account: Account, mark: int) -> str:
    return (
        f"{account.rule}: {mark} % of {_said(account.limit, USD)} is reached by project "
        f"{account.project} in {account.period}: {_said(accounts.left(account), USD)} left"
    )


def _warning_events(
    wanted: Iterable[Claim], known: dict[str, Account], run_id: str, now: datetime
) -> list[Event]:
    return [
        Event(
            id=new_id("ev", now, secrets.token_bytes(8)),
            at=now,
            subject=run_id,
            run_id=run_id,
            kind="run.budget_warning",
            message=words,
            data={"account": account.id, "left_usd": str(accounts.left(account))},
        )
        for words, account in _warnings(wanted, known, run_id)
    ]
