"""`broker offers`: what can be leased, cheapest first."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from broker.cli import text
from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, table
from broker.cli.planview import offer_json
from broker.errors import NotFoundError, UsageError
from broker.model import AtLeast, Market, Offer, Resources

_LISTED = "`broker offers` shows what there is"
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def offers(
    *,
    gpu: Annotated[str | None, typer.Option("--gpu", "-g", help="e.g. A100 or A100:8.")] = None,
    cpus: Annotated[float | None, typer.Option(help="At least so many vCPUs.")] = None,
    memory: Annotated[float | None, typer.Option(help="At least so many GiB.")] = None,
    cloud: Annotated[str | None, typer.Option(help="e.g. aws, gcp, aws@lab.")] = None,
    region: Annotated[str | None, typer.Option(help="e.g. eu-north-1.")] = None,
    country: Annotated[list[str] | None, typer.Option(help="ISO code; may be repeated.")] = None,
    bloc: Annotated[str | None, typer.Option(help="e.g. EU or EEA.")] = None,
    market: Annotated[Market | None, typer.Option(help="spot, on-demand or owned.")] = None,
    max_price: Annotated[float | None, typer.Option(help="USD per hour.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="0 shows all.")] = 40,
    output: OutputOption = Format.TABLE,
) -> None:
    """List offers of the catalog and of the fleet, cheapest first, unknown prices last.

    Example: `broker offers --gpu A100:8 --bloc EU --max-price 30`
    """
    context = Context()
    name, count = _accelerator(context, gpu) if gpu else (None, 0.0)
    wanted = Resources(
        accelerator=name,
        accelerator_count=count,
        cpus=AtLeast(cpus, or_more=True) if cpus else None,
        memory_gib=AtLeast(memory, or_more=True) if memory else None,
        cloud=cloud,
        region=region,
        market=market,
        max_usd_per_hour=Decimal(str(max_price)) if max_price is not None else None,
    )
    where = frozenset(country or ())
    found = [
        offer
        for offer in _all(context, wanted, limit=None if where or bloc else limit or None)
        if (not where or offer.site.country in where) and (not bloc or bloc in offer.site.blocs)
    ]
    shown = found[:limit] if limit else found
    emit(
        "offers",
        [offer_json(offer) for offer in shown],
        lambda: _table(shown, wide=output is Format.WIDE),
        output=output,
        names=[offer.key for offer in shown],
    )


def _all(context: Context, wanted: Resources, limit: int | None) -> list[Offer]:
    from broker.place.match import fits

    found = context.catalog.search(wanted, context.catalog_clouds, limit)
    owned = [offer for offer in context.owned_offers() if fits(wanted, offer)]
    return [*owned, *found]


def _accelerator(context: Context, word: str) -> tuple[str, float]:
    """The catalog's own name for what was typed, and the count (0: any)."""
    from broker.diagnostics import suggest

    name, _, count = word.partition(":")
    known = {one.lower(): one for one in context.catalog.accelerators()}
    if name.lower() not in known:
        raise NotFoundError(
            f"no offer has a `{name}`", hint=suggest(name, known.values()) or _LISTED
        )
    try:
        return known[name.lower()], float(count) if count else 0.0
    except ValueError as error:
        raise UsageError(f"`{count}` is no count", code="USE005", hint="e.g. A100:8") from error


def _table(found: list[Offer], *, wide: bool) -> str:
    if not found:
        return "No offer fits. `broker catalog status` says what is known."
    header = ["CLOUD", "REGION", "ZONE", "INSTANCE", "GPU", "VCPU", "GIB", "MARKET", "$/H", "IN"]
    more = ["BLOCS", "GCO2/KWH", "AS OF", "SOURCE", "DATA"] if wide else []
    return table([*header, *more], [[*_row(one), *(_more(one) if wide else ())] for one in found])


def _row(offer: Offer) -> list[object]:
    gpu = f"{offer.accelerator}:{offer.accelerator_count:g}" if offer.accelerator else None
    return [
        offer.cloud,
        offer.region,
        offer.zone,
        offer.instance_type,
        gpu,
        f"{offer.vcpus:g}" if offer.vcpus is not None else None,
        f"{offer.memory_gib:g}" if offer.memory_gib is not None else None,
        offer.market,
        text.usd(offer.price.usd_per_hour, 4) if offer.price else "unknown",
        offer.site.country,
    ]


def _more(offer: Offer) -> list[object]:
    carbon = offer.site.carbon_g_per_kwh
    return [
        ",".join(sorted(offer.site.blocs)),
        f"{carbon:.0f}" if carbon is not None else None,
        offer.price.as_of if offer.price else None,
        offer.price.source if offer.price else None,
        ",".join(offer.datasets),
    ]
