"""Which sites take part, and why every other one does not. Pure.

A site is an enrolled edge node that already holds the data: data is never moved to a node. Each
node is judged by itself, so that adding a node never changes the verdict over another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from broker.documents.federation import Federation
from broker.errors import BrokerError, InfeasibleError, PolicyError
from broker.model import Decision, Kind, Offer, Reason

Judge = Callable[[Offer], Decision]
REASONS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Seat:
    """A node that takes part, with the one data set that it brings."""

    offer: Offer
    dataset: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """`seats` in order of preference; `others` have a reason each; a round needs `minimum`.

    `chosen` are the decisions by which the seats were given, in their order.
    """

    seats: tuple[Seat, ...]
    others: tuple[Decision, ...]
    minimum: int
    chosen: tuple[Decision, ...] = ()

    def check(self) -> Cohort:
        """Itself when it is large enough. PolicyError: it would be without the policy's refusals.

        InfeasibleError: even then too few nodes hold the data and are free.
        """
        if len(self.seats) >= self.minimum:
            return self
        raise self._shortfall()

    def _shortfall(self) -> BrokerError:
        refused = [one for one in self.others if one.reasons[0].kind is Kind.POLICY]
        words = f"{len(self.seats)} of at least {self.minimum} sites can take part"
        hint = (
            "; ".join(_why(one) for one in self.others[:REASONS_SHOWN])
            or "no node is enrolled: `broker edge invite NAME`"
        )
        if len(self.seats) + len(refused) >= self.minimum:
            return PolicyError(words, code="FED040", hint=hint)
        return InfeasibleError(words, code="FED041", hint=hint)


def choose(offers: Iterable[Offer], fed: Federation, judge: Judge) -> Cohort:
    """The nodes that hold a data set of the federation, are free and allowed; at most the wanted.

    `judge` is the policy over one offer. What a policy prefers comes first, then by name.
    """
    nodes = [offer for offer in offers if offer.node_id is not None]
    decisions = [_decide(offer, fed, judge) for offer in nodes]
    allowed = sorted((one for one in decisions if one.allowed), key=_rank)
    wanted = len(allowed) if fed.sites.wanted is None else fed.sites.wanted
    spare = [replace(one, reasons=(_spare(wanted),)) for one in allowed[wanted:]]
    others = sorted((one for one in decisions if not one.allowed), key=_rank)
    seats = tuple(Seat(one.offer, _dataset(one.offer, fed) or "") for one in allowed[:wanted])
    return Cohort(seats, (*others, *spare), fed.sites.minimum, tuple(allowed[:wanted]))


def _decide(offer: Offer, fed: Federation, judge: Judge) -> Decision:
    """The request's own conditions first: they say more than a policy over a node of no use."""
    own = [reason for reason in (_data(offer, fed), _place(offer, fed), _free(offer)) if reason]
    return Decision(offer, tuple(own)) if own else judge(offer)


def _dataset(offer: Offer, fed: Federation) -> str | None:
    """The first that it holds, in the federation's order."""
    return next((name for name in fed.data.datasets if name in offer.datasets), None)


def _data(offer: Offer, fed: Federation) -> Reason | None:
    if _dataset(offer, fed) is not None:
        return None
    return Reason(
        Kind.REQUEST,
        "data.datasets",
        saw=_words(offer.datasets) or "no data set",
        wanted=_words(fed.data.datasets, " or "),
        location=fed.locations.get("data.datasets"),
    )


def _place(offer: Offer, fed: Federation) -> Reason | None:
    countries = fed.sites.countries
    if not countries or offer.site.country in countries:
        return None
    return Reason(
        Kind.REQUEST,
        "sites.where.country",
        saw=offer.site.country or "unknown",
        wanted=_words(sorted(countries), " or "),
        location=fed.locations.get("sites.where.country"),
    )


def _free(offer: Offer) -> Reason | None:
    if offer.available:
        return None
    return Reason(Kind.CAPACITY, "capacity", saw="offline or full", wanted="online and free")


def _spare(wanted: int) -> Reason:
    words = f"{wanted} better placed"
    return Reason(Kind.REQUEST, "sites.wanted", saw=words, wanted=f"at most {wanted}")


def _rank(decision: Decision) -> tuple[int, str, str]:
    return (-decision.preference, decision.offer.region, decision.offer.node_id or "")


def _why(decision: Decision) -> str:
    reason = decision.reasons[0]
    return f"{decision.offer.region}: {reason.rule}: {reason.saw}, wanted {reason.wanted}"


def _words(names: Sequence[str], joint: str = ", ") -> str:
    return joint.join(names)
