"""What was decided, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from broker.model.offers import Location, Offer


class Kind(StrEnum):
    """What a reason is about."""

    REQUEST = "request"
    POLICY = "policy"
    QUOTA = "quota"
    CAPACITY = "capacity"
    CREDENTIAL = "credential"
    BUDGET = "budget"
    PRICE = "price"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer was refused: the rule, what it saw, what it wanted, who says so."""

    kind: Kind
    rule: str  # rule id, or the request's field ("accelerators"), or "capacity"
    saw: str
    wanted: str
    location: Location | None = None
    source: str = ""
    why: str = ""


class Verdict(StrEnum):
    """What one rule says of one offer."""

    PASSES = "passes"
    REFUSES = "refuses"
    IDLE = "does not apply"
    PREFERS = "prefers"
    INDIFFERENT = "does not prefer"
    WEIGHS = "weighs"  # adds to the price in the ranking, refuses nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an explanation: the rule, what it saw, where that came from, what it says."""

    rule: str  # rule id, or a field of the request ("accelerators"), "capacity", "price", ...
    verdict: Verdict
    saw: str = ""
    wanted: str = ""
    kind: Kind = Kind.POLICY
    location: Location | None = None
    source: str = ""
    why: str = ""
    scope: str = ""  # "organisation", "project research", "site oslo-01"; "" for the request


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict over one offer. Allowed exactly when there is no reason against it."""

    offer: Offer
    reasons: tuple[Reason, ...] = ()
    preference: int = 0  # how many `prefer` rules it satisfies
    weight_usd_per_hour: Decimal = Decimal(
        0
    )  # what weights (carbon) add in the ranking; never paid
    findings: tuple[Finding, ...] = ()  # every rule in order, when it was asked for

    @property
    def allowed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many offers one rule refused first, with the cheapest of them as the example."""

    reason: Reason
    count: int
    cheapest: Offer | None = None


@dataclass(frozen=True, slots=True)
class Blame:
    """Offers that exactly this set of rules refuses together. Rules are `(kind, rule id)`."""

    rules: tuple[tuple[Kind, str], ...]  # sorted
    reasons: tuple[Reason, ...]  # one for each rule, as the cheapest of the offers saw it
    count: int
    cheapest: Offer | None = None


@dataclass(frozen=True, slots=True)
class WayOut:
    """A smallest set of rules whose relaxation, nothing less, admits offers."""

    reasons: tuple[Reason, ...]
    offers: int
    cheapest: Offer | None = None


@dataclass(frozen=True, slots=True)
class Toll:
    """What one rule costs: how much cheaper the best offer would be without it, all nodes together."""

    reason: Reason
    usd_per_hour: Decimal
    cheapest: Offer


@dataclass(frozen=True, slots=True)
class Placement:
    """The offer chosen for a demand, with what it will cost."""

    demand: str
    nodes: int
    offer: Offer
    fallbacks: tuple[Offer, ...] = ()  # in the order in which they would be tried
    usd_per_hour: Decimal | None = None  # all nodes together
    usd_expected: Decimal | None = None  # None when no duration is given
    usd_most: Decimal | None = None  # the dearest candidate for the whole duration
    start_after: datetime | None = None  # not before: a policy shifts it to cleaner hours
    start_why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    placements: tuple[Placement, ...]
    refusals: tuple[Refusal, ...]  # most frequent first
    considered: int
    allowed: int
    policies: tuple[str, ...] = ()  # files that were judged by
    catalog_as_of: str | None = None
    warnings: tuple[str, ...] = ()
    blames: tuple[Blame, ...] = ()  # complete, when explained: counts add up to the refused offers
    ways_out: tuple[WayOut, ...] = ()
    tolls: tuple[Toll, ...] = ()
    decisions: tuple[Decision, ...] = ()  # with findings, of every candidate, when explained
