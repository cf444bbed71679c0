"""`broker engine`: the background engine of a home. Started by other commands, seldom by hand."""

from __future__ import annotations

import signal
import sys

import typer

from broker.cli.context import Context
from broker.cli.output import note

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def engine() -> None:
    """Run the engine until nothing is open. Does nothing when another one runs already."""
    from broker.host import run_background

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    context = Context()
    if not run_background(context.home.make(), context.store, context.build_host):
        note("another engine runs")
