"""What one rule has to say of offers, remembered by the facts that the rule reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from broker.model import Offer, Reason
from broker.policy.binding import Binding, caps_on
from broker.policy.energy import READS
from broker.policy.prices import Cap
from broker.policy.rules import Verb

NOTHING: Final = Decimal(0)
_OF_PRICE: Final = "price."


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """Of all offers with the same facts. Two are never equal, so that each can stand for its caps.

    `earned`: the facts meet a preference, 0 or 1; with `preferred` it also depends on the price.
    `weight` is in USD an hour of one node.
    """

    reasons: tuple[Reason, ...] = ()
    caps: tuple[Cap, ...] = ()
    earned: int = 0
    preferred: tuple[Decimal, ...] = ()
    weight: Decimal = NOTHING


IDLE: Final = Opinion()


class Opinions:
    """Those of one rule. Call it with an offer."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._facts = reader(reads(binding))
        self._known: dict[Any, Opinion] = {}

    def __call__(self, offer: Offer) -> Opinion:
        key = self._facts(offer)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = opinion(self._binding, offer)
        return found


def opinion(binding: Binding, offer: Offer) -> Opinion:
    if binding.idle(offer) is not None:
        return IDLE
    caps = caps_on(binding, offer)
    if binding.rule.verb is Verb.PREFER:
        earned = binding.prefers(offer)
        bound = (min(cap.limit for cap in caps),) if earned and caps else ()
        return Opinion(earned=int(earned and not bound), preferred=bound)
    weight = NOTHING if binding.weight is None else binding.weight(offer)
    return Opinion(tuple(binding.reasons(offer)), caps, weight=weight)


def reads(binding: Binding) -> frozenset[str]:
    """The attributes of an offer that decide what the rule says, prices aside."""
    return binding.reads.union(READS if binding.weight else ())


def reader(paths: Collection[str]) -> Callable[[Offer], Any]:
    """Reads these attributes. An offer may have no price to read the attributes of."""
    priced = sorted(path.removeprefix(_OF_PRICE) for path in paths if path.startswith(_OF_PRICE))
    plain = sorted(path for path in paths if not path.startswith(_OF_PRICE))
    of_offer = attrgetter(*plain) if plain else _nothing
    if not priced:
        return of_offer
    of_price = attrgetter(*priced)
    return lambda offer: (of_offer(offer), offer.price and of_price(offer.price))


def _nothing(_: Offer) -> None:
    """No fact decides."""
