"""What a person could change, and what each rule costs, from complete blames. Pure.

A rule counts once however it speaks: a policy rule that names a country and a price is one change.
Capacity, quotas and unknown prices are nobody's to relax.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from broker.model import Blame, Kind, Offer, Placement, Reason, Toll, WayOut
from broker.place.choose import KNOWN_PRICE, PRICE
from broker.place.limits import known_usd
from broker.place.tally import cheapness

SHOWN = 5

Change = tuple[str, str]  # what is changed as one: whose it is, and its name

_OURS = {Kind.REQUEST, Kind.CREDENTIAL}
_FIXED = {Kind.CAPACITY, Kind.QUOTA}
_WISHES = {"infra", "market"}  # fields that say where and how, not what the work needs


def ways_out(blames: Iterable[Blame], limit: int = SHOWN) -> tuple[WayOut, ...]:
    """The smallest sets of rules that admit offers once relaxed: nothing less admits those.

    Smaller sets first, then by the cheapest offer; at most `limit`.
    """
    lots = _lots(blames)
    smallest = [lot for changes, lot in lots.items() if not any(other < changes for other in lots)]
    smallest.sort(key=lambda lot: (len(lot.changes), cheapness(lot.cheapest), lot.named))
    return tuple(WayOut(lot.reasons, lot.offers, lot.cheapest) for lot in smallest[:limit])


def tolls(blames: Iterable[Blame], placement: Placement) -> tuple[Toll, ...]:
    """The rules that alone keep a cheaper offer away, dearest first.

    What the work itself needs, such as its accelerators, is not a rule and has no price.
    """
    assert placement.usd_per_hour is not None
    found = []
    for lot in _lots(blames).values():
        usd = known_usd(lot.cheapest)
        if len(lot.changes) > 1 or usd is None or not _priced(lot.reasons[0]):
            continue
        saved = placement.usd_per_hour - usd * placement.nodes
        if saved > 0:
            found.append(Toll(lot.reasons[0], saved, lot.cheapest))
    return tuple(sorted(found, key=lambda toll: (-toll.usd_per_hour, toll.reason.rule)))


def conflict(blames: Collection[Blame]) -> tuple[tuple[Reason, int], ...]:
    """A smallest set of rules that together refuse every offer, each with how many it refuses.

    None of them can be left out. Requests first, then those that refuse most.
    """
    refused: dict[Change, int] = {}
    words: dict[Change, Reason] = {}
    for one in blames:
        for reason in one.reasons:
            words.setdefault(change(reason), reason)
        for named in changes(one.reasons):
            refused[named] = refused.get(named, 0) + one.count
    kept = sorted(refused, key=lambda named: (refused[named], named))
    for named in list(kept):
        others = {other for other in kept if other != named}
        if all(others & changes(one.reasons) for one in blames):
            kept.remove(named)
    kept.sort(key=lambda named: (words[named].kind is not Kind.REQUEST, -refused[named]))
    return tuple((words[named], refused[named]) for named in kept)


def change(reason: Reason) -> Change:
    """What would have to be changed for this reason to fall."""
    return (str(reason.kind) if reason.kind in _OURS else "rule", reason.rule)


def changes(reasons: Iterable[Reason]) -> frozenset[Change]:
    return frozenset(map(change, reasons))


def relaxable(reason: Reason) -> bool:
    """Whether a person can do something about it."""
    unknown = (reason.kind, reason.rule, reason.wanted) == (Kind.PRICE, PRICE, KNOWN_PRICE)
    return reason.kind not in _FIXED and not unknown


@dataclass(frozen=True, slots=True)
class _Lot:
    """Offers that the same changes would admit."""

    changes: frozenset[Change]
    reasons: tuple[Reason, ...]
    offers: int
    cheapest: Offer

    @property
    def named(self) -> list[Change]:
        return sorted(self.changes)


def _lots(blames: Iterable[Blame]) -> dict[frozenset[Change], _Lot]:
    """Those blames that a person can do something about, by what would have to be changed."""
    lots: dict[frozenset[Change], _Lot] = {}
    for one in blames:
        if not all(map(relaxable, one.reasons)):
            continue
        assert one.cheapest is not None
        lot = _Lot(changes(one.reasons), one.reasons, one.count, one.cheapest)
        known = lots.get(lot.changes)
        lots[lot.changes] = _together(known, lot) if known else lot
    return lots


def _together(one: _Lot, other: _Lot) -> _Lot:
    cheaper = min((one, other), key=lambda lot: cheapness(lot.cheapest))
    return replace(cheaper, offers=one.offers + other.offers)


def _priced(reason: Reason) -> bool:
    return reason.kind is not Kind.REQUEST or reason.rule in _WISHES
