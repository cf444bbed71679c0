"""Reads catalogs in SkyPilot's layout: a folder or .tgz with `<provider>/vms.csv`.

A line with `Price` and `SpotPrice` becomes two offers, one per market. GCP prices accelerators
apart from their machines; `broker.catalog.gcp` joins them. Nothing is unpacked to disk: members
of an archive are read in place, only plain files with the expected name, up to `MAX_BYTES` each.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from broker.catalog import gcp
from broker.catalog.listing import Listing, offers
from broker.catalog.rows import Row, Source, price_flaw, price_micros
from broker.errors import UsageError
from broker.model import Location

MAX_BYTES = 256 * 1024 * 1024

REQUIRED = (
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "Price",
    "SpotPrice",
    "Region",
)
ZONE = "AvailabilityZone"

_MEMBER = re.compile(r"(?:\./)?(?:\w[\w.-]*/)*([a-z0-9][a-z0-9_-]*)/vms\.csv")


class File(NamedTuple):
    """One provider's file, not read yet. `as_of` is the date it was last changed."""

    provider: str
    name: str
    as_of: str
    text: Callable[[], str]


def files(path: Path) -> list[File]:
    """Every provider's file under a folder or in an archive. UsageError when there is none.

    An archive is read to its end before anything of it is used.
    """
    if not path.exists():
        raise UsageError(f"no such folder or archive: {path}", code="CAT001")
    found = _in_folder(path) if path.is_dir() else _in_archive(path)
    if not found:
        raise UsageError(f"no <provider>/vms.csv in {path}", code="CAT002")
    return found


class Reading(NamedTuple):
    """A file's offers, and how many of its prices could not be used, by flaw."""

    rows: list[Row]
    flaws: Counter[str]


def read(file: File) -> Reading:
    """Every offer. UsageError naming file, line and column for what cannot be read."""
    flaws: Counter[str] = Counter()
    listings = list(parse(file.name, io.StringIO(file.text(), newline=""), flaws))
    if not listings:
        raise UsageError(f"{file.name}: no offers", code="CAT003", location=Location(file.name))
    joined = gcp.join(listings) if file.provider == "gcp" else listings
    source = Source(f"SkyPilot catalog {file.provider}/vms.csv", file.as_of)
    return Reading([row for listing in joined for row in offers(listing, source)], flaws)


def parse(name: str, lines: Iterable[str], flaws: Counter[str]) -> Iterator[Listing]:
    """One listing per line of the CSV; counts the prices that are none."""
    reader = csv.reader(lines)
    at = _columns(name, next(reader, []))
    for cells in reader:
        if not cells:
            continue
        try:
            yield _listing(cells, at, flaws)
        except (ValueError, IndexError) as exc:
            where = Location(name, reader.line_num)
            message = f"{where}: not a catalog line: {exc}"
            raise UsageError(message, code="CAT004", location=where) from exc


def _columns(name: str, header: Sequence[str]) -> dict[str, int]:
    at = {column.strip().lstrip("\ufeff"): index for index, column in enumerate(header)}
    missing = [column for column in REQUIRED if column not in at]
    if missing:
        listed = ", ".join(missing)
        raise UsageError(
            f"{name}: missing column{'s' * (len(missing) > 1)} {listed}",
            code="CAT005",
            hint=f"expected columns: {', '.join(REQUIRED)}, and {ZONE} where zones exist",
            location=Location(name),
        )
    return at


def _listing(cells: Sequence[str], at: dict[str, int], flaws: Counter[str]) -> Listing:
    accelerator = cells[at["AcceleratorName"]].strip() or None
    count = _number(cells[at["AcceleratorCount"]], "AcceleratorCount") or 0.0
    region = cells[at["Region"]].strip()
    if not region:
        raise ValueError("Region is empty")
    return Listing(
        region,
        (cells[at[ZONE]].strip() or None) if ZONE in at else None,
        cells[at["InstanceType"]].strip(),
        _number(cells[at["vCPUs"]], "vCPUs"),
        _number(cells[at["MemoryGiB"]], "MemoryGiB"),
        accelerator,
        count if accelerator else 0.0,
        _price(cells[at["Price"]], accelerator, count, flaws),
        _price(cells[at["SpotPrice"]], accelerator, count, flaws),
    )


def _price(text: str, accelerator: str | None, count: float, flaws: Counter[str]) -> int | None:
    micros = price_micros(text, accelerator, count)
    if micros is None:
        flaws[price_flaw(text)] += 1
    return micros


def _number(text: str, column: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, not a number") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{column} is {text!r}, not an amount")
    return number


def _in_folder(path: Path) -> list[File]:
    return [
        File(file.parent.name, str(file), _date(file.stat().st_mtime), _reader(file))
        for file in sorted(path.glob("*/vms.csv"))
    ]


def _reader(file: Path) -> Callable[[], str]:
    return lambda: file.read_text(encoding="utf-8", errors="replace")


def _in_archive(path: Path) -> list[File]:
    found: list[File] = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                if match and member.isfile():
                    name = f"{path.name}:{member.name}"
                    text = _extract(archive, member)
                    found.append(File(match[1], name, _date(member.mtime), text))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as exc:
        raise UsageError(f"cannot read {path}: {exc}", code="CAT006") from exc
    return found


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], str]:
    if member.size > MAX_BYTES:
        return partial(_too_large, member)
    stream = archive.extractfile(member)
    assert stream is not None
    content = stream.read()
    return lambda: content.decode("utf-8", errors="replace")


def _too_large(member: tarfile.TarInfo) -> str:
    raise UsageError(f"{member.name} has {member.size} bytes, too large", code="CAT007")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
