"""A price source that says what it is told to: the fake of `broker.ports.PriceSource`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker.model import Offer


class FakePrices:
    """`fault` is raised after `good_for` offers, as a list that breaks off half-way."""

    def __init__(
        self,
        name: str,
        offers: Iterable[Offer] = (),
        *,
        fault: Exception | None = None,
        good_for: int = 0,
    ) -> None:
        self.name = name
        self.asked = 0
        self._offers = list(offers)
        self._fault = fault
        self._good_for = good_for

    def offers(self) -> Iterator[Offer]:
        self.asked += 1
        for at, offer in enumerate(self._offers):
            if self._fault and at >= self._good_for:
                raise self._fault
            yield offer
        if self._fault:
            raise self._fault
