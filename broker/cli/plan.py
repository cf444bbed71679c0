"""`broker plan`: what would be leased, what it costs, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def plan(
    task: Annotated[Path, typer.Argument(help="A task file.")],
    *,
    policy: Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")] = None,
    infra: Annotated[str | None, typer.Option(help="Only here, e.g. `aws/eu-north-1`.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Choose the cheapest allowed offer, rank the fallbacks, and count every refusal by rule.

    Nothing is leased and no account is needed. Leaves with 5 when no offer fits the request, 6 when
    policy refuses what fits, 7 when a price cap or budget does.

    Example: `broker plan examples/finetune.yaml --policy examples/eu-phi.yaml`
    """
    from broker.cli.planning import plan_task
    from broker.cli.planview import plan_json, plan_text

    wish, found = plan_task(Context(), task, policy or [], infra=infra)
    emit(
        "plan",
        {"task": wish.demand.name, **plan_json(found)},
        lambda: plan_text(wish.demand, found),
        output=output,
        warnings=found.warnings,
        names=[one.offer.key for one in found.placements],
    )
