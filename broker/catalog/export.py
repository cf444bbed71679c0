"""Writes the whole catalog to a file and reads it back, offer for offer.

`csv` and `jsonl` carry everything: price, currency, source and date, and the facts of the site and
the chip, which are for the reader: an import takes only what the catalog stores. `skypilot` is a
folder of `PROVIDER/vms.csv` in SkyPilot's layout, which knows neither source nor date nor currency.
"""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from broker.catalog import query
from broker.catalog.accelerators import chip
from broker.catalog.catalog import Catalog, ImportReport
from broker.catalog.compare import CURRENCY
from broker.catalog.regions import site
from broker.catalog.rows import MICRO, Row, Source, price_micros
from broker.catalog.skypilot import MAX_BYTES, REQUIRED, ZONE
from broker.errors import NotFoundError, UsageError
from broker.model import Location, Market

STORED = (
    "provider",
    "region",
    "zone",
    "instance_type",
    "market",
    "vcpus",
    "memory_gib",
    "accelerator",
    "accelerator_count",
    "price_per_hour",
    "currency",
    "as_of",
    "source",
)
FACTS = (
    "country",
    "subdivision",
    "blocs",
    "operator",
    "operator_country",
    "place_source",
    "carbon_g_per_kwh",
    "carbon_convention",
    "carbon_source",
    "chip_memory_gib",
    "chip_bf16_tflops",
    "chip_watts",
    "chip_source",
)
COLUMNS = (*STORED, *FACTS)
PROVIDER = re.compile(r"[a-z0-9][a-z0-9_-]*")
NOBODY = Source("", "")
MARKETS = frozenset({Market.ON_DEMAND.value, Market.SPOT.value})


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    SKYPILOT = "skypilot"


Record = Mapping[str, Any]  # a column's name -> a string, a number or None


def export(
    catalog: Catalog, path: Path, format_: Format, providers: Collection[str] = ()
) -> dict[str, int]:
    """Write the offers of these providers, or of all; returns how many of each.

    A file is replaced in one step. NotFoundError: the catalog has no such provider.
    """
    with catalog.open() as conn:
        known = [name for (name,) in conn.execute("SELECT name FROM provider ORDER BY name")]
        if missing := sorted(set(providers) - set(known)):
            raise NotFoundError(
                f"the catalog has no provider {', '.join(missing)}",
                hint=f"known: {', '.join(known)}",
            )
        wanted = [name for name in known if not providers or name in providers]
        rows = {name: _ordered(query.rows(conn, name)) for name in wanted}
    try:
        _WRITERS[format_](path, rows)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}", code="CAT016") from exc
    return {name: len(found) for name, found in rows.items()}


