"""Counts every offer exactly once: allowed, or refused under one reason. Pure.

Offers refused by the same rule for the same wish are one line; its example is the cheapest of
them, and with it what was seen and who said so. Whole groups of offers can be added at once with
their cheapest member, so that a catalog can count in SQL what it need not load.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from broker.model import Decision, Kind, Location, Offer, Reason, Refusal
from broker.place.limits import known_usd

Order = tuple[object, ...]
_Line = tuple[Kind, str, Location | None, str]


def cheapness(offer: Offer) -> Order:
    """Cheapest first, unknown prices last, then less carbon, then by name."""
    carbon = offer.site.carbon_g_per_kwh
    price = known_usd(offer)
    return (
        float("inf") if price is None else price,
        float("inf") if carbon is None else carbon,
        offer.key,
    )


def ranking(decision: Decision) -> Order:
    """The order in which allowed offers are tried.

    Price with what a policy adds to it, then preference, then as `cheapness`.
    """
    price, *rest = cheapness(decision.offer)
    assert isinstance(price, Decimal), decision.offer.key
    return (price + decision.weight_usd_per_hour, -decision.preference, *rest)


@dataclass
class Tally:
    """What has been decided so far about the offers of one demand."""

    candidates: list[Decision] = field(default_factory=list)
    allowed: int = 0
    _lines: dict[_Line, Refusal] = field(default_factory=dict)

    @property
    def considered(self) -> int:
        return self.allowed + sum(line.count for line in self._lines.values())

    def allow(self, decision: Decision) -> None:
        """One more allowed offer, and a candidate."""
        self.allowed += 1
        self.candidates.append(decision)

    def refuse(self, reason: Reason, cheapest: Offer, count: int = 1) -> None:
        """`count` more offers that this reason refuses first; `cheapest` is one of them."""
        line = (reason.kind, reason.rule, reason.location, reason.wanted)
        known = self._lines.get(line)
        if known is None:
            self._lines[line] = Refusal(reason, count, cheapest)
            return
        assert known.cheapest is not None
        if cheapness(known.cheapest) <= cheapness(cheapest):
            reason, cheapest = known.reason, known.cheapest
        self._lines[line] = Refusal(reason, known.count + count, cheapest)

    def refusals(self) -> tuple[Refusal, ...]:
        """Most frequent first; equals by kind, rule and place."""
        return tuple(sorted(self._lines.values(), key=_frequency))


def _frequency(line: Refusal) -> Order:
    reason = line.reason
    return (-line.count, _KINDS[reason.kind], reason.rule, str(reason.location), reason.wanted)


_KINDS = {kind: at for at, kind in enumerate(Kind)}
