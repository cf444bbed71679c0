"""From a file to a plan: the same straight line for `plan`, `up` and `fed run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from broker.cli.context import Context, utc_now
from broker.errors import AuthError, BrokerError, PolicyError, UsageError
from broker.model import (
    DEFAULT_PROJECT,
    Artefact,
    Demand,
    Market,
    Placement,
    Plan,
    Resources,
    Site,
    Storage,
    Task,
)

if TYPE_CHECKING:
    from broker.policy import Judge, Policy, Standing
    from broker.pool import Candidates


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan answers: the demand, all that could carry it, and who judges."""

    demand: Demand
    candidates: Candidates
    judge: Judge
    policy: Policy
    now: datetime
    max_price_age: timedelta


def plan_task(
    context: Context,
    file: Path,
    policies: list[Path],
    *,
    infra: str | None = None,
    to_start: bool = False,
    project: str | None = None,
    explain: bool = False,
) -> tuple[Task, Plan]:
    """A task file and what would carry it. `to_start` refuses clouds that nothing can be leased from.

    The plan holds the decisions over every candidate, and with `explain` all blames. Raises the error
    that says why when nothing is allowed.
    """
    task = read_task(context, file, infra=infra, project=project)
    policy = context.policy(policies)
    return task, plan_demand(context, task.demand, policy, to_start=to_start, explain=explain)


def read_task(
    context: Context, file: Path, *, infra: str | None = None, project: str | None = None
) -> Task:
    """The task with its places looked up, in its project."""
    from broker.documents.task import load_task

    task = load_task(file, context.catalog.accelerators())
    demand = _only(task.demand, infra) if infra else task.demand
    return replace(task, demand=located(context, demand, project))


def plan_aggregator(context: Context, file: Path, policies: list[Path]) -> tuple[Demand, Plan]:
    """Where the aggregator of a federation would go."""
    from broker.documents.federation import aggregator_demand, load_federation

    fed = load_federation(file, context.catalog.accelerators())
    demand = located(context, aggregator_demand(fed))
    return demand, plan_demand(context, demand, context.policy(policies))


def plan_demand(
    context: Context,
    demand: Demand,
    policy: Policy,
    *,
    to_start: bool = False,
    explain: bool = False,
) -> Plan:
    """The plan for one demand over the whole pool; the error that says why when it is empty."""
    return answer(question(context, demand, policy, to_start=to_start), explain=explain)


def question(
    context: Context, demand: Demand, policy: Policy, *, to_start: bool = False
) -> Question:
    """The whole pool, and the judge with what the ledger says now."""
    from broker.policy import Judge
    from broker.pool import snapshot

    local = any(one.cloud == "local" for one in demand.alternatives)
    pool = snapshot(
        context.catalog,
        context.catalog_clouds,
        context.owned_offers(local=local),
        _locked(context) if to_start else {},
    )
    asked, now = located(context, demand), utc_now()
    judge = Judge(policy, asked, _standing(context, policy, asked, now))
    max_age = timedelta(days=float(context.config.max_price_age_d))
    return Question(asked, pool, judge, policy, now, max_age)


def _standing(context: Context, policy: Policy, demand: Demand, now: datetime) -> Standing:
    """What rules have given out; without rules nobody has to be asked."""
    if not policy.rules:
        from broker.policy import Standing

        return Standing(now)
    from broker.admission import standing

    store = context.store if context.ledger_exists else None
    return standing(store, policy, demand, now)


def answer(asked: Question, *, explain: bool = False) -> Plan:
    """The plan; where nothing is allowed the error that derives why, and says the ways out."""
    from broker.place.explain import failure
    from broker.pool import decisions, explained, plan

    parts = asked.demand, asked.candidates, asked.judge
    found = plan(*parts)
    if explain or not found.placements:
        found = explained(found, *parts)
    if not found.placements:
        error = failure(found, asked.demand.name)
        assert error is not None
        error.hint = _hint(error, asked)
        raise error
    return replace(
        found,
        placements=tuple(_shifted(one, asked) for one in found.placements),
        policies=tuple(asked.policy.files),
        decisions=found.decisions or decisions(found, *parts),
        warnings=(*found.warnings, *_stale(found, asked)),
    )


