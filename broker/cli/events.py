"""`broker events`: what happened, in order."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker.cli import find
from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, table
from broker.model import Event

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def events(
    run: Annotated[str | None, typer.Argument(help="Id, prefix or name of one run.")] = None,
    *,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many, newest last.")] = 200,
    output: OutputOption = Format.TABLE,
) -> None:
    """What happened to runs, leases, machines and orders, oldest first.

    Example: `broker events my-task -n 20`
    """
    context = Context()
    found = _events(context, run)[-last:] if context.ledger_exists else []
    emit(
        "events",
        [_json(event) for event in found],
        lambda: table(
            ["TIME", "EVENT", "SUBJECT", "MESSAGE"],
            [[_time(event), event.kind, event.subject, event.message] for event in found],
        ),
        output=output,
        names=[event.id for event in found],
    )


def _events(context: Context, word: str | None) -> list[Event]:
    if word is None:
        return context.store.find(Event)
    return context.store.find(Event, run_id=find.run_of(context.store, word).id)


def _time(event: Event) -> str:
    return event.at.strftime("%Y-%m-%d %H:%M:%SZ")


def _json(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "subject": event.subject,
        "run_id": event.run_id,
        "message": event.message,
        "data": event.data,
    }
