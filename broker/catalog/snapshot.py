"""The offers that come with the package, made by `tools/build_snapshot.py`.

`data/snapshot.csv.gz` has a line per machine and region with the zones that offer it (none where
the provider has no zones in its prices, or nobody says which zones) and both prices in USD an
hour, empty where unknown. `data/sources.csv` says for each source name how old its prices are.
"""

from __future__ import annotations

import csv
import gc
import gzip
import io
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from zlib import crc32

from broker.catalog.listing import ON_DEMAND, SPOT
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
    """Every provider's offers, on both markets."""
    sources = _sources()
    rows: dict[str, list[Row]] = defaultdict(list)
    with (
        _no_collection(),
        io.StringIO(gzip.decompress(_data("snapshot.csv.gz")).decode(), newline="") as text,
    ):
        lines = csv.reader(text)
        assert tuple(next(lines)) == COLUMNS
        for cells in lines:
            rows[cells[0]].extend(_offers(cells, sources[cells[-1]]))
    return dict(rows)


def digest() -> str:
    """Changes with the content: the checksum and length that end the gzip file, and the sources."""
    return f"{_data('snapshot.csv.gz')[-8:].hex()}-{crc32(_data('sources.csv')):08x}"


def _offers(cells: list[str], source: Source) -> Iterator[Row]:
    """A line in each of its zones on each market. What the zones share is made once: they are many."""
    _, region, zones, name, vcpus, memory, accelerator, count, price, spot, _ = cells
    amount = float(count or 0)
    named = accelerator or None
    shape = (_number(vcpus), _number(memory), named, amount)
    on_demand = (*shape, price_micros(price, named, amount), source)
    on_spot = (*shape, price_micros(spot, named, amount), source)
    for zone in zones.split() or (None,):
        yield Row(region, zone, name, ON_DEMAND, *on_demand)
        yield Row(region, zone, name, SPOT, *on_spot)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hundreds of thousands of rows are made and none is garbage: looking for it takes half the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _number(text: str) -> float | None:
    return float(text) if text else None


@cache
def _sources() -> dict[str, Source]:
    lines = _data("sources.csv").decode().splitlines()
    return {row["id"]: Source(row["name"], row["as_of"]) for row in csv.DictReader(lines)}


@cache
def _data(name: str) -> bytes:
    return resources.files("broker.catalog").joinpath(f"data/{name}").read_bytes()
