"""What a machine draws and emits, as an estimate from published figures. Pure.

Power is that of the accelerators plus 4 W for each vCPU and 0.4 W for each GiB of memory, all times
1.2 for cooling and losses of the building (PUE). A vCPU is half a core of a current server CPU under
load; memory is what DDR4 and DDR5 modules draw. Emissions are power times the grid's mean intensity.

Where a figure is not known an estimate is not known either, and a cap on emissions refuses. A weight
in the ranking must be a number, so it assumes more than most machines draw and most grids emit: not
to be known is never an advantage.
"""

from __future__ import annotations

import math
from typing import Final

from broker.model import Offer

W_PER_VCPU: Final = 4.0
W_PER_GIB: Final = 0.4
PUE: Final = 1.2
ASSUMED_W_PER_ACCELERATOR: Final = 400.0
ASSUMED_HOST_W: Final = 400.0  # of a machine whose vCPUs or memory are not known
ASSUMED_G_PER_KWH: Final = 1000.0  # a grid that burns lignite
READS: Final = (
    "accelerator",
    "accelerator_count",
    "chip.watts",
    "memory_gib",
    "site.carbon_g_per_kwh",
    "site.source",
    "vcpus",
)


def watts(offer: Offer) -> float | None:
    """Of one machine under load, the building included."""
    host, chips = _host_w(offer), _chips_w(offer)
    return None if host is None or chips is None else (host + chips) * PUE


def kg_per_hour(offer: Offer) -> float | None:
    """Emissions of one machine."""
    drawn, grams = watts(offer), _grams(offer)
    return None if drawn is None or grams is None else drawn * grams / 1e6


def assumed_kg_per_hour(offer: Offer) -> float:
    """As `kg_per_hour`, with an assumption in place of each figure that is not known."""
    host, chips, grams = _host_w(offer), _chips_w(offer), _grams(offer)
    assumed = ASSUMED_W_PER_ACCELERATOR * offer.accelerator_count
    drawn = (ASSUMED_HOST_W if host is None else host) + (assumed if chips is None else chips)
    return drawn * PUE * (ASSUMED_G_PER_KWH if grams is None else grams) / 1e6


def unknown(offer: Offer) -> tuple[str, ...]:
    """The names of what an estimate misses."""
    missed = {
        "accelerator power": _chips_w(offer),
        "machine shape": _host_w(offer),
        "carbon": _grams(offer),
    }
    return tuple(name for name, value in missed.items() if value is None)


def _host_w(offer: Offer) -> float | None:
    vcpus, memory = _known(offer.vcpus), _known(offer.memory_gib)
    return None if vcpus is None or memory is None else vcpus * W_PER_VCPU + memory * W_PER_GIB


def _chips_w(offer: Offer) -> float | None:
    if not offer.accelerator or not offer.accelerator_count:
        return 0.0
    each = _known(offer.chip.watts)
    return None if each is None else each * offer.accelerator_count


def _grams(offer: Offer) -> float | None:
    return _known(offer.site.carbon_g_per_kwh)


def _known(figure: float | None) -> float | None:
    return None if figure is None or math.isnan(figure) else figure