def is_export(path: Path) -> bool:
    """Whether a file begins as `csv` or `jsonl` does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith((b'{"provider":', ",".join(STORED).encode()))


def load(catalog: Catalog, path: Path) -> ImportReport:
    """Replace each provider in an exported file. UsageError: nothing was replaced."""
    return ImportReport(tuple(catalog.take(*found) for found in read(path).items()), {}, ())


def read(path: Path) -> dict[str, list[Row]]:
    """Each provider's rows of an exported file. UsageError naming file and line."""
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size} bytes, too large", code="CAT007")
    found: dict[str, list[Row]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, record in _records(path, file):
                provider, row = _parsed(path, number, record)
                found[provider].append(row)
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: not a text file: {exc}", code="CAT004") from exc
    if not found:
        raise UsageError(f"{path}: no offers", code="CAT003", location=Location(str(path)))
    return dict(found)


def records(provider: str, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """What is written of each row, by the names of COLUMNS."""
    for row in rows:
        where, accelerator = site(provider, row.region), chip(row.accelerator or "")
        stored = (provider, *row[:8], _price(row.micros), *_said(row.source))
        facts = (
            where.country,
            where.subdivision,
            " ".join(sorted(where.blocs)),
            where.operator,
            where.operator_country,
            where.place_source,
            where.carbon_g_per_kwh,
            where.carbon_convention,
            where.source,
            accelerator.memory_gib,
            accelerator.bf16_tflops,
            accelerator.watts,
            accelerator.source,
        )
        yield dict(zip(COLUMNS, (*stored, *facts), strict=True))


def _said(source: Source) -> tuple[str, str, str]:
    return source.currency, source.as_of, source.name


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """The same rows give the same file."""
    return sorted(rows, key=lambda row: tuple("" if cell is None else str(cell) for cell in row))


def _price(micros: int | None) -> str | None:
    """As decimal text: no figure is lost."""
    return None if micros is None else f"{(Decimal(micros) / MICRO).normalize():f}"


def _as_csv(path: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    def put(file: IO[str]) -> None:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for provider, mine in rows.items():
            writer.writerows(records(provider, mine))

    _replace(path, put)


def _as_jsonl(path: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False).encode

    def put(file: IO[str]) -> None:
        for provider, mine in rows.items():
            for record in records(provider, mine):
                file.write(encode(record) + "\n")

    _replace(path, put)


def _as_skypilot(path: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    """Each file is dated as the oldest of its prices: an import takes the date from there."""
    for provider, mine in rows.items():
        folder = path / provider
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "vms.csv", partial(_put_skypilot, rows=mine))
        oldest = min(row.source.as_of for row in mine)
        stamp = datetime.fromisoformat(oldest).replace(tzinfo=UTC).timestamp()
        os.utime(folder / "vms.csv", (stamp, stamp))


def _put_skypilot(file: IO[str], rows: Sequence[Row]) -> None:
    """A line for each machine and zone, with the prices of both markets."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*REQUIRED, ZONE))
    machines: dict[Row, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.source.currency != CURRENCY:
            raise UsageError(
                f"a price in {row.source.currency} cannot be written in SkyPilot's layout",
                code="CAT017",
                hint="write csv or jsonl, which name the currency",
            )
        machine = row._replace(market="", micros=None, source=NOBODY)
        machines[machine][row.market].append(_price(row.micros) or "")
    for one, prices in machines.items():
        on_demand, spot = prices[Market.ON_DEMAND.value], prices[Market.SPOT.value]
        for pair in zip_longest(on_demand, spot, fillvalue=""):
            writer.writerow(
                (
                    one.instance_type,
                    one.accelerator or "",
                    one.accelerator_count or "",
                    "" if one.vcpus is None else one.vcpus,
                    "" if one.memory_gib is None else one.memory_gib,
                    *pair,
                    one.region,
                    one.zone or "",
                )
            )


_WRITERS: Mapping[Format, Callable[[Path, Mapping[str, Sequence[Row]]], None]] = {
    Format.CSV: _as_csv,
    Format.JSONL: _as_jsonl,
    Format.SKYPILOT: _as_skypilot,
}


def _replace(path: Path, put: Callable[[IO[str]], None]) -> None:
    """A reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("x", encoding="utf-8", newline="") as file:
            put(file)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _records(path: Path, file: IO[str]) -> Iterator[tuple[int, Record]]:
    """Each line's number and cells."""
    if file.read(1) == "{":
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(path, number, line)
        return
    file.seek(0)
    reader = csv.DictReader(file, strict=True)
    missing = [name for name in STORED if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(f"{path}: missing columns {', '.join(missing)}", code="CAT005")
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as exc:
        raise _bad(path, reader.line_num, exc) from exc


def _object(path: Path, number: int, line: str) -> Record:
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise _bad(path, number, exc) from exc
    if not isinstance(found, dict):
        raise _bad(path, number, "not an object")
    return found


def _parsed(path: Path, number: int, record: Record) -> tuple[str, Row]:
    try:
        return _row({name: record.get(name) for name in STORED})
    except ValueError as exc:
        raise _bad(path, number, exc) from exc


def _row(cells: Record) -> tuple[str, Row]:
    if not PROVIDER.fullmatch(_text(cells, "provider")):
        raise ValueError(f"provider is {cells['provider']!r}")
    if _text(cells, "market") not in MARKETS:
        raise ValueError(f"market is {cells['market']!r}, not one of {', '.join(sorted(MARKETS))}")
    as_of = _text(cells, "as_of")
    if date.fromisoformat(as_of).isoformat() != as_of:
        raise ValueError(f"as_of is {as_of!r}, not a date as 2026-01-31")
    accelerator = cells["accelerator"] or None
    count = _number(cells, "accelerator_count") or 0.0
    price = cells["price_per_hour"]
    return cells["provider"], Row(
        _text(cells, "region"),
        cells["zone"] or None,
        cells["instance_type"] or "",
        cells["market"],
        _number(cells, "vcpus"),
        _number(cells, "memory_gib"),
        accelerator,
        count,
        price_micros("" if price is None else str(price), accelerator, count),
        Source(_text(cells, "source"), as_of, _text(cells, "currency")),
    )


def _text(cells: Record, name: str) -> str:
    found = cells[name]
    if not isinstance(found, str) or not found:
        raise ValueError(f"{name} is {'empty' if not found else repr(found)}")
    return found


def _number(cells: Record, name: str) -> float | None:
    found = cells[name]
    if found is None or found == "":
        return None
    try:
        number = float(found)
    except (ValueError, TypeError):
        raise ValueError(f"{name} is {found!r}, not a number") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is {found!r}, not an amount")
    return number


def _bad(path: Path, number: int, why: object) -> UsageError:
    where = Location(str(path), number)
    return UsageError(f"{where}: not a catalog line: {why}", code="CAT004", location=where)
