"""`broker status`: runs and their leases."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker.cli import find, text
from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, table
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
    rows: list[list[object]] = []
    for run, leases in pairs:
        rows.append(
            [run.id, run.name, None, run.kind, None, None, run.state, _age(run), None, None]
        )
        rows.extend(["", "", *_lease(lease)] for lease in leases)
    extra = []
    if wide:
        reasons = {run.id: run.reason for run, _ in pairs if run.reason}
        reasons |= {lease.id: lease.reason for _, ls in pairs for lease in ls if lease.reason}
        extra = ["", *(f"{key}  {value}" for key, value in reasons.items())]
    return "\n".join([table(header, rows), *extra])


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
                "usd_per_hour": text.usd(text.usd_per_hour(lease), 6),
                "usd_spent": text.usd(text.spent(lease, now), 6),
            }
            for lease in leases
        ],
    }
