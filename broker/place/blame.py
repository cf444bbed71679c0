"""Every rule that refuses an offer, not only the first: offers counted by exactly that set. Pure.

A request with alternatives speaks through the one that the offer gets furthest with: the fewest
fields that fail, then a price within its cap, then the looser cap, then the first. All that fails
there is a reason, and so is everything that stands against the offer whatever is asked for. An
offer is allowed by `choose` exactly when nothing is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.model import Blame, Demand, Kind, Offer, Reason, Resources
from broker.place.choose import Judge, capacity, credential, price_unknown
from broker.place.limits import cap_reason, known_usd, loosest_first, over_budget
from broker.place.match import failing, reasons
from broker.place.tally import cheapness

Rules = tuple[tuple[Kind, str], ...]


def explain(
    demand: Demand,
    offers: Iterable[Offer],
    judge: Judge,
    locked: Mapping[str, str] | None = None,
) -> tuple[Blame, ...]:
    """The refused ones among these offers by the rules that refuse them; see `Blames.all`."""
    blames = Blames()
    for offer in offers:
        blames.add(complete(demand, offer, judge, locked or {}), offer)
    return blames.all()


def complete(
    demand: Demand, offer: Offer, judge: Judge, locked: Mapping[str, str]
) -> tuple[Reason, ...]:
    """All that speaks against the offer, in the order of the checks; empty when it is allowed."""
    asked = furthest(demand.alternatives, offer)
    found = (
        *(reasons(asked, offer) if asked else ()),
        credential(offer, locked),
        capacity(demand, offer),
        price_unknown(offer),
        *judge(offer).reasons,
        *_limits(demand, asked, offer),
    )
    return tuple(reason for reason in found if reason)


def furthest(alternatives: Sequence[Resources], offer: Offer) -> Resources | None:
    """The alternative that least speaks against; None where nothing in particular is asked for."""

    def against(at: int) -> tuple[int, bool]:
        resources = alternatives[at]
        return len(failing(resources, offer)), _too_dear(resources, offer)

    order = loosest_first(alternatives)
    return alternatives[min(order, key=against)] if order else None


@dataclass
class Blames:
    """What has been refused so far, counted by the set of rules."""

    _groups: dict[Rules, Blame] = field(default_factory=dict)

    def add(self, against: Sequence[Reason], cheapest: Offer, count: int = 1) -> None:
        """`count` more offers that these reasons refuse, none when there is no reason.

        `cheapest` is the cheapest of them, and the reasons are those against it.
        """
        if not against:
            return
        told = by_rule(against)
        rules = tuple(sorted(told))
        known = self._groups.get(rules)
        if known is not None:
            count += known.count
            assert known.cheapest is not None
            if cheapness(known.cheapest) <= cheapness(cheapest):
                self._groups[rules] = Blame(rules, known.reasons, count, known.cheapest)
                return
        self._groups[rules] = Blame(rules, tuple(told[rule] for rule in rules), count, cheapest)

    def all(self) -> tuple[Blame, ...]:
        """The largest groups first; of equal ones the fewest rules."""
        return tuple(sorted(self._groups.values(), key=_size))


def by_rule(against: Iterable[Reason]) -> dict[tuple[Kind, str], Reason]:
    """One reason for each rule: where it speaks more than once, all that it saw and wanted."""
    found: dict[tuple[Kind, str], Reason] = {}
    for reason in against:
        rule = (reason.kind, reason.rule)
        found[rule] = _joined(found[rule], reason) if rule in found else reason
    return found


def _joined(one: Reason, other: Reason) -> Reason:
    saw, wanted = _both(one.saw, other.saw), _both(one.wanted, other.wanted)
    return replace(one, saw=saw, wanted=wanted)


def _both(one: str, other: str) -> str:
    return one if other in one.split("; ") else f"{one}; {other}"


def _size(one: Blame) -> tuple[object, ...]:
    return (-one.count, len(one.rules), one.rules)


def _limits(demand: Demand, asked: Resources | None, offer: Offer) -> tuple[Reason | None, ...]:
    if known_usd(offer) is None:
        return ()
    return (cap_reason(asked, offer) if asked else None, over_budget(demand, offer))


def _too_dear(resources: Resources, offer: Offer) -> bool:
    return known_usd(offer) is not None and cap_reason(resources, offer) is not None
