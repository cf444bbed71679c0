"""`broker policy explain`: rules in plain words, and what one of them does to today's offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from broker.cli import text
from broker.cli.context import Context
from broker.cli.output import Format, emit
from broker.cli.policy_files import SUFFIXES, policy_files
from broker.cli.policy_words import applies, wants
from broker.diagnostics import suggest
from broker.errors import NotFoundError
from broker.model import Artefact, Demand, Offer, Resources
from broker.policy import facts
from broker.policy.judge import Judge
from broker.policy.rules import Policy, Residency, Rule, Scope
from broker.policy.standing import Standing
from broker.policy.written import rule_fields


@dataclass(slots=True)
class Alone:
    """What one rule does by itself to a pool, for one machine and hour of a demand it is about."""

    offers: int = 0
    refused: int = 0
    preferred: int = 0
    cheapest_refused: Offer | None = None
    cheapest_left: Offer | None = None


def explain_rules(rule: str | None, paths: Sequence[Path], *, output: Format) -> None:
    """All rules; with an id that one, and its effect."""
    from broker.documents.policies import load_policies

    if rule is not None and _is_path(rule):
        paths, rule = [Path(rule), *paths], None
    policy = load_policies(policy_files(paths))
    if rule is None:
        _show(policy, output)
        return
    found = next((one for one in policy.rules if one.id == rule), None)
    if found is None:
        raise NotFoundError(
            f"no rule has the id `{rule}`",
            hint=suggest(rule, (one.id for one in policy.rules))
            or "`broker policy explain` lists them",
        )
    _show_one(found, output)


def alone(rule: Rule, offers: Iterable[Offer], standing: Standing) -> Alone:
    """The rule without its scope and without what its `when` says of demands."""
    when = tuple(one for one in rule.when if one.field not in facts.DEMAND_FACTS)
    only = replace(rule, when=when, scope=Scope())
    judge = Judge(Policy((only,)), _demand(rule), standing)
    found = Alone()
    for offer in offers:
        decision = judge(offer)
        found.offers += 1
        found.preferred += decision.preference > 0
        if decision.allowed:
            found.cheapest_left = _cheaper(found.cheapest_left, offer)
        else:
            found.refused += 1
            found.cheapest_refused = _cheaper(found.cheapest_refused, offer)
    return found


def _is_path(word: str) -> bool:
    return "/" in word or Path(word).suffix in SUFFIXES or Path(word).is_dir()


def _demand(rule: Rule) -> Demand:
    """One machine for an hour, an aggregator where the rule is about nothing else."""
    of = rule.terms.of if isinstance(rule.terms, Residency) else ()
    roles = {word for one in rule.when if one.field == "role" for word in facts.words(one)}
    far = Artefact.AGGREGATOR in of and Artefact.MACHINE not in of
    role = "aggregator" if far or roles == {"aggregator"} else "task"
    return Demand("any machine", (Resources(),), role=role, duration_h=Decimal(1))


def _cheaper(one: Offer | None, other: Offer) -> Offer | None:
    if other.price is None:
        return one
    if one is None or one.price is None or other.price.usd_per_hour < one.price.usd_per_hour:
        return other
    return one


def _show(policy: Policy, output: Format) -> None:
    emit(
        "policy-explain",
        [_rule_json(rule) for rule in policy.rules],
        lambda: "\n\n".join("\n".join(_rule_lines(rule)) for rule in policy.rules),
        output=output,
        names=[rule.id for rule in policy.rules],
    )


def _show_one(rule: Rule, output: Format) -> None:
    from broker.cli.context import utc_now
    from broker.pool import offers, snapshot

    context = Context()
    pool = snapshot(context.catalog, context.catalog_clouds, context.owned_offers())
    found = alone(rule, offers(pool), Standing(utc_now()))
    emit(
        "policy-rule",
        {**_rule_json(rule), "alone": _alone_json(found)},
        lambda: "\n".join([*_rule_lines(rule), *_field_lines(rule), *_alone_lines(found)]),
        output=output,
        names=[rule.id],
    )


def _rule_lines(rule: Rule) -> Iterator[str]:
    yield f"{rule.id}   {rule.location}"
    yield f"  applies to  {applies(rule)}"
    yield f"  effect      {wants(rule)}"
    if rule.why:
        yield f"  why         {' '.join(rule.why.split())}"


def _field_lines(rule: Rule) -> Iterator[str]:
    yield ""
    fields = rule_fields(rule)
    width = max(map(len, fields))
    for name, one in fields.items():
        if name != "why":
            where = f"   line {one.location.line}" if one.location else ""
            yield f"  {name:<{width}}  {one.words}{where}"


def _alone_lines(found: Alone) -> Iterator[str]:
    yield ""
    share = f"{found.refused:,} of {found.offers:,} offers".replace(",", " ")
    yield f"By itself it refuses {share} of today's catalog (one machine, one hour)."
    if found.preferred:
        yield f"It prefers {found.preferred:,} of them.".replace(",", " ")
    if found.cheapest_refused:
        yield f"  cheapest that it refuses  {_priced(found.cheapest_refused)}"
    if found.cheapest_left:
        yield f"  cheapest that is left     {_priced(found.cheapest_left)}"


def _priced(offer: Offer) -> str:
    rate = text.usd(offer.price.usd_per_hour, 4) if offer.price else None
    return f"{text.machine(offer)} {offer.market}  {rate} $/h"


def _rule_json(rule: Rule) -> dict[str, Any]:
    where = rule.location
    return {
        "id": rule.id,
        "verb": rule.verb.value,
        "scope": str(rule.scope),
        "applies_to": applies(rule),
        "effect": wants(rule),
        "why": rule.why,
        "fields": {name: one.words for name, one in rule_fields(rule).items()},
        "location": {"file": where.file, "line": where.line, "col": where.col} if where else None,
    }


def _alone_json(found: Alone) -> dict[str, Any]:
    from broker.cli.planview import offer_json

    refused, left = found.cheapest_refused, found.cheapest_left
    return {
        "offers": found.offers,
        "refused": found.refused,
        "preferred": found.preferred,
        "cheapest_refused": offer_json(refused) if refused else None,
        "cheapest_left": offer_json(left) if left else None,
    }
