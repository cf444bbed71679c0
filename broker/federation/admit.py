"""A federation that was agreed to, as rows: one run, the aggregator's lease, one for each site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from broker.codec import to_json
from broker.documents.federation import Federation, aggregator_demand
from broker.federation.app import App, overrides
from broker.federation.cohort import Cohort
from broker.ids import NewId
from broker.model import Demand, Lease, Offer, Placement, Plan, Run
from broker.planned import asked, recorded, start_of

KIND = "fed"
AGGREGATOR, SITE = "aggregator", "site"


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the user has seen and said yes to. `aggregator` is the plan of one machine.

    `demand` is what was asked for it; without one, what the file says.
    """

    fed: Federation
    app: App
    cohort: Cohort
    aggregator: Plan
    demand: Demand | None = None


def seating(cohort: Cohort, demand: Demand, policies: tuple[str, ...] = ()) -> Plan:
    """The sites as a plan: what they take of accounts, and why each is in or not."""
    places = tuple(
        Placement(demand.name, 1, seat.offer, usd_per_hour=_rate(seat.offer))
        for seat in cohort.seats
    )
    decisions = (*cohort.chosen, *cohort.others)
    return Plan(places, (), len(decisions), len(cohort.chosen), policies, decisions=decisions)


def admit_federation(agreed: Agreed, now: datetime, new_id: NewId) -> tuple[Run | Lease, ...]:
    """The run, first, then the aggregator's lease of rank 0, then the sites' in order. Pure.

    A site's lease has one candidate, its node: the data is there and nowhere else. UsageError: a
    `run_config` key that the app does not declare.
    """
    fed, cohort = agreed.fed, agreed.cohort
    run_id = new_id("run")
    (placement,) = agreed.aggregator.placements
    machines = (placement.offer, *placement.fallbacks)
    start, reason = start_of(agreed.aggregator, now)
    leases = [_lease(new_id, now, (run_id, AGGREGATOR, 0), machines)]
    for rank, seat in enumerate(cohort.seats, start=1):
        leases.append(_lease(new_id, now, (run_id, SITE, rank), (seat.offer,)))
    leases = [replace(lease, not_before=start, reason=reason) for lease in leases]
    seats = {
        lease.id: {
            "node_id": seat.offer.node_id,
            "name": seat.offer.region,
            "dataset": seat.dataset,
        }
        for lease, seat in zip(leases[1:], cohort.seats, strict=True)
    }
    spec: dict[str, Any] = {
        "app": agreed.app.spec(),
        "run_config": overrides(agreed.app, fed.rounds, fed.run_config),
        "rounds": fed.rounds,
        "min_sites": fed.sites.minimum,
        "seats": seats,
        "not_chosen": [to_json(replace(one, findings=())) for one in cohort.others],
        **asked(agreed.demand or aggregator_demand(fed)),
    }
    if fed.budget_usd is not None:
        spec["budget_usd"] = str(fed.budget_usd)
    run = Run(
        id=run_id,
        name=fed.name,
        kind=KIND,
        spec=spec,
        created_at=now,
        plan=recorded(agreed.aggregator),
    )
    return run, *leases


def _rate(offer: Offer) -> Decimal | None:
    return offer.price.usd_per_hour if offer.price else None


def _lease(
    new_id: NewId, now: datetime, place: tuple[str, str, int], candidates: tuple[Offer, ...]
) -> Lease:
    run_id, role, rank = place
    return Lease(
        id=new_id("ls"),
        run_id=run_id,
        role=role,
        rank=rank,
        candidates=candidates,
        created_at=now,
    )
