"""An explained plan for a person and as JSON: blames, ways out, tolls, and traces of offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli import text
from broker.cli.output import table
from broker.diagnostics import Diagnostic
from broker.model import (
    Blame,
    Decision,
    Finding,
    Kind,
    Location,
    Offer,
    Plan,
    Reason,
    Toll,
    WayOut,
)

SHOWN_RULES = 15


def explained_lines(plan: Plan) -> Iterator[str]:
    """What `broker plan --explain` adds: every rule counted, what it costs, and how the best fared."""
    yield ""
    yield f"Why not the others: {plan.considered} offers considered, {plan.allowed} allowed"
    rules = counted(plan.blames)
    rows = [
        [one.refuses, one.alone, one.reason.rule, _where(one.reason), one.reason.wanted]
        for one in rules[:SHOWN_RULES]
    ]
    yield from _indented(table(["REFUSES", "ALONE", "RULE", "WHERE", "WANTED"], rows))
    if len(rules) > SHOWN_RULES:
        yield f"  and {len(rules) - SHOWN_RULES} more rules"
    yield from _changes(plan)
    for decision in plan.decisions[:1]:
        yield ""
        yield f"Every rule over {text.machine(decision.offer)} {decision.offer.market}"
        yield from findings_lines(decision.findings)


def findings_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each rule in order; who says what it saw stands below, by number."""
    sources = list(dict.fromkeys(one.source for one in findings if one.source))
    rows = [
        [
            one.verdict,
            one.rule,
            one.location,
            one.saw,
            one.wanted,
            one.scope,
            f"[{sources.index(one.source) + 1}]" if one.source else None,
        ]
        for one in findings
    ]
    yield from _indented(table(["VERDICT", "RULE", "WHERE", "SAW", "WANTED", "OF", "SOURCE"], rows))
    for number, source in enumerate(sources, 1):
        yield f"  [{number}] {source}"


def offer_lines(decision: Decision, others: int = 0) -> Iterator[str]:
    """The whole trace of one offer: the line of its first refusal, what else refuses, every rule."""
    from broker.place.explain import smallest_change

    offer, reasons = decision.offer, decision.reasons
    price = f"{text.usd(offer.price.usd_per_hour, 4)} $/h" if offer.price else "price unknown"
    verdict = "refused" if reasons else "allowed"
    yield f"{text.machine(offer)} {offer.market}   {price}   {verdict}"
    if others:
        yield f"  the cheapest of {others + 1}: other zones and markets have keys of their own"
    if reasons:
        yield from _caret(reasons[0])
        for other in reasons[1:]:
            yield f"    = also refused by: {reason_words(other)}"
        yield f"    = {smallest_change(reasons)}"
    yield ""
    yield "Every rule, in order"
    yield from findings_lines(decision.findings)


def reason_words(reason: Reason) -> str:
    """`clean (p.yaml:9:7): wants carbon at most 250 g/kWh, saw carbon 384 g/kWh`."""
    where = f" ({reason.location})" if reason.location else ""
    return f"{reason.rule}{where}: wants {reason.wanted}, saw {reason.saw}"


def explained_json(plan: Plan) -> dict[str, Any]:
    return {
        "blames": [_blame_json(one) for one in plan.blames],
        "ways_out": [_way_json(one) for one in plan.ways_out],
        "tolls": [_toll_json(one) for one in plan.tolls],
        "decisions": [decision_json(one) for one in plan.decisions],
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    from broker.cli.planview import offer_json, reason_json

    return {
        "offer": offer_json(decision.offer),
        "allowed": decision.allowed,
        "preference": decision.preference,
        "weight_usd_per_hour": float(decision.weight_usd_per_hour),
        "reasons": [reason_json(one) for one in decision.reasons],
        "findings": [finding_json(one) for one in decision.findings],
    }


def finding_json(one: Finding) -> dict[str, Any]:
    where = one.location
    return {
        "rule": one.rule,
        "kind": one.kind.value,
        "verdict": one.verdict.value,
        "saw": one.saw,
        "wanted": one.wanted,
        "source": one.source,
        "why": one.why,
        "scope": one.scope,
        "location": {"file": where.file, "line": where.line, "col": where.col} if where else None,
    }


@dataclass(frozen=True, slots=True)
class Counted:
    """How many offers a rule refuses, and how many of them nothing else does."""

    reason: Reason
    refuses: int
    alone: int


def counted(blames: Sequence[Blame]) -> list[Counted]:
    """One line for each rule, those that refuse most first."""
    found: dict[tuple[Kind, str], Counted] = {}
    for one in blames:
        for rule, reason in zip(one.rules, one.reasons, strict=True):
            known = found.get(rule, Counted(reason, 0, 0))
            alone = one.count if len(one.rules) == 1 else 0
            found[rule] = Counted(known.reason, known.refuses + one.count, known.alone + alone)
    return sorted(found.values(), key=lambda line: (-line.refuses, line.reason.rule))


def _changes(plan: Plan) -> Iterator[str]:
    """What would admit more offers, and what each rule costs."""
    from broker.place.explain import way_words

    if plan.ways_out:
        yield ""
        yield "What would admit more, each enough alone"
        for way in plan.ways_out:
            yield f"  - {way_words(way)}"
    if plan.tolls:
        yield ""
        yield "The price of each rule"
        rows = [
            [
                f"{text.usd(one.usd_per_hour, 4)} $/h",
                one.reason.rule,
                _where(one.reason),
                one.cheapest.key,
            ]
            for one in plan.tolls
        ]
        yield from _indented(table(["COSTS", "RULE", "WHERE", "WITHOUT IT"], rows))


def _caret(reason: Reason) -> Iterator[str]:
    """The rule's line of its file with a caret under what refuses, if it can still be read."""
    source = f" (source: {reason.source})" if reason.source else ""
    saw = f"saw {reason.saw}{source}"
    if reason.location is None:
        yield f"    {saw}"
    else:
        shown = Diagnostic("", "", reason.location, source_line=_line(reason.location))
        place, *rest = shown.render().splitlines()[1:]
        yield place
        yield from rest[:-1]
        yield f"{rest[-1]} {saw}" if rest else f"    = {saw}"
    why = f": {reason.why}" if reason.why else ""
    yield f"    = because {reason.rule} wants {reason.wanted}{why}"


def _line(where: Location) -> str | None:
    try:
        lines = Path(where.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return lines[where.line - 1] if where.line <= len(lines) else None


def _where(reason: Reason) -> str:
    return str(reason.location) if reason.location else reason.source


def _indented(lines: str) -> Iterator[str]:
    return (f"  {line}" for line in lines.splitlines())


def _blame_json(one: Blame) -> dict[str, Any]:
    from broker.cli.planview import reason_json

    return {
        "rules": [{"kind": kind.value, "rule": rule} for kind, rule in one.rules],
        "reasons": [reason_json(reason) for reason in one.reasons],
        "count": one.count,
        "cheapest": _example(one.cheapest),
    }


def _way_json(one: WayOut) -> dict[str, Any]:
    from broker.cli.planview import reason_json

    return {
        "relax": [reason_json(reason) for reason in one.reasons],
        "offers": one.offers,
        "cheapest": _example(one.cheapest),
    }


def _toll_json(one: Toll) -> dict[str, Any]:
    from broker.cli.planview import reason_json

    return {
        "reason": reason_json(one.reason),
        "usd_per_hour": float(one.usd_per_hour),
        "cheapest": _example(one.cheapest),
    }


def _example(offer: Offer | None) -> dict[str, Any] | None:
    from broker.cli.planview import offer_json

    return offer_json(offer) if offer else None
