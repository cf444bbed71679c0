"""A federation that was agreed to, as rows: one run, the aggregator's lease, one for each site."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.codec import to_json
from broker.documents.federation import Federation
from broker.federation.app import App, overrides
from broker.federation.cohort import Cohort
from broker.model import Lease, Offer, Plan, Run
from broker.runs import NewId

KIND = "fed"
AGGREGATOR, SITE = "aggregator", "site"


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the user has seen and said yes to. `aggregator` is the plan of one machine."""

    fed: Federation
    app: App
    cohort: Cohort
    aggregator: Plan


def admit_federation(agreed: Agreed, now: datetime, new_id: NewId) -> tuple[Run | Lease, ...]:
    """The run, first, then the aggregator's lease of rank 0, then the sites' in order. Pure.

    A site's lease has one candidate, its node: the data is there and nowhere else. UsageError: a
    `run_config` key that the app does not declare.
    """
    fed, cohort = agreed.fed, agreed.cohort
    run_id = new_id("run")
    (placement,) = agreed.aggregator.placements
    machines = (placement.offer, *placement.fallbacks)
    leases = [_lease(new_id, now, (run_id, AGGREGATOR, 0), machines)]
    for rank, seat in enumerate(cohort.seats, start=1):
        leases.append(_lease(new_id, now, (run_id, SITE, rank), (seat.offer,)))
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
        "not_chosen": [to_json(one) for one in cohort.others],
    }
    if fed.budget_usd is not None:
        spec["budget_usd"] = str(fed.budget_usd)
    run = Run(
        id=run_id,
        name=fed.name,
        kind=KIND,
        spec=spec,
        created_at=now,
        plan=to_json(agreed.aggregator),
    )
    return run, *leases


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
