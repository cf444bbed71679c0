"""`broker offers`: what can be leased, in the order that one asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import text
from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, note, table
from broker.errors import NotFoundError, UsageError
from broker.model import Market, Offer

if TYPE_CHECKING:
    from broker.catalog.browse import Filter, Group, Order, Page, Stock

_LISTED = "`broker offers` shows what there is"
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


class Sort(StrEnum):
    PRICE = "price"
    ACCELERATOR_PRICE = "accelerator-price"
    FLOP_PRICE = "flop-price"
    CARBON = "carbon"
    VCPUS = "vcpus"
    MEMORY = "memory"
    ACCELERATOR_MEMORY = "accelerator-memory"
    BF16 = "bf16"
    CLOUD = "cloud"
    REGION = "region"
    COUNTRY = "country"


class Fact(StrEnum):
    ACCELERATOR = "accelerator"
    CLOUD = "cloud"
    REGION = "region"
    COUNTRY = "country"
    MARKET = "market"


Words = list[str] | None


@app.command()
def offers(
    accelerator: Annotated[
        str | None, typer.Argument(help="e.g. A100 or A100:8, or several with commas.")
    ] = None,
    *,
    gpu: Annotated[Words, typer.Option("--gpu", "-g", help="The same; may be repeated.")] = None,
    gpu_memory: Annotated[float | None, typer.Option(help="At least so many GiB on each.")] = None,
    cpus: Annotated[float | None, typer.Option(help="At least so many vCPUs.")] = None,
    memory: Annotated[float | None, typer.Option(help="At least so many GiB.")] = None,
    instance_type: Annotated[Words, typer.Option(help="The cloud's name; repeatable.")] = None,
    cloud: Annotated[
        Words, typer.Option("--cloud", "--provider", help="e.g. aws, gcp, aws@lab; repeatable.")
    ] = None,
    region: Annotated[Words, typer.Option(help="e.g. eu-north-1; repeatable.")] = None,
    zone: Annotated[Words, typer.Option(help="e.g. eu-north-1a; repeatable.")] = None,
    country: Annotated[Words, typer.Option(help="ISO code; repeatable.")] = None,
    bloc: Annotated[Words, typer.Option(help="e.g. EU or EEA; repeatable.")] = None,
    market: Annotated[
        list[Market] | None,
        typer.Option(help="spot, on-demand, reserved or owned; repeatable."),
    ] = None,
    max_price: Annotated[float | None, typer.Option(help="USD per hour.")] = None,
    max_carbon: Annotated[float | None, typer.Option(help="gCO2 per kWh.")] = None,
    sort: Annotated[str, typer.Option(help="Least first; `-carbon` for most first.")] = "price",
    group_by: Annotated[
        list[Fact] | None, typer.Option(help="Count instead of list; repeatable.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="e.g. cloud,region,price.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="0 shows all.")] = 40,
    output: OutputOption = Format.TABLE,
) -> None:
    """List offers of the catalog, of the fleet and of reservations, cheapest first.

    Orders: price, accelerator-price, flop-price, carbon, vcpus, memory, accelerator-memory, bf16,
    cloud, region, country. What is not known comes last.

    Example: `broker offers A100:8 --bloc EU --max-price 30 --sort carbon`
    """
    from broker.catalog.browse import Filter

    context = Context()
    asked = [
        *(accelerator or "").split(","),
        *(one for word in gpu or () for one in word.split(",")),
    ]
    wanted = Filter(
        accelerators=tuple(_accelerator(context, one) for one in asked if one.strip()),
        accelerator_memory_gib=gpu_memory,
        cpus=cpus,
        memory_gib=memory,
        instance_types=frozenset(instance_type or ()),
        clouds=frozenset(cloud or ()),
        regions=frozenset(region or ()),
        zones=frozenset(zone or ()),
        countries=frozenset(one.upper() for one in country or ()),
        blocs=frozenset(one.upper() for one in bloc or ()),
        markets=frozenset(market or ()),
        max_usd_per_hour=Decimal(str(max_price)) if max_price is not None else None,
        max_carbon_g_per_kwh=max_carbon,
    )
    if group_by:
        _show_groups(context, wanted, group_by, output)
    else:
        found = _page(context, wanted, sort, limit or None)
        _show(found, columns, output)
        _tell_age(context, found.offers)


def _page(context: Context, wanted: Filter, sort: str, limit: int | None) -> Page:
    from broker.catalog.browse import page

    order = _order(sort)
    with context.catalog.open() as conn:
        return page(conn, _stock(context), wanted, order, limit)


def _stock(context: Context) -> Stock:
    from broker.catalog.browse import Stock

    return Stock(context.catalog.pools(context.catalog_clouds), context.owned_offers())


def _tell_age(context: Context, shown: Sequence[Offer]) -> None:
    """Say it where every price is older than the configuration calls fresh."""
    days = context.config.max_price_age_d
    oldest = (utc_now() - timedelta(days=float(days))).date().isoformat()
    dates = [one.price.as_of for one in shown if one.price and one.market is not Market.OWNED]
    if dates and max(dates) < oldest:
        note(f"prices are as of {max(dates)} and older; `broker catalog refresh` asks for today's")


def _show(found: Page, columns: str | None, output: Format) -> None:
    from broker.cli.offerview import COLUMNS, NARROW, WIDE, named
    from broker.cli.planview import offer_json

    names = named(columns) if columns else WIDE if output is Format.WIDE else NARROW
    shown = [COLUMNS[name] for name in names]
    rows = [[column.read(offer) for column in shown] for offer in found.offers]
    if found.total > len(found.offers):
        note(f"{len(found.offers)} of {found.total:,} offers; `-n 0` shows all")
    emit(
        "offers",
        [offer_json(offer) for offer in found.offers] if output in _AS_DATA else [],
        lambda: table([column.header for column in shown], rows) if rows else _NONE,
        output=output,
        names=[offer.key for offer in found.offers] if output is Format.NAME else (),
    )


_NONE = "No offer fits. `broker catalog status` says what is known."
_AS_DATA = (Format.JSON, Format.JSONL, Format.CSV)


def _show_groups(
    context: Context, wanted: Filter, group_by: Sequence[Fact], output: Format
) -> None:
    from broker.catalog.browse import groups

    def facts(offer: Offer) -> tuple[str, ...]:
        return tuple(_FACTS[fact](offer) for fact in group_by)

    with context.catalog.open() as conn:
        found = groups(conn, _stock(context), wanted, facts)
    header = [
        *(fact.value.upper() for fact in group_by),
        "OFFERS",
        "UNPRICED",
        "FROM $/H",
        "TO $/H",
    ]
    emit(
        "offer-groups",
        [_group_json(group_by, one) for one in found],
        lambda: table(header, [_group_row(one) for one in found]) if found else _NONE,
        output=output,
        names=["/".join(one.facts) for one in found],
    )


_FACTS: dict[Fact, Callable[[Offer], str]] = {
    Fact.ACCELERATOR: lambda one: (
        f"{one.accelerator}:{one.accelerator_count:g}" if one.accelerator else "none"
    ),
    Fact.CLOUD: lambda one: one.cloud,
    Fact.REGION: lambda one: one.region,
    Fact.COUNTRY: lambda one: one.site.country or "unknown",
    Fact.MARKET: lambda one: one.market.value,
}


def _group_json(group_by: Sequence[Fact], one: Group) -> dict[str, object]:
    return {
        **{fact.value: word for fact, word in zip(group_by, one.facts, strict=True)},
        "offers": one.offers,
        "unpriced": one.offers - one.priced,
        "least_usd_per_hour": None if one.least is None else float(one.least),
        "most_usd_per_hour": None if one.most is None else float(one.most),
    }


def _group_row(one: Group) -> list[object]:
    prices = (None if usd is None else text.usd(usd, 4) for usd in (one.least, one.most))
    return [*one.facts, one.offers, one.offers - one.priced, *prices]


def _accelerator(context: Context, word: str) -> tuple[str, float]:
    """The catalog's own name for what was typed, and the count (0: any)."""
    from broker.diagnostics import suggest

    name, _, count = word.strip().partition(":")
    known = {one.lower(): one for one in context.catalog.accelerators()}
    known |= {
        (one.accelerator or "").lower(): one.accelerator or "" for one in context.owned_offers()
    }
    if name.lower() not in known:
        raise NotFoundError(
            f"no offer has a `{name}`", hint=suggest(name, known.values()) or _LISTED
        )
    try:
        return known[name.lower()], float(count) if count else 0.0
    except ValueError as error:
        raise UsageError(f"`{count}` is no count", code="USE005", hint="e.g. A100:8") from error


