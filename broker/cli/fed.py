"""`broker fed`: Flower training where the data is."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli import find
from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, note, table
from broker.errors import NotFoundError, UsageError
from broker.model import Event, Run, RunState

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help="A federation file.")]
PolicyOption = Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")]
ProjectOption = Annotated[
    str | None, typer.Option(help="Whose work it is; budgets count by project.")
]
RunArgument = Annotated[str, typer.Argument(help="Id, prefix or name of a federation run.")]


@app.callback()
def fed() -> None:
    """Train with Flower where the data is: the rows stay, model updates cross."""


@app.command()
def plan(
    file: FileArgument,
    *,
    policy: PolicyOption = None,
    project: ProjectOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Which sites would take part, where the aggregator would go, and why.

    Example: `broker fed plan examples/hospitals/fed.yaml -p examples/hospitals/policy.yaml`
    """
    from broker.cli.fedrun import propose

    found = propose(Context(), file, policy or [], to_start=False, project=project)
    emit("fed-plan", _proposal_json(found), lambda: _proposal_text(found), output=output)


@app.command()
def run(
    file: FileArgument,
    *,
    policy: PolicyOption = None,
    project: ProjectOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it to the engine.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Lease the aggregator, seat the sites, train, and print the receipt.

    Ctrl-C ends the run and gives the machines back.

    Example: `broker fed run examples/hospitals/fed.yaml -p examples/hospitals/policy.yaml --yes`
    """
    from broker.cli import fedrun
    from broker.cli.up import confirm, forewarned, start_words

    context = Context()
    proposal = fedrun.propose(context, file, policy or [], to_start=True, project=project)
    note(_proposal_text(proposal))
    rate = proposal.plan.placements[0].usd_per_hour or Decimal(0)
    stop = forewarned(context, proposal.policy, proposal.agreed, proposal.fed.budget_usd)
    if rate:
        _bounded(proposal, stop, yes=yes)
        confirm(f"{start_words(rate, stop)} Proceed?", yes=yes)
    started = fedrun.admit(context, proposal)
    with context.session() as session:
        if detach:
            emit("run", {"id": started.id}, started.id, output=output, names=[started.id])
            return
        try:
            done = fedrun.follow(session, started, lambda words: note(f"  {words}"))
        except BaseException:
            fedrun.end(session, started)
            raise
    found = fedrun.receipt(context, done)
    emit("receipt", found, lambda: fedrun.receipt_text(found), output=output, names=[done.id])
    if done.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(help="One run; default: all.")] = None,
    *,
    output: OutputOption = Format.TABLE,
) -> None:
    """Federation runs, with their rounds."""
    context = Context()
    runs = _runs(context, run)
    rows = [(one, _rounds(context, one)) for one in runs]
    emit(
        "fed-status",
        [
            {"id": one.id, "name": one.name, "state": one.state.value, "rounds": r}
            for one, r in rows
        ],
        lambda: table(
            ["RUN", "NAME", "STATE", "ROUNDS", "ACCURACY", "LOSS"],
            [[one.id, one.name, one.state, len(r), *_last(r)] for one, r in rows],
        ),
        output=output,
        names=[one.id for one in runs],
    )


@app.command()
def receipt(run: RunArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Who took part, what was learnt, which bytes crossed, what it cost."""
    from broker.cli import fedrun

    context = Context()
    (one,) = _runs(context, run)
    found = fedrun.receipt(context, one)
    emit("receipt", found, lambda: fedrun.receipt_text(found), output=output, names=[one.id])


@app.command()
def stop(run: RunArgument, *, output: OutputOption = Format.TABLE) -> None:
    """End a federation run: the same as `broker down RUN`."""
    from broker.cli.down import down

    down([run], output=output)


def _bounded(proposal: Any, stop: Decimal | None, *, yes: bool) -> None:
    from broker.errors import BudgetError

    if yes and stop is None:
        raise BudgetError(
            "the aggregator costs money and nothing bounds it",
            code="BUD004",
            hint=f"add `budget: 5usd` to {proposal.fed.name}'s file",
        )


def _runs(context: Context, word: str | None) -> list[Run]:
    if not context.ledger_exists:
        if word:
            raise NotFoundError(f"no run `{word}`", hint="`broker fed status` lists them")
        return []
    if word is None:
        return context.store.find(Run, kind="fed")
    found = find.run_of(context.store, word)
    if found.kind != "fed":
        raise UsageError(f"{found.id} is no federation", code="USE007", hint="broker fed status")
    return [found]


def _rounds(context: Context, run: Run) -> list[dict[str, Any]]:
    return [one.data for one in context.store.find(Event, run_id=run.id, kind="fed.round")]


def _last(rounds: list[dict[str, Any]]) -> list[object]:
    last = rounds[-1] if rounds else {}
    return [f"{last[name]:.3f}" if name in last else None for name in ("accuracy", "loss")]


def _proposal_text(found: Any) -> str:
    from broker.cli.planview import plan_text

    seats = [
        f"  + site      {seat.offer.region} ({seat.offer.site.country or '?'}) holds {seat.dataset}"
        for seat in found.cohort.seats
    ]
    others = [
        f"  - {one.offer.region}: {one.reasons[0].rule}: saw {one.reasons[0].saw}, "
        f"wanted {one.reasons[0].wanted}"
        for one in found.cohort.others
    ]
    head = f"Federation      {found.fed.name}, {found.fed.rounds} rounds, data class {found.fed.data.data_class}"
    return "\n".join([head, *seats, *others, "", plan_text(found.demand, found.plan)])


def _proposal_json(found: Any) -> dict[str, Any]:
    from broker.cli.planview import offer_json, plan_json, reason_json

    return {
        "name": found.fed.name,
        "rounds": found.fed.rounds,
        "sites": [{"dataset": s.dataset, "offer": offer_json(s.offer)} for s in found.cohort.seats],
        "not_chosen": [
            {"offer": offer_json(one.offer), "reasons": [reason_json(r) for r in one.reasons]}
            for one in found.cohort.others
        ],
        "aggregator": plan_json(found.plan),
    }
