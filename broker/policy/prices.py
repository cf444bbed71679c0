"""What an offer may cost under a set of caps. Pure.

Hourly caps bound the price of all nodes of the demand together. Budgets bound nodes x price x
duration; without a duration only an unknown price is refused by them, save by those that nothing
but a price of zero then keeps. An unknown price keeps no cap: who cannot say what a machine costs
cannot say that it is cheap enough. A price in another currency is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from broker.model import Demand, Kind, Location, Price, Reason

CURRENCY: Final = "USD"


@dataclass(frozen=True, slots=True)
class Cap:
    """An upper bound in USD. Of kind PRICE it bounds an hour, of kind BUDGET the whole run.

    `accelerators`: how many there are in all nodes, where the bound was drawn up for one of them.
    `wanted` says the bound where "at most 4.00 $/h" does not say enough. `unbounded` is what was seen
    where a run of no known duration keeps no bound but that of costing nothing.
    """

    kind: Kind
    rule: str
    limit: Decimal
    location: Location | None = None
    why: str = ""
    accelerators: Decimal | None = None
    wanted: str = ""
    unbounded: str = ""


class Prices:
    """Compares prices with caps and preferences that go together.

    Most offers are well below or have a price that others have too: the former cost one or two
    comparisons, the reasons against the latter are remembered.
    """

    def __init__(self, caps: Iterable[Cap], preferred: Iterable[Decimal], demand: Demand) -> None:
        self._caps = tuple(sorted(caps, key=lambda cap: cap.kind is Kind.BUDGET))
        self._preferred = tuple(preferred)
        self._nodes = demand.nodes
        self._hours = demand.duration_h
        self._tightest = _tightest(self._caps, Kind.PRICE)
        self._least_budget = _tightest(self._caps, Kind.BUDGET)
        self._only_free = self._hours is None and any(cap.unbounded for cap in self._caps)
        self._reasons: dict[tuple[Decimal, str], tuple[Reason, ...]] = {}

    def reasons(self, price: Price | None) -> tuple[Reason, ...]:
        """One for each cap that this price per node and hour breaks: hourly caps, then budgets."""
        if price is None or price.currency != CURRENCY:
            return tuple(_reason(cap, _unknown(price), "") for cap in self._caps)
        hourly = price.usd_per_hour * self._nodes
        if self._within(hourly):
            return ()
        key = (price.usd_per_hour, price.source)
        found = self._reasons.get(key)
        if found is None:
            broken = (cap for cap in self._caps if self._breaks(cap, hourly))
            found = tuple(_reason(cap, self._saw(cap, hourly), price.source) for cap in broken)
            self._reasons[key] = found
        return found

    def preference(self, price: Price | None) -> int:
        """How many preferred bounds the price keeps."""
        if not self._preferred or price is None or price.currency != CURRENCY:
            return 0
        hourly = price.usd_per_hour * self._nodes
        return sum(hourly <= bound for bound in self._preferred)

    def saw(self, cap: Cap, price: Price | None) -> str:
        """What one of the caps makes of the price."""
        if price is None or price.currency != CURRENCY:
            return _unknown(price)
        return self._saw(cap, price.usd_per_hour * self._nodes)

    def _within(self, hourly: Decimal) -> bool:
        if self._tightest is not None and hourly > self._tightest:
            return False
        if self._least_budget is None or self._hours is None:
            return not self._only_free or not hourly
        return hourly * self._hours <= self._least_budget

    def _breaks(self, cap: Cap, hourly: Decimal) -> bool:
        if cap.kind is Kind.PRICE:
            return hourly > cap.limit
        if self._hours is None:
            return bool(cap.unbounded) and hourly > 0
        return hourly * self._hours > cap.limit

    def _saw(self, cap: Cap, hourly: Decimal) -> str:
        if cap.accelerators:
            return f"{usd(hourly / cap.accelerators)} $/h per accelerator"
        if cap.unbounded and self._hours is None:
            return cap.unbounded
        nodes = f" for {self._nodes} nodes" if self._nodes > 1 else ""
        if cap.kind is Kind.PRICE or self._hours is None:
            return f"{usd(hourly)} $/h{nodes}"
        return f"{usd(hourly * self._hours)} $ in {self._hours.normalize():f} h{nodes}"


def usd(amount: Decimal) -> str:
    """Whole cents where that is exact, all digits otherwise."""
    cents = round(amount, 2)
    return f"{cents:f}" if cents == amount else f"{amount.normalize():f}"


def at_most(cap: Cap) -> str:
    """The bound in words."""
    unit = " $/h" if cap.kind is Kind.PRICE else " $ in all"
    return cap.wanted or f"at most {usd(cap.limit)}{unit}"


def _tightest(caps: Iterable[Cap], kind: Kind) -> Decimal | None:
    return min((cap.limit for cap in caps if cap.kind is kind), default=None)


def _unknown(price: Price | None) -> str:
    return "price unknown" if price is None else f"price in {price.currency} only"


def _reason(cap: Cap, saw: str, source: str) -> Reason:
    return Reason(cap.kind, cap.rule, saw, at_most(cap), cap.location, source, cap.why)