def _stale(found: Plan, asked: Question) -> list[str]:
    """What to say of chosen prices that are older than the configuration calls fresh."""
    oldest = (asked.now - asked.max_price_age).date().isoformat()
    bought = [one.offer for one in found.placements if one.offer.market is not Market.OWNED]
    prices = [offer.price for offer in bought if offer.price]
    dates = {price.as_of for price in prices if price.as_of < oldest}
    return [
        f"the price is as of {date}, more than {asked.max_price_age.days} days ago:"
        " `broker catalog refresh` asks for today's"
        for date in sorted(dates)
    ]


def located(context: Context, demand: Demand, project: str | None = None) -> Demand:
    """The demand with the facts of every place it names, the broker's own logs among them.

    A demand that names no project gets `project`, or the configuration's. What is located already
    stays as it is.
    """
    from broker.catalog.regions import place

    if project is None and any(one.kind is Artefact.LOG for one in demand.storage):
        return demand
    config = context.config
    if project is None and demand.project == DEFAULT_PROJECT:
        project = config.project
    kept = [
        one if one.site != Site() else replace(one, site=place(one.place)) for one in demand.storage
    ]
    if not any(one.kind is Artefact.LOG for one in kept):
        country = config.country or ""
        site = place(country) if country else Site()
        kept.append(Storage(Artefact.LOG, country or "unknown", site=site))
    return replace(demand, project=project or demand.project, storage=tuple(kept))


def _shifted(placement: Placement, asked: Question) -> Placement:
    """When the policy wants it to start, should that be later."""
    from broker.policy.windows import start_after

    found = start_after(asked.policy, asked.demand, asked.now)
    if found is None:
        return placement
    when, rule = found
    where = f" ({rule.locations.get('shift.hours', rule.location)})" if rule.location else ""
    why = f": {rule.why}" if rule.why else ""
    return replace(placement, start_after=when, start_why=f"rule {rule.id}{where}{why}")


def check_reach(context: Context, found: Plan) -> None:
    """Refuse to pay for machines whose agents could not dial this broker. UsageError GTW003."""
    gateway = context.config.gateway
    if gateway.public_host or not _is_loopback(gateway.host):
        return
    for placement in found.placements:
        for offer in (placement.offer, *placement.fallbacks):
            cloud = context.config.clouds.get(offer.cloud)
            far = cloud and offer.market is not Market.OWNED
            if cloud and far and not _is_loopback(urlsplit(cloud.endpoint or "").hostname):
                raise UsageError(
                    f"machines of {offer.cloud} cannot reach this broker at {gateway.host}",
                    code="GTW003",
                    location=cloud.location,
                    hint="set `gateway: {host: 0.0.0.0, public_host: NAME}` in the configuration",
                )


def _is_loopback(host: str | None) -> bool:
    return host == "localhost" or bool(host and host.startswith("127.")) or host == "::1"


def _hint(error: BrokerError, asked: Question) -> str | None:
    """The derivation, after the command or setting that helps where something is not set up."""
    from broker.place.explain import LINE

    enable = "`broker cloud enable NAME`, or `--infra local` for this machine"
    logs = "`country: NO` in the configuration says where this broker keeps its logs"
    said = (
        enable if isinstance(error, AuthError) else None,
        logs if isinstance(error, PolicyError) and _logs_nowhere(asked) else None,
        error.hint,
    )
    return LINE.join(filter(None, said)) or None


def _logs_nowhere(asked: Question) -> bool:
    """Whether rules bind the broker's own logs, and nobody says where these are."""
    from broker.policy.rules import Residency

    terms = (rule.terms for rule in asked.policy.rules)
    bound = any(isinstance(one, Residency) and Artefact.LOG in one.of for one in terms)
    unknown = Storage(Artefact.LOG, "unknown")
    return bound and unknown in asked.demand.storage


def _locked(context: Context) -> Mapping[str, str]:
    """Why nothing can be leased from a cloud of the catalog."""
    return {
        one.provider: f"{one.provider} is not enabled"
        for one in context.catalog.status().providers
        if one.provider not in context.config.clouds
    }


def _only(demand: Demand, infra: str) -> Demand:
    cloud, _, rest = infra.partition("/")
    region, _, zone = rest.partition("/")
    if not cloud:
        raise UsageError("--infra is empty", code="USE005", hint="e.g. local or aws/eu-north-1")
    return replace(
        demand,
        alternatives=tuple(
            replace(one, cloud=cloud, region=region or None, zone=zone or None)
            for one in demand.alternatives or (Resources(),)
        ),
    )