def _order(word: str) -> Callable[[Sequence[Offer]], Order]:
    from broker.catalog.browse import Order, by_price, by_word
    from broker.diagnostics import suggest

    descending, name = word.startswith("-"), word.removeprefix("-")
    if name not in {one.value for one in Sort}:
        hint = suggest(name, [one.value for one in Sort]) or f"one of {', '.join(Sort)}"
        raise UsageError(f"offers are not sorted by `{name}`", code="USE007", hint=hint)
    sort = Sort(name)
    if sort is Sort.PRICE:
        return lambda _: by_price(descending=descending)
    if sort in _BY_WORD:
        return lambda among: by_word(_BY_WORD[sort], among, descending=descending)
    column, weight = _BY_NUMBER[sort]
    return lambda _: Order(column, weight, descending)


def _per_accelerator(offer: Offer) -> float | None:
    return 1 / offer.accelerator_count if offer.accelerator and offer.accelerator_count else None


def _per_flop(offer: Offer) -> float | None:
    flops = offer.chip.bf16_tflops
    return 1 / (offer.accelerator_count * flops) if flops and offer.accelerator_count else None


_BY_WORD: dict[Sort, Callable[[Offer], str | None]] = {
    Sort.CLOUD: lambda one: one.cloud,
    Sort.REGION: lambda one: one.region,
    Sort.COUNTRY: lambda one: one.site.country,
}
_BY_NUMBER: dict[Sort, tuple[str, Callable[[Offer], float | None]]] = {
    Sort.ACCELERATOR_PRICE: ("micros", _per_accelerator),
    Sort.FLOP_PRICE: ("micros", _per_flop),
    Sort.CARBON: ("1", lambda one: one.site.carbon_g_per_kwh),
    Sort.VCPUS: ("vcpus", lambda _: 1.0),
    Sort.MEMORY: ("memory_gib", lambda _: 1.0),
    Sort.ACCELERATOR_MEMORY: ("1", lambda one: one.chip.memory_gib),
    Sort.BF16: ("1", lambda one: one.chip.bf16_tflops),
}
