"""`broker catalog`: where offers and prices come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, note, table
from broker.errors import AuthError, BrokerError, PartialError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from broker.catalog import ImportReport, ProviderStatus
    from broker.catalog.refresh import Refreshed

STATUS = (
    *("PROVIDER", "OFFERS", "UNPRICED", "REGIONS", "ORIGIN"),
    *("AS OF", "AGE", "STALE", "CURRENCY", "SOURCES"),
)
REFRESHED = (
    *("PROVIDER", "RESULT", "OFFERS", "UNPRICED"),
    *("DEARER", "CHEAPER", "NEW", "GONE", "AS OF", "AGE"),
)

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)


@app.callback()
def catalog() -> None:
    """Show, refresh and replace the offers on disk. A dated snapshot comes with the package."""


@app.command()
def status(
    *,
    max_age: Annotated[
        str | None,
        typer.Option(help="Older prices are stale, e.g. 7d. Default: the configuration's."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """How many offers each provider has, how old their prices are, and who said so.

    AGE is that of the oldest price, in days; STALE counts the offers whose price is older than
    `--max-age`. Nothing is dropped for its age: a policy's `max_price_age` refuses it.

    Example: `broker catalog status --max-age 7d`
    """
    context = Context()
    limit, today = _limit_d(context, max_age), utc_now().date()
    found = context.catalog.status()
    rows = [_status_row(one, today, limit) for one in found.providers]
    text = table(
        STATUS,
        [
            [
                row["provider"],
                row["offers"],
                row["unpriced"],
                row["regions"],
                row["origin"],
                _span(row["as_of"], row["newest"]),
                f"{row['age_d']} d",
                row["stale"],
                ",".join(row["currencies"]),
                _named(row["sources"], whole=output is Format.WIDE),
            ]
            for row in rows
        ],
    )
    emit("catalog", rows, text, output=output, names=[row["provider"] for row in rows])


@app.command()
def refresh(
    *,
    cloud: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated; default: every configured cloud."),
    ] = None,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink", help="Publish even if most offers are gone or prices jumped."
        ),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask the providers for their prices now. Each is replaced whole, or keeps its last good offers.

    AWS and GCP need credentials that may read prices; Azure's prices are public. A cloud's `regions`
    in the configuration limit what is asked for; offers of other regions stay as they are.
    Leaves with 8 when only some could be refreshed, with 1 or 4 when none could.

    Example: `broker catalog refresh --cloud azure --cloud aws`
    """
    from broker.catalog.refresh import refresh as ask
    from broker.cli.pricing import jobs

    context = Context()
    asked = jobs(context, cloud or ())
    note(f"asking {', '.join(job.source.name for job in asked)}; this may take minutes")
    done = ask(context.catalog, asked, accept_shrink=accept_shrink)
    if output in (Format.JSON, Format.JSONL):
        _raise_kept(done)  # one document: the error tells all
    rows = [_refreshed_row(one, utc_now().date()) for one in done]
    columns = ("provider", "result", "offers", "unpriced", "dearer", "cheaper", "added", "gone")
    text = table(
        REFRESHED,
        [[*(row[name] for name in columns), row["as_of"], f"{row['age_d']} d"] for row in rows],
    )
    warnings = [
        f"{one.provider}: no prices any more in {', '.join(one.change.regions_lost)}"
        for one in done
        if one.published and one.change.regions_lost
    ]
    names = [one.provider for one in done if one.published]
    emit("catalog-refresh", rows, text, output=output, warnings=warnings, names=names)
    _raise_kept(done)


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="A folder or .tgz with PROVIDER/vms.csv, or a file of `export`."),
    ],
    *,
    output: OutputOption = Format.TABLE,
) -> None:
    """Take catalogs from files. Each provider is replaced whole, or keeps what it had.

    Reads SkyPilot's CSV layout, and what `broker catalog export` writes.

    Example: `broker catalog import ./catalogs`
    """
    from broker.catalog import export

    catalog, ours = Context().catalog, export.is_export(source)
    report = export.load(catalog, source) if ours else catalog.import_skypilot(source)
    _check(report)
    rows = [[one.provider, one.offers, one.unpriced, one.as_of] for one in report.imported]
    emit(
        "catalog-import",
        {"imported": [asdict(one) for one in report.imported]},
        table(["PROVIDER", "OFFERS", "UNPRICED", "AS OF"], rows),
        output=output,
        warnings=report.warnings,
        names=[one.provider for one in report.imported],
    )


