"""A federation from its file to its receipt: what `fed run` and the demo have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import admission
from broker.admission import standing
from broker.cli import find
from broker.cli.context import Context, fresh_id, utc_now
from broker.cli.down import end as end_run
from broker.cli.follow import EventTail, settled
from broker.cli.output import note
from broker.cli.planning import check_reach, located, plan_demand
from broker.documents.federation import Federation, aggregator_demand, load_federation, site_demand
from broker.federation.admit import Agreed, admit_federation, seating
from broker.federation.app import build
from broker.federation.cohort import Cohort, choose
from broker.host import Session
from broker.model import RUN_ENDED, Demand, Event, Plan, Run
from broker.policy import Judge, Policy

END_S = 40  # for the leases of a run that was told to end


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where a federation would run. `seating` is the cohort as the plan of one demand."""

    fed: Federation
    cohort: Cohort
    demand: Demand  # of the aggregator
    plan: Plan
    policy: Policy
    site: Demand
    seating: Plan

    @property
    def agreed(self) -> tuple[tuple[Demand, Plan], ...]:
        """What is admitted together."""
        return ((self.demand, self.plan), (self.site, self.seating))


def propose(
    context: Context,
    file: Path,
    policies: list[Path],
    *,
    to_start: bool,
    project: str | None = None,
) -> Proposal:
    """The cohort and the aggregator's plan; the error that says why when one cannot be had."""
    fed = load_federation(file, context.catalog.accelerators())
    policy, now = context.policy(policies), utc_now()
    store = context.store if context.ledger_exists else None
    site = located(context, site_demand(fed), project)
    judge = Judge(policy, site, standing(store, policy, site, now))
    nodes = context.fleet.offers() if context.ledger_exists else ()
    cohort = choose(nodes, fed, judge.trace).check()
    demand = located(context, aggregator_demand(fed), project)
    found = plan_demand(context, demand, policy, to_start=to_start)
    seats = seating(cohort, site, tuple(policy.files))
    return Proposal(fed, cohort, demand, found, policy, site, seats)


def start(context: Context, file: Path, policies: list[Path]) -> Run:
    """Write the run and its leases; an engine makes them true."""
    return admit(context, propose(context, file, policies, to_start=True))


def admit(context: Context, proposal: Proposal) -> Run:
    check_reach(context, proposal.plan)
    app, now = build(proposal.fed.app), utc_now()
    agreed = Agreed(proposal.fed, app, proposal.cohort, proposal.plan, proposal.demand)
    rows = admit_federation(agreed, now, fresh_id)
    run, *_ = admission.admit(context.store, proposal.policy, proposal.agreed, rows, now)
    assert isinstance(run, Run)
    return run


def follow(session: Session, run: Run, tell: Callable[[str], None]) -> Run:
    """Tell every event until the run has ended and its machines are confirmed gone."""
    events = EventTail(session.store, run)
    for _ in session.watch():
        for event in events.new():
            if words := event_words(event):
                tell(words)
        if settled(session.store, run):
            return session.store.find(Run, id=run.id)[0]
    raise AssertionError("watch never ends by itself")


def event_words(event: Event) -> str:
    """One line for a person; nothing for records that only the receipt needs."""
    if event.kind != "fed.round":
        return "" if event.kind.startswith("fed.") else event.message
    data = event.data
    numbers = [
        f"{name} {data[name]:.3f}"
        for name in ("accuracy", "loss")
        if isinstance(data.get(name), float)
    ]
    sites = ", ".join(str(name) for name in data.get("sites", ()))
    seconds = data.get("seconds")
    took = f"  {seconds:.1f} s" if isinstance(seconds, int | float) else ""
    return f"round {data.get('round')}  {'  '.join(numbers)}  {sites}{took}"


def end(session: Session, run: Run) -> None:
    """End a run and see its machines go, within a bounded time. Quiet when it has ended."""
    store = session.store
    if settled(store, run):
        return
    note("ending the run and giving its machines back")
    end_run(store, run)
    session.poke()
    until = time.monotonic() + END_S
    for _ in session.watch():
        if settled(store, run) or time.monotonic() > until:
            return


def receipt(context: Context, run: Run) -> dict[str, Any]:
    from broker.federation.receipt import receipt as make

    events = context.store.find(Event, run_id=run.id)
    leases, orders = find.leases_of(context.store, run), find.orders_of(context.store, run)
    return make(run, leases, orders, events)


def receipt_text(value: dict[str, Any]) -> str:
    from broker.federation.receipt import render

    return render(value)


def ended(run: Run) -> bool:
    return run.state in RUN_ENDED
