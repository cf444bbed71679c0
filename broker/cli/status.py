"""`broker status`: runs and their leases."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker.cli import find, text
from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, table
from broker.converge import waits
from broker.model import RUN_ENDED, Lease, Run

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(help="Id, prefix or name of one run.")] = None,
    *,
    ended: Annotated[bool, typer.Option("--all", "-a", help="Ended runs too.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show runs, their leases and what they cost.

    Example: `broker status --all`
    """
    context = Context()
    runs = _runs(context, run, ended=ended) if context.ledger_exists else []
    pairs = [(one, find.leases_of(context.store, one)) for one in runs]
    emit(
        "status",
        [_json(one, leases) for one, leases in pairs],
        lambda: _table(pairs, wide=output is Format.WIDE),
        output=output,
        names=[one.id for one in runs],
    )


def _runs(context: Context, word: str | None, *, ended: bool) -> list[Run]:
    if word:
        return [find.run_of(context.store, word)]
    everything = context.store.find(Run)
    return [run for run in everything if ended or run.state not in RUN_ENDED or _kept(context, run)]


def _kept(context: Context, run: Run) -> bool:
    """An ended run whose leases were asked to stay is still something that costs."""
    return run.keep and any(lease.closed_at is None for lease in find.leases_of(context.store, run))


def _table(pairs: list[tuple[Run, list[Lease]]], *, wide: bool) -> str:
    if not pairs:
        return "Nothing runs. `broker up TASK.yaml` starts something; `broker status --all` shows what ended."
    header = ["RUN", "NAME", "LEASE", "ROLE", "WHERE", "MARKET", "STATE", "AGE", "$/H", "SPENT"]
    more = ["PROJECT", "BUDGET", "HARD STOP"] if wide else []
    rows: list[list[object]] = []
    for run, leases in pairs:
        own = [run.id, run.name, None, run.kind, None, None, run.state, _age(run), None, None]
        rows.append([*own, *(_money(run) if wide else ())])
        rows.extend(["", "", *_lease(lease), *([""] * len(more))] for lease in leases)
    told = _reasons(pairs) if wide else _waits(pairs)
    extra = ["", *(f"{key}  {value}" for key, value in told.items())] if told else []
    return "\n".join([table([*header, *more], rows), *extra])


def _money(run: Run) -> list[object]:
    """Project, the budget that was asked for, and the cost at which the run is ended."""
    demand = run.spec.get("demand", {})
    return [run.spec.get("project"), demand.get("budget_usd"), run.spec.get("budget_usd")]


def _reasons(pairs: list[tuple[Run, list[Lease]]]) -> dict[str, str]:
    reasons = {run.id: run.reason for run, _ in pairs if run.reason}
    return reasons | {lease.id: lease.reason for _, ls in pairs for lease in ls if lease.reason}


def _waits(pairs: list[tuple[Run, list[Lease]]]) -> dict[str, str]:
    """Runs that wait for their hour say so without being asked."""
    now = utc_now()
    return {
        run.id: lease.reason
        for run, leases in pairs
        for lease in leases
        if waits(lease, now) and lease.reason
    }


def _age(run: Run) -> str:
    return text.age(run.created_at, run.ended_at or utc_now())


def _lease(lease: Lease) -> list[object]:
    now = utc_now()
    market = (lease.attempt.offer if lease.attempt else lease.candidates[0]).market
    return [
        lease.id,
        lease.role,
        text.where(lease),
        market,
        lease.state,
        text.age(lease.created_at, lease.closed_at or now),
        text.usd(text.usd_per_hour(lease), 4),
        text.usd(text.spent(lease, now), 4),
    ]


def _json(run: Run, leases: list[Lease]) -> dict[str, Any]:
    from broker.store.codec import to_json

    now = utc_now()
    return {
        "id": run.id,
        "name": run.name,
        "kind": run.kind,
        "state": run.state.value,
        "reason": run.reason,
        "project": run.spec.get("project"),
        "budget_usd": run.spec.get("demand", {}).get("budget_usd"),
        "hard_stop_usd": run.spec.get("budget_usd"),
        "created_at": run.created_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
        "leases": [
            {
                "id": lease.id,
                "role": lease.role,
                "rank": lease.rank,
                "state": lease.state.value,
                "reason": lease.reason,
                "offer": to_json(lease.attempt.offer) if lease.attempt else None,
                "instance_id": lease.attempt.instance_id if lease.attempt else None,
                "preemptions": lease.preemptions,
                "max_preemptions": lease.max_preemptions,
                "not_before": lease.not_before.isoformat() if lease.not_before else None,
                "usd_per_hour": text.usd(text.usd_per_hour(lease), 6),
                "usd_spent": text.usd(text.spent(lease, now), 6),
            }
            for lease in leases
        ],
    }