@app.command("export")
def export_(
    target: Annotated[Path, typer.Argument(help="The file, or for skypilot the folder, to write.")],
    *,
    form: Annotated[
        str, typer.Option("--format", help="csv, jsonl or skypilot.", show_default=True)
    ] = "csv",
    provider: Annotated[
        list[str] | None, typer.Option(help="May be repeated; default: all.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write every offer with price, currency, source and date, and the facts of site and chip.

    `broker catalog import` takes csv and jsonl back without loss. skypilot writes a folder of
    PROVIDER/vms.csv, a layout that knows neither source nor currency.

    Example: `broker catalog export --format jsonl --provider aws offers.jsonl`
    """
    from broker.catalog import export

    if form not in list(export.Format):
        raise UsageError(
            f"no format `{form}`", code="CAT019", hint=f"known: {', '.join(export.Format)}"
        )
    wrote = export.export(Context().catalog, target, export.Format(form), provider or ())
    rows = [{"provider": name, "offers": offers} for name, offers in wrote.items()]
    text = table(["PROVIDER", "OFFERS"], [list(row.values()) for row in rows])
    emit("catalog-export", rows, text, output=output, names=list(wrote))


def _limit_d(context: Context, max_age: str | None) -> float:
    """Days."""
    from broker.documents.units import UnitError, days

    if max_age is None:
        return float(context.config.max_price_age_d)
    try:
        return float(days(max_age))
    except UnitError as exc:
        raise UsageError(f"--max-age {max_age} {exc}", code="CAT019", hint=exc.tip) from exc


def _status_row(one: ProviderStatus, today: date, limit_d: float) -> dict[str, Any]:
    return {
        "provider": one.provider,
        "origin": one.origin,
        "as_of": one.as_of,
        "newest": one.newest,
        "age_d": one.age_d(today),
        "stale": one.stale(today, limit_d),
        "max_age_d": limit_d,
        "offers": one.offers,
        "unpriced": one.unpriced,
        "regions": one.regions,
        "currencies": list(one.currencies),
        "sources": list(one.sources),
    }


def _named(sources: Sequence[str], *, whole: bool) -> str:
    """The first source and how many more; all of them in the wide table."""
    if whole or len(sources) < 2:
        return "; ".join(sources)
    return f"{sources[0]} and {len(sources) - 1} more"


def _span(oldest: str, newest: str) -> str:
    return oldest if oldest == newest else f"{oldest}..{newest}"


def _refreshed_row(one: Refreshed, today: date) -> dict[str, Any]:
    from broker.catalog.catalog import age_d

    return {
        "provider": one.provider,
        "result": "published" if one.published else "kept",
        "why": one.error.message if one.error else "",
        "code": one.error.code if one.error else "",
        "offers": one.offers,
        "unpriced": one.unpriced,
        "dearer": one.change.dearer,
        "cheaper": one.change.cheaper,
        "added": one.change.added,
        "gone": one.change.gone,
        "regions_lost": list(one.change.regions_lost),
        "as_of": one.as_of,
        "age_d": age_d(one.as_of, today) if one.as_of else None,
    }


def _raise_kept(done: Sequence[Refreshed]) -> None:
    """PartialError when some were kept, AuthError or BrokerError when all were."""
    kept = [(one.error, one.as_of) for one in done if one.error]
    if not kept:
        return
    errors = [error for error, _ in kept]
    words = "; ".join(f"{error.message}: {_last(as_of)}" for error, as_of in kept)
    hint = next((error.hint for error in errors if error.hint), None)
    published = [one.provider for one in done if one.published]
    if published:
        words = f"{words}; {', '.join(published)} published"
        raise PartialError(words, code="CAT018", hint=hint)
    auth = next((error for error in errors if isinstance(error, AuthError)), None)
    if auth:
        raise AuthError(words, code=auth.code, hint=auth.hint) from auth
    raise BrokerError(words, code=errors[0].code, hint=hint) from errors[0]


def _last(as_of: str | None) -> str:
    return f"kept the last good one of {as_of}" if as_of else "there is no last good one"


def _check(report: ImportReport) -> None:
    """A provider that was refused keeps its last good offers; the others have their new ones."""
    if not report.failed:
        return
    words = "; ".join(f"{provider}: {why}" for provider, why in report.failed.items())
    done = ", ".join(one.provider for one in report.imported)
    error = PartialError if report.imported else UsageError
    raise error(
        f"{words}; the last good offers are kept{f'; {done} replaced' if done else ''}",
        code="CAT009",
        hint="mend the file and import again",
    )
