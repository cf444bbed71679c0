"""`broker cloud`: which clouds this home may lease from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, table
from broker.errors import BrokerError, NotFoundError, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The cloud's name, e.g. aws or aws@lab.")]


@app.callback()
def cloud() -> None:
    """Enable, disable and check clouds. Entries live under `clouds:` in the configuration file."""


@app.command("list")
def list_clouds(*, output: OutputOption = Format.TABLE) -> None:
    """The configured clouds."""
    clouds = Context().config.clouds
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "provider": one.provider,
            "regions": list(one.regions),
            "endpoint": one.endpoint,
        }
        for name, one in clouds.items()
    ]
    text = table(
        ["CLOUD", "PROVIDER", "REGIONS", "ENDPOINT"],
        [[r["name"], r["provider"], ",".join(r["regions"]) or "all", r["endpoint"]] for r in rows],
    )
    none = "No cloud is enabled. `broker cloud enable aws` or `broker cloud enable local` adds one."
    emit("clouds", rows, text if rows else none, output=output, names=clouds)


@app.command()
def enable(
    name: NameArgument,
    *,
    region: Annotated[list[str] | None, typer.Option(help="May be repeated; default: all.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Another URL of the cloud's API.")] = None,
    profile: Annotated[str | None, typer.Option(help="Credentials profile.")] = None,
    country: Annotated[str | None, typer.Option(help="For `local`: where this machine is.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Add a cloud to the configuration file. Nothing is leased by this.

    Example: `broker cloud enable aws --region eu-north-1 --region eu-central-1`
    """
    from broker.documents.config import set_cloud

    context = Context()
    entry: dict[str, Any] = {"provider": name.split("@")[0]}
    _leasable(entry["provider"])
    extra = {"regions": region, "endpoint": endpoint, "profile": profile, "country": country}
    entry |= {key: value for key, value in extra.items() if value}
    set_cloud(context.home.make().config, name, entry)
    emit("cloud", {"name": name, **entry}, f"{name} is enabled", output=output, names=[name])


@app.command()
def disable(name: NameArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Remove a cloud from the configuration file. Its open leases must be closed first."""
    from broker.documents.config import remove_cloud

    context = Context()
    _known(context, name)
    _refuse_if_leased(context, name)
    remove_cloud(context.home.config, name)
    emit("cloud", {"name": name}, f"{name} is disabled", output=output, names=[name])


@app.command()
def check(name: NameArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Log in to a cloud and count our machines there."""
    context = Context()
    _known(context, name)
    machines = context.provider(name).instances()
    data = {"name": name, "machines": len(machines)}
    words = f"{name}: login works, {len(machines)} machines carry our tag"
    emit("cloud", data, words, output=output, names=[name])


def _leasable(provider: str) -> None:
    """Offers of more clouds are known than machines can be leased from."""
    from providers.registry import kinds

    if provider not in kinds():
        raise UsageError(
            f"no machine can be leased from `{provider}` yet",
            code="USE008",
            hint=f"known: {', '.join(kinds())}; `broker plan` and `broker offers` show the others too",
        )


def _known(context: Context, name: str) -> None:
    if name not in context.config.clouds:
        raise NotFoundError(f"no cloud `{name}`", hint="`broker cloud list` shows them")


def _refuse_if_leased(context: Context, name: str) -> None:
    from broker.model import FINAL, Lease

    if not context.ledger_exists:
        return
    held = [
        lease.id
        for lease in context.store.find(Lease)
        if lease.state not in FINAL and lease.attempt and lease.attempt.offer.cloud == name
    ]
    if held:
        raise BrokerError(
            f"{name} carries open leases: {', '.join(held)}", hint="broker down --all"
        )
