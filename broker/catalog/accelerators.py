"""What one accelerator of an offer can do: memory, dense bf16 peak, power. Nothing is guessed.

The table is `data/accelerators.csv`, kept by hand with a source and a date in every line. Facts are
those of one unit as `accelerator_count` counts it: a whole GPU (an offer of an eighth of one counts
0.125), one Inferentia or Trainium chip, and for TPUs the slice. `tpu-v5p-8` is counted once, so its
facts are those of its 4 chips together; the table has a TPU's line per chip (`tpu-v5p`).

Memory is what the data sheet says, in GiB; tools that report what is left of it for programs show
up to a tenth less. bf16 is the dense peak: None where the chip has no bf16, whatever its fp16.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib import resources

from broker.catalog.rows import tpu_chips
from broker.model import Chip

UNKNOWN = Chip()

_TPU_FAMILY = re.compile(r"(tpu-v\d+[a-z]*)-\d+")


@cache
def chip(name: str) -> Chip:
    """The facts of one unit of this accelerator; `UNKNOWN` for a name that nobody knows."""
    chips = tpu_chips(name)
    family = _TPU_FAMILY.fullmatch(name)
    if chips is None or family is None:
        return chips_by_name().get(name, UNKNOWN)
    return _slice(chips_by_name().get(family[1], UNKNOWN), chips)


@cache
def chips_by_name() -> dict[str, Chip]:
    """The table: canonical name -> facts, a TPU under the name of its family per chip."""
    text = resources.files("broker.catalog").joinpath("data/accelerators.csv").read_text("utf-8")
    return {row["name"]: _chip(row) for row in csv.DictReader(text.splitlines())}


def _chip(row: dict[str, str]) -> Chip:
    return Chip(
        memory_gib=_number(row["memory_gib"]),
        bf16_tflops=_number(row["bf16_tflops"]),
        watts=_number(row["watts"]),
        source=f"{row['source']}, {row['as_of']}",
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _slice(one: Chip, chips: int) -> Chip:
    return Chip(
        memory_gib=_times(one.memory_gib, chips),
        bf16_tflops=_times(one.bf16_tflops, chips),
        watts=_times(one.watts, chips),
        source=one.source,
    )


def _times(amount: float | None, chips: int) -> float | None:
    return None if amount is None else amount * chips
