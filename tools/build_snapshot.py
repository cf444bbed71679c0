"""Makes broker/catalog/data/snapshot.csv.gz from price and instance data of installed packages and
the tables in tools/data; see snapshot_aws, snapshot_azure and snapshot_gcp.

0.0 in libcloud's prices means unknown. What we are not sure of stays unknown: no price, or no zone.
The tables kept by hand:

- `closed_regions.csv`: regions where nothing of a kind can be leased, and why.
- `gcp_zones.csv`: regions that sell machines, their zones, if we know them, and whose rates hold.
- `gcp_families.csv`, `azure_families.csv`: machine types that follow a rule, and where they are.
- `gcp_accelerators.csv`, `azure_accelerators.csv`: machines with accelerators. `priced_regions` are
  those for whose price the table vouches.
- `gcp_attached.csv`: accelerators that attach to N1 machines, one line per price of one. They and
  the TPUs were looked up in github.com/skypilot-org/skypilot-catalog, catalogs/v8/gcp/vms.csv. Its
  prices of A100, H100 and B200 are not taken: some are those of a commitment.
- `gcp_tpus.csv`: slices by family, one line per price of a chip; a size is what follows the family
  in a slice's name.
- `price_sources.csv`: who said so and when; it becomes the package's `sources.csv`.

The output depends on nothing but its inputs: the same packages give the same bytes.

    .venv/bin/python tools/build_snapshot.py
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import snapshot_aws  # noqa: E402 - scripts beside this one
import snapshot_azure  # noqa: E402
import snapshot_gcp  # noqa: E402
from snapshot_inputs import Line  # noqa: E402

from broker.catalog.rows import MICRO  # noqa: E402
from broker.catalog.snapshot import COLUMNS  # noqa: E402

TARGET = HERE.parent / "broker" / "catalog" / "data"


def main() -> None:
    made = lines()
    (TARGET / "snapshot.csv.gz").write_bytes(packed(made))
    shutil.copyfile(HERE / "data" / "price_sources.csv", TARGET / "sources.csv")
    size = (TARGET / "snapshot.csv.gz").stat().st_size
    print(f"snapshot.csv.gz: {len(made)} lines, {size} bytes")


def lines() -> list[Line]:
    return [*snapshot_aws.lines(), *snapshot_azure.lines(), *snapshot_gcp.lines()]


def packed(lines: Iterable[Line]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(_cells(line) for line in lines))
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def _cells(line: Line) -> tuple[str, ...]:
    listing = line.listing
    return (
        line.provider,
        listing.region,
        " ".join(line.zones),
        listing.instance_type,
        _plain(listing.vcpus),
        _plain(listing.memory_gib),
        listing.accelerator or "",
        _plain(listing.accelerator_count or None),
        _usd(listing.on_demand),
        _usd(listing.spot),
        line.source,
    )


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def _usd(micros: int | None) -> str:
    return "" if micros is None else f"{(Decimal(micros) / MICRO).normalize():f}"


if __name__ == "__main__":
    main()
