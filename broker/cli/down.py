"""`broker down`: end runs, give machines back, and wait until the provider confirms."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from broker.cli import find, text
from broker.cli.context import Context, utc_now
from broker.cli.follow import settled
from broker.cli.output import Format, OutputOption, emit, note
from broker.errors import ConflictError, NotFoundError, PartialError, UsageError
from broker.host import Session
from broker.model import FINAL, RUN_ENDED, Lease, Run
from broker.ports import Store

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def down(
    runs: Annotated[list[str] | None, typer.Argument(help="Ids, prefixes or names.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Every run.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the provider confirms.")] = True,
    timeout: Annotated[int, typer.Option(help="Seconds to wait at most.")] = 600,
    output: OutputOption = Format.TABLE,
) -> None:
    """End runs and give their machines back.

    Example: `broker down my-task` or `broker down --all`
    """
    context = Context()
    chosen = _chosen(context, runs or [], everything=everything)
    with context.session() as session:
        for run in chosen:
            end(context.store, run)
        session.poke()
        if wait:
            _wait(session, chosen, timeout)
    _report(context.store, chosen, output)


def end(store: Store, run: Run) -> None:
    """Take back the wish for a run and for every lease of it. Repeats itself over conflicts."""
    for _ in range(50):
        current = store.find(Run, id=run.id)[0]
        rows: list[Run | Lease] = [
            replace(lease, wanted=False)
            for lease in find.leases_of(store, run)
            if lease.wanted and current.state in RUN_ENDED
        ]
        if current.wanted and current.state not in RUN_ENDED:
            rows.append(replace(current, wanted=False))
        try:
            store.commit(*rows)
        except ConflictError:
            continue
        return
    raise ConflictError(f"run {run.id} changes too fast to be ended", hint="try again")


def _chosen(context: Context, words: list[str], *, everything: bool) -> list[Run]:
    if not words and not everything:
        raise UsageError("name a run, or say --all", hint="`broker status` lists them")
    if not context.ledger_exists:
        if words:
            raise NotFoundError(f"no run `{words[0]}`", hint="`broker status --all` lists them")
        return []
    store = context.store
    if everything:
        return [run for run in store.find(Run) if not settled(store, run)]
    return [find.run_of(store, word) for word in words]


def _wait(session: Session, runs: list[Run], timeout_s: int) -> None:
    end_at = time.monotonic() + timeout_s
    for _ in session.watch():
        open_runs = [run for run in runs if not settled(session.store, run)]
        if not open_runs:
            return
        if time.monotonic() > end_at:
            names = ", ".join(run.id for run in open_runs)
            raise PartialError(
                f"not confirmed within {timeout_s} s: {names}",
                hint="the background engine goes on trying; `broker status` shows how far it is",
            )


def _report(store: Store, runs: list[Run], output: Format) -> None:
    rows = []
    for run in runs:
        leases = find.leases_of(store, run)
        gone = sum(lease.state in FINAL for lease in leases)
        cost = sum((text.spent(lease, utc_now()) for lease in leases), start=0)
        rows.append(
            {
                "run": run.id,
                "name": run.name,
                "leases": len(leases),
                "closed": gone,
                "usd_spent": str(cost),
            }
        )
    words = [
        f"{row['run']}  {row['name']}: {row['closed']} of {row['leases']} leases closed, "
        f"cost {float(str(row['usd_spent'])):.4f} $"
        for row in rows
    ]
    emit("down", rows, "\n".join(words), output=output, names=[str(row["run"]) for row in rows])
    if not rows:
        note("nothing was running")
