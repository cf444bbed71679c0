"""`broker edge`: the fleet of enrolled machines."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli import text
from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, mapping, note, table
from broker.errors import PolicyError, UsageError
from broker.model import Node, NodeState

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
SILENT = timedelta(seconds=60)
NodeArgument = Annotated[str, typer.Argument(help="Id, prefix or name of an edge node.")]


@app.callback()
def edge() -> None:
    """Invite machines that hold data, list them, take them away."""


@app.command()
def invite(
    name: Annotated[str, typer.Argument(help="The node's name, e.g. oslo-01.")],
    *,
    country: Annotated[str | None, typer.Option(help="ISO code of where it stands.")] = None,
    ttl: Annotated[str, typer.Option(help="How long the token is good, e.g. 15m.")] = "15m",
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a one-time token and print what the node needs to join.

    Example: `broker edge invite oslo-01 --country NO | ssh oslo broker-edge run --join -`
    """
    from broker import fleet

    context = Context()
    good_for = _ttl(ttl)
    secret, node = fleet.invite(context.store, name, country=country, now=utc_now(), ttl=good_for)
    with context.session():
        join = {"url": context.enrol_url, "token": secret, "ca_pin": context.ca.pin}
    if output is Format.TABLE:
        note(f"{node.name} may join within {ttl}, once. On the node, with this line as input:")
        note(f"  broker-edge run --join - --dataset NAME=FILE   # {node.id}")
    emit(
        "invitation", {"node_id": node.id, **join}, json.dumps(join), output=output, names=[node.id]
    )


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def join(arguments: typer.Context) -> None:
    """Join this machine to a broker: the same as `broker-edge run`, whose options it takes."""
    from edge.main import main

    raise typer.Exit(main(["run", *arguments.args]))


@app.command("list")
def list_nodes(*, output: OutputOption = Format.TABLE) -> None:
    """Every edge node, with what it holds and when it was heard of last."""
    context = Context()
    nodes = context.store.find(Node, kind="edge") if context.ledger_exists else []
    emit(
        "edge",
        [_json(node) for node in nodes],
        lambda: _table(nodes),
        output=output,
        names=[node.id for node in nodes],
    )


@app.command()
def show(node: NodeArgument, *, output: OutputOption = Format.TABLE) -> None:
    """One edge node in full."""
    from broker import fleet

    found = fleet.node_named(Context().store, node)
    facts = _json(found)
    flat = {key: json.dumps(v) if isinstance(v, dict | list) else v for key, v in facts.items()}
    emit("edge-node", facts, lambda: mapping(flat), output=output, names=[found.id])


@app.command()
def drain(
    node: NodeArgument,
    *,
    policy: Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Outside the hours of the policy too.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Give a node no new work; what runs there may end.

    Rules with `disruption` say when a node that has work may be drained, and how many at once.
    """
    from broker import fleet

    if not force:
        _check_hours(Context(), node, policy or [])
    _changed(fleet.drain, node, output)


@app.command()
def resume(node: NodeArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Undo `drain`."""
    from broker import fleet

    _changed(fleet.resume, node, output)


@app.command()
def revoke(node: NodeArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Refuse a node's certificate from the next request on. It must be invited again to return."""
    from broker import fleet

    _changed(fleet.revoke, node, output)


def _check_hours(context: Context, word: str, files: list[Path]) -> None:
    """PolicyError POL041: work runs there, and now is not the time to disturb it."""
    from broker import disruption, fleet

    node = fleet.node_named(context.store, word)
    against = disruption.against_drain(context.store, context.policy(files), node, utc_now())
    if against is None:
        return
    run, finding, opening = against
    when = f"it may from {opening:%a %Y-%m-%d %H:%M} UTC on; " if opening else ""
    raise PolicyError(
        f"{node.name} may not be drained now: {run.name} runs there, and {finding.rule} "
        f"saw {finding.saw}, wanted {finding.wanted}",
        code="POL041",
        location=finding.location,
        hint=f"{when}--force drains it all the same",
    )


def _changed(verb: Any, word: str, output: Format) -> None:
    context = Context()
    after: Node = verb(context.store, word, utc_now())
    emit(
        "edge-node", _json(after), f"{after.name} is {after.state}", output=output, names=[after.id]
    )


def _ttl(word: str) -> timedelta:
    try:
        good_for = timedelta(seconds=text.seconds(word))
    except ValueError as error:
        raise UsageError(
            f"`{word}` is no duration", code="USE005", hint="e.g. 90s, 15m, 2h"
        ) from error
    if not timedelta(0) < good_for <= timedelta(days=1):
        raise UsageError(
            f"a token is good for up to 1d, not {word}", code="USE005", hint="e.g. 15m"
        )
    return good_for


def _table(nodes: list[Node]) -> str:
    if not nodes:
        return "No edge node yet. `broker edge invite NAME --country XX` makes an invitation."
    header = ["NODE", "NAME", "STATE", "COUNTRY", "DATA", "ROWS", "VCPU", "GIB", "GPU", "SEEN"]
    return table(header, [_row(node) for node in nodes])


def _row(node: Node) -> list[object]:
    held = node.capacity
    gpu = f"{held.accelerator}:{held.accelerator_count:g}" if held.accelerator else None
    return [
        node.id,
        node.name,
        _heard(node),
        node.country,
        ",".join(data.name for data in node.datasets),
        sum(data.rows for data in node.datasets),
        f"{held.vcpus:g}" if held.vcpus else None,
        f"{held.memory_gib:.1f}" if held.memory_gib else None,
        gpu,
        f"{text.age(node.seen_at, utc_now())} ago" if node.seen_at else None,
    ]


def _heard(node: Node) -> str:
    """The state; `silent` for one that was online when an engine last listened."""
    recently = node.seen_at and utc_now() - node.seen_at < SILENT
    return node.state if node.state is not NodeState.ONLINE or recently else "silent"


def _json(node: Node) -> dict[str, Any]:
    from broker.store.codec import to_json

    facts: dict[str, Any] = to_json(node)
    facts.pop("version", None)
    if node.state is NodeState.INVITED:
        facts["hint"] = "not joined yet"
    return facts
