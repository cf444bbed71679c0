"""One offer before every rule, in order: what each saw, what it wanted, what it says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from broker.model import Decision, Demand, Finding, Kind, Offer, Reason, Resources, Verdict
from broker.place.blame import complete, furthest
from broker.place.choose import KNOWN_PRICE, PRICE, Judge, capacity, credential, price_unknown
from broker.place.limits import (
    BUDGET,
    BUDGET_FIELDS,
    CAP,
    CAP_FIELDS,
    cap_reason,
    hourly,
    known_usd,
    money,
    over_budget,
)
from broker.place.match import CHECKS, Check, locate


@runtime_checkable
class Tracer(Protocol):
    """A judge who tells of every rule, not only of those that refuse."""

    def trace(self, offer: Offer) -> Decision: ...


def trace(demand: Demand, offer: Offer, judge: Judge, locked: Mapping[str, str]) -> Decision:
    """The decision over one offer with all reasons, and a finding for whatever was looked at.

    Of the request only what it asks for is told. A judge who keeps no trace is told of where it
    refuses.
    """
    decision = judge.trace(offer) if isinstance(judge, Tracer) else judge(offer)
    asked = furthest(demand.alternatives, offer)
    told = decision.findings or tuple(refused(reason) for reason in decision.reasons)
    found = (
        *(_request(asked, offer) if asked else ()),
        *_offered(demand, offer, locked),
        *told,
        *(_cap(asked, offer) if asked else ()),
        *(() if any(_is_budget(one) for one in told) else _budget(demand, offer)),
    )
    reasons = complete(demand, offer, judge, locked)
    return replace(decision, reasons=reasons, findings=found)


def refused(reason: Reason) -> Finding:
    return Finding(
        reason.rule,
        Verdict.REFUSES,
        reason.saw,
        reason.wanted,
        reason.kind,
        reason.location,
        reason.source,
        reason.why,
    )


def _request(asked: Resources, offer: Offer) -> Iterator[Finding]:
    return (_field(check, asked, offer) for check in CHECKS if check.asked(asked))


def _field(check: Check, asked: Resources, offer: Offer) -> Finding:
    return Finding(
        check.rule,
        Verdict.PASSES if check.holds(asked, offer) else Verdict.REFUSES,
        check.saw(offer),
        check.wanted(asked),
        Kind.REQUEST,
        locate(asked.locations, check.fields),
    )


def _offered(demand: Demand, offer: Offer, locked: Mapping[str, str]) -> Iterator[Finding]:
    """Whether it can be had, and at which price."""
    if no := credential(offer, locked):
        yield refused(no)
    left = "available" if offer.left is None else f"{offer.left} left"
    here = Finding("capacity", Verdict.PASSES, left, "available", Kind.CAPACITY)
    no = capacity(demand, offer)
    yield refused(no) if no else here
    no = price_unknown(offer)
    yield refused(no) if no else _price(offer)


def _price(offer: Offer) -> Finding:
    usd = known_usd(offer)
    assert usd is not None
    assert offer.price is not None
    source = f"{offer.price.source}, {offer.price.as_of}"
    return Finding(PRICE, Verdict.PASSES, hourly(usd), KNOWN_PRICE, Kind.PRICE, source=source)


def _cap(asked: Resources, offer: Offer) -> Iterator[Finding]:
    usd, cap = known_usd(offer), asked.max_usd_per_hour
    if usd is None or cap is None:
        return
    where = locate(asked.locations, CAP_FIELDS)
    verdict = Verdict.REFUSES if cap_reason(asked, offer) else Verdict.PASSES
    yield Finding(CAP, verdict, hourly(usd), hourly(cap), Kind.PRICE, where)


def _budget(demand: Demand, offer: Offer) -> Iterator[Finding]:
    usd, budget = known_usd(offer), demand.budget_usd
    if usd is None or budget is None:
        return
    where = locate(demand.locations, BUDGET_FIELDS) or demand.location
    if not demand.duration_h:
        yield Finding(BUDGET, Verdict.IDLE, "no duration", money(budget), Kind.BUDGET, where)
        return
    verdict = Verdict.REFUSES if over_budget(demand, offer) else Verdict.PASSES
    saw = money(usd * demand.nodes * demand.duration_h)
    yield Finding(BUDGET, verdict, saw, money(budget), Kind.BUDGET, where)


def _is_budget(one: Finding) -> bool:
    return (one.kind, one.rule) == (Kind.BUDGET, BUDGET)
