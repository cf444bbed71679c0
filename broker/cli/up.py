"""`broker up`: plan, lease, run, and give back."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from broker.cli import find, text
from broker.cli.context import Context, fresh_id, utc_now
from broker.cli.output import Format, OutputOption, emit, note
from broker.errors import BrokerError, BudgetError, UsageError
from broker.model import Plan, Run, RunState, Task

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def up(
    task: Annotated[Path, typer.Argument(help="A task file.")],
    *,
    policy: Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")] = None,
    infra: Annotated[
        str | None, typer.Option(help="Only here, e.g. `local` or `aws/eu-north-1`.")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="End the run at this cost, e.g. 12usd.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave it to the background engine.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the machines after the run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Plan a task, lease its machines, run it, stream its logs, and give the machines back.

    Ctrl-C ends the run and gives the machines back; `--detach` leaves it running.

    Example: `broker up examples/hello.yaml --infra local`
    """
    from broker.cli.planning import check_reach, plan_task
    from broker.cli.planview import plan_text

    context = Context()
    wish, plan = plan_task(context, task, policy or [], infra=infra, to_start=True)
    _check_work(wish, keep=keep)
    check_reach(context, plan)
    note(plan_text(wish.demand, plan))
    budget = _bound(wish, plan, max_cost, yes=yes)
    run = _admit(context, wish, plan, budget, keep=keep or wish.keep)
    _carry(context, run, detach=detach, output=output)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere the flag must have said it."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("this needs a yes", code="USE006", hint="add --yes")
    typer.confirm(question, default=False, abort=True, err=True)


def _check_work(wish: Task, *, keep: bool) -> None:
    """What a run cannot carry is said before anything is leased."""
    if not wish.run and not (keep or wish.keep):
        raise UsageError(
            f"{wish.demand.name} has nothing to run",
            code="TSK030",
            location=wish.demand.location,
            hint="add `run:`, or --keep to lease the machines alone",
        )
    if wish.workdir:
        raise UsageError(
            f"`workdir: {wish.workdir}` cannot be carried to machines yet",
            code="TSK031",
            location=wish.demand.locations.get("workdir", wish.demand.location),
            hint="fetch the files in `setup:`, and remove `workdir`",
        )


def _bound(wish: Task, plan: Plan, max_cost: str | None, *, yes: bool) -> Decimal | None:
    """The most that the run may cost. Money without a person at the keyboard needs a bound."""
    from broker.documents.units import usd

    rate = sum((one.usd_per_hour or Decimal(0) for one in plan.placements), Decimal(0))
    try:
        given = usd(max_cost) if max_cost else None
    except ValueError as error:
        raise UsageError(f"--max-cost: {error}", code="USE005", hint="e.g. 12usd") from error
    bounds = [bound for bound in (given, wish.demand.budget_usd) if bound is not None]
    if rate == 0:
        return min(bounds, default=None)
    if yes and not bounds:
        raise BudgetError(
            f"this costs {text.usd(rate, 4)} $/h and nothing bounds it",
            code="BUD004",
            hint="add --max-cost 12usd, or `budget:` to the task",
        )
    most = f", at most {text.usd(min(bounds))} $" if bounds else ""
    confirm(f"Start at {text.usd(rate, 4)} $/h{most}. Proceed?", yes=yes)
    return min(bounds, default=None)


def _admit(context: Context, wish: Task, plan: Plan, budget: Decimal | None, *, keep: bool) -> Run:
    from dataclasses import replace

    from broker.runs import admit

    run, *leases = admit(plan, wish, utc_now(), fresh_id)
    assert isinstance(run, Run)
    spec = {**run.spec, "budget_usd": str(budget) if budget is not None else None}
    saved, *_ = context.store.commit(replace(run, spec=spec, keep=keep), *leases)
    assert isinstance(saved, Run)
    return saved


def _carry(context: Context, run: Run, *, detach: bool, output: Format) -> None:
    from broker.cli.down import end
    from broker.cli.follow import follow, settled

    with context.session() as session:
        if detach:
            emit("run", {"id": run.id, "name": run.name}, run.id, output=output, names=[run.id])
            note(f"`broker logs {run.id} --follow` shows it, `broker down {run.id}` ends it")
            return
        out = sys.stderr.buffer if output in (Format.JSON, Format.JSONL) else sys.stdout.buffer
        try:
            done = follow(session, context.home, run, out)
        except KeyboardInterrupt:
            note(
                "ending the run and giving its machines back; once more to leave that to the engine"
            )
            end(context.store, run)
            session.poke()
            for _ in session.watch():
                if settled(context.store, run):
                    break
            raise
    _report(context, done, output)


def _report(context: Context, run: Run, output: Format) -> None:
    leases = find.leases_of(context.store, run)
    cost = sum((text.spent(lease, utc_now()) for lease in leases), Decimal(0))
    data = {
        "id": run.id,
        "name": run.name,
        "state": run.state.value,
        "reason": run.reason,
        "usd_spent": str(cost),
        "leases": len(leases),
    }
    note(
        f"{run.name} {run.state}{f': {run.reason}' if run.reason else ''}; cost {text.usd(cost, 4)} $"
    )
    if output in (Format.JSON, Format.JSONL, Format.NAME):
        emit("run", data, "", output=output, names=[run.id])
    if run.state is not RunState.SUCCEEDED:
        raise typer.Exit(_code(run))


def _code(run: Run) -> int:
    """9 when no machine could be had, else 1."""
    return 9 if run.reason.startswith("no capacity") else BrokerError.exit_code
