"""`broker catalog`: where offers and prices come from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, table
from broker.errors import PartialError, UsageError

if TYPE_CHECKING:
    from broker.catalog import ImportReport

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)


@app.callback()
def catalog() -> None:
    """Show and replace the offers on disk. A dated snapshot comes with the package."""


@app.command()
def status(*, output: OutputOption = Format.TABLE) -> None:
    """How many offers each provider has, how old their prices are, and who said so."""
    found = Context().catalog.status()
    rows = [
        [
            one.provider,
            one.offers,
            one.unpriced,
            one.regions,
            one.as_of,
            one.origin,
            "; ".join(one.sources),
        ]
        for one in found.providers
    ]
    header = ["PROVIDER", "OFFERS", "UNPRICED", "REGIONS", "AS OF", "ORIGIN", "SOURCES"]
    emit(
        "catalog",
        [asdict(one) for one in found.providers],
        table(header, rows),
        output=output,
        names=[one.provider for one in found.providers],
    )


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or .tgz with PROVIDER/vms.csv.")],
    *,
    output: OutputOption = Format.TABLE,
) -> None:
    """Take catalogs in SkyPilot's CSV layout. Each provider is replaced whole, or keeps what it had.

    Example: `broker catalog import ./catalogs`
    """
    report = Context().catalog.import_skypilot(source)
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
