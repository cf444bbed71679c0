"""The offers that come with the package, made by `tools/build_snapshot.py`.

`data/snapshot.csv.gz` has a line per machine and region with the zones that offer it (none where
the provider has no zones in its prices) and both prices in USD an hour, empty where unknown.
`data/sources.csv` says for each source name how old its prices are.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import resources
from zlib import crc32

from broker.catalog.listing import Listing, offers
from broker.catalog.rows import Row, Source, price_micros

COLUMNS = (
    "provider",
    "region",
    "zones",
    "instance_type",
    "vcpus",
    "memory_gib",
    "accelerator",
    "accelerator_count",
    "usd_per_hour",
    "spot_usd_per_hour",
    "source",
)


def load() -> dict[str, list[Row]]:
    """Every provider's offers."""
    sources = _sources()
    rows: dict[str, list[Row]] = defaultdict(list)
    with io.StringIO(gzip.decompress(_data("snapshot.csv.gz")).decode(), newline="") as text:
        lines = csv.reader(text)
        assert tuple(next(lines)) == COLUMNS
        for cells in lines:
            source = sources[cells[-1]]
            for listing in _listings(cells):
                rows[cells[0]].extend(offers(listing, source))
    return dict(rows)


def digest() -> str:
    """Changes with the content: the checksum and length that end the gzip file, and the sources."""
    return f"{_data('snapshot.csv.gz')[-8:].hex()}-{crc32(_data('sources.csv')):08x}"


def _listings(cells: list[str]) -> Iterator[Listing]:
    _, region, zones, name, vcpus, memory, accelerator, count, price, spot, _ = cells
    amount = float(count or 0)
    named: list[str | None] = [*zones.split()]
    for zone in named or [None]:
        yield Listing(
            region,
            zone,
            name,
            float(vcpus) if vcpus else None,
            float(memory) if memory else None,
            accelerator or None,
            amount,
            price_micros(price, accelerator or None, amount),
            price_micros(spot, accelerator or None, amount),
        )


@cache
def _sources() -> dict[str, Source]:
    lines = _data("sources.csv").decode().splitlines()
    return {row["id"]: Source(row["name"], row["as_of"]) for row in csv.DictReader(lines)}


@cache
def _data(name: str) -> bytes:
    return resources.files("broker.catalog").joinpath(f"data/{name}").read_bytes()
