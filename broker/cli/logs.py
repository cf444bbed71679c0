"""`broker logs`: what a run's work printed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from broker.cli import find
from broker.cli.context import Context
from broker.cli.follow import LogTail
from broker.cli.output import Format, OutputOption, emit
from broker.errors import NotFoundError
from broker.model import RUN_ENDED, Order, Run

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def logs(
    run: Annotated[str, typer.Argument(help="Id, prefix or name of a run.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run ends.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print the logs of a run, one order after the other.

    Example: `broker logs my-task --follow`
    """
    context = Context()
    if not context.ledger_exists:
        raise NotFoundError(f"no run `{run}`", hint="`broker status --all` lists them")
    found = find.run_of(context.store, run)
    if output in (Format.JSON, Format.JSONL):
        rows = [_json(context, order) for order in find.orders_of(context.store, found)]
        emit("logs", rows, "", output=output)
    elif follow:
        _follow(context, found)
    else:
        LogTail(context.store, context.home, found).write_new(sys.stdout.buffer)


def _follow(context: Context, run: Run) -> None:
    tail = LogTail(context.store, context.home, run)
    with context.session() as session:
        for _ in session.watch():
            tail.write_new(sys.stdout.buffer)
            if context.store.find(Run, id=run.id)[0].state in RUN_ENDED:
                return


def _json(context: Context, order: Order) -> dict[str, object]:
    path = context.home.logs / f"{order.id}.log"
    data = path.read_bytes() if path.exists() else b""
    return {
        "order": order.id,
        "kind": order.kind,
        "node": order.node_id,
        "state": order.state.value,
        "text": data.decode("utf-8", "replace"),
    }
