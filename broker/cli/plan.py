"""`broker plan`: what would be leased, what it costs, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit
from broker.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from broker.cli.planning import Question
    from broker.model import Offer
    from broker.pool import Candidates

SHOWN = 8

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def plan(
    task: Annotated[Path, typer.Argument(help="A task file.")],
    *,
    policy: Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")] = None,
    infra: Annotated[str | None, typer.Option(help="Only here, e.g. `aws/eu-north-1`.")] = None,
    project: Annotated[str | None, typer.Option(help="Plan as work of this project.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every rule, what it refuses and what it costs.")
    ] = False,
    offer: Annotated[
        str | None,
        typer.Option(help="Trace one offer, e.g. `aws/eu-north-1/g5.xlarge`, or a key."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Choose the cheapest allowed offer, rank the fallbacks, and count every refusal by rule.

    Nothing is leased and no account is needed. Leaves with 5 when no offer fits the request, 6 when
    policy refuses what fits, 7 when a price cap or budget does.

    Example: `broker plan examples/finetune.yaml --policy examples/eu-phi.yaml --explain`
    """
    from broker.cli.planning import answer, question, read_task
    from broker.cli.planview import plan_json, plan_text

    context = Context()
    wish = read_task(context, task, infra=infra, project=project)
    asked = question(context, wish.demand, context.policy(policy or []))
    if offer is not None:
        _trace(asked, offer, output)
        return
    found = answer(asked, explain=explain)
    emit(
        "plan",
        {"task": wish.demand.name, **plan_json(found, explain=explain)},
        lambda: plan_text(wish.demand, found, explain=explain),
        output=output,
        warnings=found.warnings,
        names=[one.offer.key for one in found.placements],
    )


def _trace(asked: Question, word: str, output: Format) -> None:
    """How one offer fares before every rule, whether it is allowed or not."""
    from broker.cli.explainview import decision_json, offer_lines
    from broker.place.explain import smallest_change
    from broker.place.trace import trace

    meant = _meant(asked.candidates, word)
    found = trace(asked.demand, meant[0], asked.judge, asked.candidates.locked)
    change = smallest_change(found.reasons) if found.reasons else None
    emit(
        "plan-offer",
        {"task": asked.demand.name, **decision_json(found), "smallest_change": change},
        lambda: "\n".join(offer_lines(found, others=len(meant) - 1)),
        output=output,
        names=[found.offer.key],
    )


def _meant(candidates: Candidates, word: str) -> list[Offer]:
    """One machine on all its zones and markets, cheapest first. UsageError: it could be several."""
    from broker.pool import named

    found = named(candidates, word)
    if not found:
        raise NotFoundError(f"no offer `{word}`", hint=_near(candidates, word))
    machines = list(dict.fromkeys(f"{one.cloud}/{one.region}/{_shape(one)}" for one in found))
    if len(machines) > 1:
        more = f" and {len(machines) - SHOWN} more" if len(machines) > SHOWN else ""
        raise UsageError(
            f"`{word}` could be {', '.join(machines[:SHOWN])}{more}",
            code="USE004",
            hint="give more of the name",
        )
    return found


def _shape(offer: Offer) -> str:
    """As in a key."""
    return offer.instance_type or f"{offer.accelerator}:{offer.accelerator_count:g}"


def _near(candidates: Candidates, word: str) -> str:
    """A tip for the first part of the name that is not known."""
    from broker.diagnostics import suggest
    from broker.pool import named

    cloud, _, rest = word.partition("/")
    place, _, machine = rest.partition("/")
    clouds = {member.cloud for member in candidates.pools} | {o.cloud for o in candidates.extra}
    if cloud not in clouds:
        return suggest(cloud, clouds) or f"known clouds: {', '.join(sorted(clouds))}"
    there = {member.pool.region for member in candidates.pools if member.cloud == cloud}
    there |= {member.pool.zone or "" for member in candidates.pools if member.cloud == cloud}
    if place not in there:
        return suggest(place, there) or f"`broker offers --cloud {cloud}` lists them"
    types = {one.instance_type for one in named(candidates, f"{cloud}/{place}")}
    listed = f"`broker offers --cloud {cloud} --region {place}` lists them"
    return suggest(machine.partition("/")[0], types) or listed
