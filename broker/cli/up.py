"""`broker up`: plan, lease, run, and give back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import find, text
from broker.cli.context import Context, fresh_id, utc_now
from broker.cli.output import Format, OutputOption, emit, note
from broker.errors import BrokerError, BudgetError, UsageError
from broker.model import Demand, Plan, Run, RunState, Task

if TYPE_CHECKING:
    from broker.policy import Policy
    from broker.policy.accounts import Agreed

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def up(
    task: Annotated[Path, typer.Argument(help="A task file.")],
    *,
    policy: Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")] = None,
    infra: Annotated[
        str | None, typer.Option(help="Only here, e.g. `local` or `aws/eu-north-1`.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Whose work it is; budgets count by project.")
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
    from broker.cli.planning import check_reach, plan_demand, read_task
    from broker.cli.planview import plan_text

    context = Context()
    wish = read_task(context, task, infra=infra, project=project)
    _check_work(wish, keep=keep)
    given, rules = _given(max_cost), context.policy(policy or [])
    asked = _bounded_by(wish.demand, given, always=wish.demand.duration_h is None)
    found = plan_demand(context, asked, rules, to_start=True)
    check_reach(context, found)
    note(plan_text(wish.demand, found))
    wish = replace(wish, demand=_bounded_by(wish.demand, given, always=True))
    _agree(context, rules, (wish.demand, found), yes=yes)
    run = _admit(context, rules, wish, found, keep=keep or wish.keep)
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


def _given(max_cost: str | None) -> Decimal | None:
    from broker.documents.units import usd

    try:
        return usd(max_cost) if max_cost else None
    except ValueError as error:
        raise UsageError(f"--max-cost: {error}", code="USE005", hint="e.g. 12usd") from error


def _bounded_by(demand: Demand, given: Decimal | None, *, always: bool) -> Demand:
    """The demand with the least of its own budget and the one that was given.

    A plan with a duration is not refused because the run may be ended before it is done.
    """
    if given is None or not always:
        return demand
    return replace(demand, budget_usd=min(given, demand.budget_usd or given))


def _agree(context: Context, rules: Policy, agreed: Agreed, *, yes: bool) -> None:
    """Say what it may cost at most and ask. Money without a person at the keyboard needs a bound."""
    demand, plan = agreed
    rate = sum((one.usd_per_hour or Decimal(0) for one in plan.placements), Decimal(0))
    stop = forewarned(context, rules, [agreed], demand.budget_usd)
    if rate == 0:
        return
    if yes and stop is None:
        raise BudgetError(
            f"this costs {text.usd(rate, 4)} $/h and nothing bounds it",
            code="BUD004",
            hint="add --max-cost 12usd, or `budget:` to the task",
        )
    confirm(f"{start_words(rate, stop)} Proceed?", yes=yes)


def forewarned(
    context: Context, rules: Policy, agreed: Sequence[Agreed], budget: Decimal | None
) -> Decimal | None:
    """The cost at which the run is ended, after the warnings of the budgets that it comes near."""
    from broker import admission

    now = utc_now()
    store = context.store if context.ledger_exists else None
    for words in admission.forecast(store, rules, agreed, now):
        note(f"warning: {words}")
    bounds = (budget, admission.hard_stop(rules, agreed, now))
    return min((one for one in bounds if one is not None), default=None)


def start_words(rate: Decimal, stop: Decimal | None) -> str:
    most = f", ended at {text.usd(stop)} $ at the latest" if stop is not None else ""
    return f"Start at {text.usd(rate, 4)} $/h{most}."


def _admit(context: Context, rules: Policy, wish: Task, plan: Plan, *, keep: bool) -> Run:
    from broker import admission
    from broker.planned import admit

    now = utc_now()
    run, *leases = admit(plan, wish, now, fresh_id)
    assert isinstance(run, Run)
    budget = wish.demand.budget_usd
    spec = {**run.spec, "budget_usd": str(budget) if budget is not None else None}
    rows = [replace(run, spec=spec, keep=keep), *leases]
    saved, *_ = admission.admit(context.store, rules, [(wish.demand, plan)], rows, now)
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
