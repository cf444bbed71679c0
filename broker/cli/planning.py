"""From a file to a plan: the same straight line for `plan`, `up` and `fed run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from broker.cli.context import Context
from broker.errors import AuthError, BrokerError, InfeasibleError, UsageError
from broker.model import Demand, Market, Plan, Resources, Task
from broker.policy import Policy


def plan_task(
    context: Context,
    file: Path,
    policies: list[Path],
    *,
    infra: str | None = None,
    to_start: bool = False,
) -> tuple[Task, Plan]:
    """A task file and what would carry it. `to_start` refuses clouds that nothing can be leased from.

    Raises the error that says why when nothing is allowed.
    """
    from broker.documents.task import load_task

    task = load_task(file, context.catalog.accelerators())
    if infra:
        task = replace(task, demand=_only(task.demand, infra))
    policy = context.policy(policies)
    return task, plan_demand(context, task.demand, policy, to_start=to_start)


def plan_aggregator(context: Context, file: Path, policies: list[Path]) -> tuple[Demand, Plan]:
    """Where the aggregator of a federation would go."""
    from broker.documents.federation import aggregator_demand, load_federation

    demand = aggregator_demand(load_federation(file, context.catalog.accelerators()))
    return demand, plan_demand(context, demand, context.policy(policies))


def plan_demand(
    context: Context, demand: Demand, policy: Policy, *, to_start: bool = False
) -> Plan:
    """The plan for one demand over the whole pool; the error that says why when it is empty."""
    from broker.place.explain import failure
    from broker.policy import Judge
    from broker.pool import plan, snapshot

    local = any(one.cloud == "local" for one in demand.alternatives)
    pool = snapshot(
        context.catalog,
        context.catalog_clouds,
        context.owned_offers(local=local),
        _locked(context) if to_start else {},
    )
    found = plan(demand, pool, Judge(policy, demand))
    if error := failure(found, demand.name):
        error.hint = error.hint or _next(error, found)
        raise error
    return replace(found, policies=tuple(policy.files))


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


def _next(error: BrokerError, found: Plan) -> str:
    """What would change the verdict, with the cheapest offer that it would admit."""
    from broker.place.explain import nearest

    if isinstance(error, AuthError):
        return "`broker cloud enable NAME`, or `--infra local` for this machine"
    where = f" at {error.location}" if error.location else ""
    help_ = "; `broker offers` shows what there is" if isinstance(error, InfeasibleError) else ""
    close = [one for one in nearest(found) if one.reason.location == error.location]
    offer = close[0].cheapest if close else None
    rate = f"; the cheapest that it refuses is {offer.key}" if offer and not help_ else ""
    return f"relax it{where}{rate}{help_}"


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
