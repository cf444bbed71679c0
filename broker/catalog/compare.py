"""A provider's new offers against its last good ones: what changed, and whether to believe them.

Offers are compared by shape, region and market, each at its lowest price, whatever the zone: one
source lists zones, the next does not. Only offers with a price count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from broker.catalog.rows import Row

CURRENCY = "USD"  # what every bound and budget is in
KEEP = 0.5  # of the offers, and of the regions, that the last good list had
JUMP = 5.0  # times as dear or as cheap: the unit has changed, not the market
ENOUGH = 20  # offers in common, before their median says anything


class Key(NamedTuple):
    """What is sold, where, how."""

    region: str
    instance_type: str
    accelerator: str | None
    accelerator_count: float
    market: str


@dataclass(frozen=True, slots=True)
class Change:
    """Counts of priced offers; `regions_lost` have no priced offer any more."""

    dearer: int = 0
    cheaper: int = 0
    added: int = 0
    gone: int = 0
    before: int = 0
    after: int = 0
    regions_before: int = 0
    regions_lost: tuple[str, ...] = ()
    times: float = 1.0  # median of new over old price

    @property
    def lost(self) -> float:
        """Which part of the offers is gone, on balance."""
        return max(0.0, 1 - self.after / self.before) if self.before else 0.0


def compare(old: Iterable[Row], new: Iterable[Row]) -> Change:
    before, after = _prices(old), _prices(new)
    both = before.keys() & after.keys()
    ratios = [after[key] / before[key] for key in both]
    regions = {key.region for key in before}
    return Change(
        dearer=sum(ratio > 1 for ratio in ratios),
        cheaper=sum(ratio < 1 for ratio in ratios),
        added=len(after) - len(both),
        gone=len(before) - len(both),
        before=len(before),
        after=len(after),
        regions_before=len(regions),
        regions_lost=tuple(sorted(regions - {key.region for key in after})),
        times=median(ratios) if len(ratios) >= ENOUGH else 1.0,
    )


def impossible(rows: Sequence[Row], regions: Collection[str]) -> str | None:
    """Why these rows can never be published; None when they may be."""
    priced = [row for row in rows if row.micros is not None]
    if not priced:
        return "no offer with a price"
    if strange := sorted({row.source.currency for row in rows} - {CURRENCY}):
        return f"prices in {', '.join(strange)}: only {CURRENCY} can be compared"
    if missing := sorted(set(regions) - {row.region for row in priced}):
        return f"no priced offer in {', '.join(missing)}"
    return None


def doubt(change: Change) -> str | None:
    """Why the new list is hard to believe beside the last good one; None when it is not."""
    if change.after < KEEP * change.before:
        return f"lost {change.lost:.0%} of its offers"
    if len(change.regions_lost) > (1 - KEEP) * change.regions_before:
        return f"lost {len(change.regions_lost)} of its {change.regions_before} regions"
    if change.times > JUMP:
        return f"half of the prices are {change.times:.0f} or more times what they were"
    if change.times < 1 / JUMP:
        return f"half of the prices are a {1 / change.times:.0f}th of what they were, or less"
    return None


def _prices(rows: Iterable[Row]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for row in rows:
        if row.micros is not None:
            key = Key(
                row.region,
                row.instance_type,
                row.accelerator,
                row.accelerator_count,
                row.market,
            )
            found[key] = min(row.micros, found.get(key, row.micros))
    return found
