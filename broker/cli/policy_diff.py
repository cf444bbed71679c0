"""`broker policy diff`: what changes in the rules, and what that does to offers and to leases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer

from broker.cli import text
from broker.cli.context import Context, utc_now
from broker.cli.output import Format, emit
from broker.cli.policy_files import below
from broker.diagnostics import Diagnostic
from broker.errors import DocumentError
from broker.model import FINAL, Data, Demand, Lease, LeaseState, Offer, Resources, Run
from broker.policy import facts
from broker.policy.diff import Change, Comparison, Effect, What, changes, compare
from broker.policy.judge import Judge
from broker.policy.rules import Policy
from broker.policy.standing import Standing

SIGNS = {What.ADDED: "+", What.REMOVED: "-", What.CHANGED: "~"}
STILL = "it keeps running: rules bind what is placed from now on"


@dataclass(frozen=True, slots=True)
class Refused:
    """An open lease whose offer the old rules allow and the new ones do not."""

    lease: Lease
    offer: Offer
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    changes: tuple[Change, ...]
    effects: tuple[Effect, ...] = ()
    offers: int = 0
    leases: int = 0  # open, whose demand is known
    refused: tuple[Refused, ...] = ()


def diff_policies(
    sides: tuple[Path, Path], tasks: Sequence[Path], *, exit_code: bool, output: Format
) -> None:
    """Leaves with 3 where something changes and `exit_code` is wanted."""
    old, new = _load(sides)
    context = Context()
    changed = changes(old, new)
    found = _difference(context, (old, new), _tasks(context, tasks)) if changed else None
    _show(found or Difference(changed), output)
    if changed and exit_code:
        raise typer.Exit(3)


def _load(sides: tuple[Path, Path]) -> tuple[Policy, Policy]:
    """Both sides; what is wrong with either at once."""
    from broker.documents.policies import load_policies

    found: list[Policy] = []
    problems: list[Diagnostic] = []
    for side in sides:
        try:
            found.append(load_policies(below([side], "policy")))
        except DocumentError as error:
            problems += error.diagnostics
    if problems:
        raise DocumentError(problems)
    return found[0], found[1]


def _tasks(context: Context, files: Sequence[Path]) -> list[Demand]:
    from broker.cli.planning import located
    from broker.documents.task import load_task

    known = context.catalog.accelerators() if files else frozenset[str]()
    return [located(context, load_task(file, known).demand) for file in files]


def _difference(
    context: Context, policies: tuple[Policy, Policy], tasks: Sequence[Demand]
) -> Difference:
    from broker.pool import offers, snapshot

    now = utc_now()
    demands = tasks or list(generic(*policies))
    comparisons = [_comparison(demand, policies, now) for demand in demands]
    pool = snapshot(context.catalog, context.catalog_clouds, context.owned_offers())
    counted = _Counted(offers(pool))
    compare(comparisons, counted)
    leases = list(_leases(context))
    refused = tuple(_refused(leases, policies, now))
    return Difference(
        changes(*policies),
        tuple(one.effect for one in comparisons),
        counted.count,
        len(leases),
        refused,
    )


class _Counted:
    """Yields what a plan would consider: what is there and has a price."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers = offers
        self.count = 0

    def __iter__(self) -> Iterator[Offer]:
        for offer in self._offers:
            self.count += 1
            if offer.available and offer.price is not None:
                yield offer


def generic(old: Policy, new: Policy) -> Iterator[Demand]:
    """One machine for an hour: without classed data, and with each class that the rules speak of."""
    hour = Decimal(1)
    yield Demand("any machine", (Resources(),), duration_h=hour)
    for name in dict.fromkeys([*_classes(old), *_classes(new)]):
        data = Data(name, purpose=_purpose(new, name) or _purpose(old, name))
        yield Demand(f"data class {name}", (Resources(),), data=data, duration_h=hour)


def _classes(policy: Policy) -> Iterator[str]:
    yield from (one.name for one in policy.classes)
    for rule in policy.rules:
        for clause in rule.when:
            if clause.field == "data_class":
                yield from facts.words(clause)


def _purpose(policy: Policy, name: str) -> str | None:
    """One that the class allows, the ancestors too where there is such a one."""
    lineage = policy.lineage(name)
    allowed = [one.purposes for one in policy.classes if one.name in lineage and one.purposes]
    common = [
        word for word in (allowed[0] if allowed else ()) if all(word in one for one in allowed)
    ]
    return common[0] if common else None


def _comparison(demand: Demand, policies: tuple[Policy, Policy], now: datetime) -> Comparison:
    old, new = (Judge(policy, demand, Standing(now)) for policy in policies)
    return Comparison(Effect(demand), old, new, _fitting(demand))


def _fitting(demand: Demand) -> Callable[[Offer], bool]:
    """Whether an offer that is there and has a price is what the demand asks for."""
    from broker.place.choose import after_policy
    from broker.place.match import refusal

    if demand.alternatives == (Resources(),) and demand.budget_usd is None:
        return lambda _: True
    return lambda offer: (
        refusal(demand.alternatives, offer) is None and after_policy(demand, offer) is None
    )


def _leases(context: Context) -> Iterator[tuple[Lease, Demand]]:
    """Open leases with what they were asked for, as far as their run still says."""
    if not context.ledger_exists:
        return
    for lease in context.store.find(Lease, state=set(LeaseState) - FINAL):
        for run in context.store.find(Run, id=lease.run_id):
            if demand := _asked(run, lease.role):
                yield lease, demand


def _asked(run: Run, role: str) -> Demand | None:
    """The demand that the lease of this role was planned for."""
    from broker.codec import from_json

    stored = run.spec.get("demand")
    try:
        demand = from_json(Demand, stored) if stored else None
    except (TypeError, ValueError):  # as another release wrote it
        return None
    return demand if demand and demand.role == role else None


def _refused(
    leases: Iterable[tuple[Lease, Demand]], policies: tuple[Policy, Policy], now: datetime
) -> Iterator[Refused]:
    for lease, demand in leases:
        offer = lease.attempt.offer if lease.attempt else lease.candidates[0]
        old, new = (Judge(policy, demand, Standing(now))(offer) for policy in policies)
        if old.allowed and not new.allowed:
            yield Refused(lease, offer, tuple(dict.fromkeys(one.rule for one in new.reasons)))


def _show(found: Difference, output: Format) -> None:
    emit(
        "policy-diff",
        _json(found),
        lambda: "\n".join(_lines(found)),
        output=output,
        names=dict.fromkeys(one.subject.partition(" ")[2] for one in found.changes),
    )


def _lines(found: Difference) -> Iterator[str]:
    if not found.changes:
        yield "no rule changes"
        return
    yield from (_change(one) for one in found.changes)
    yield ""
    yield f"effect on today's catalog ({_number(found.offers)} offers) and {found.leases} open leases"
    for effect in found.effects:
        yield from _effect(effect)
    for one in found.refused:
        where = f"{text.machine(one.offer)} {one.offer.market}"
        yield f"  lease {one.lease.id} ({where}) would be refused by {', '.join(one.by)}; {STILL}"


def _change(one: Change) -> str:
    where = f"{one.location.file}:{one.location.line}" if one.location else "-"
    if one.what is What.CHANGED:
        said = f"{one.field}  {one.before or '(not said)'} -> {one.after or '(not said)'}"
    else:
        said = one.after or one.before
    return f"{SIGNS[one.what]} {where}  {one.subject}  {said}".rstrip()


def _effect(effect: Effect) -> Iterator[str]:
    by = ", ".join(f"{_number(count)} by {rule}" for rule, count in sorted(effect.by.items()))
    why = f" ({by})" if by else ""
    yield f"  {effect.demand.name}"
    yield (
        f"    {_number(effect.refused)} offers become refused{why}, "
        f"{_number(effect.admitted)} become allowed; "
        f"allowed {_number(effect.before)} -> {_number(effect.after)}"
    )
    before, after = _rate(effect, effect.cheapest_before), _rate(effect, effect.cheapest_after)
    yield f"    cheapest allowed {_shown(before)} -> {_shown(after)}"


def _rate(effect: Effect, offer: Offer | None) -> Decimal | None:
    """Of all nodes of the demand together."""
    return offer.price.usd_per_hour * effect.demand.nodes if offer and offer.price else None


def _shown(rate: Decimal | None) -> str:
    return "none" if rate is None else f"{text.usd(rate, 4)} $/h"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _json(found: Difference) -> dict[str, Any]:
    return {
        "changes": [_change_json(one) for one in found.changes],
        "offers": found.offers,
        "effects": [_effect_json(one) for one in found.effects],
        "leases": found.leases,
        "leases_refused": [
            {
                "lease": one.lease.id,
                "run": one.lease.run_id,
                "offer": one.offer.key,
                "by": list(one.by),
            }
            for one in found.refused
        ],
    }


def _change_json(one: Change) -> dict[str, Any]:
    where = one.location
    return {
        "what": one.what.value,
        "subject": one.subject,
        "field": one.field,
        "before": one.before,
        "after": one.after,
        "location": {"file": where.file, "line": where.line, "col": where.col} if where else None,
    }


def _effect_json(effect: Effect) -> dict[str, Any]:
    from broker.cli.planview import offer_json

    before, after = effect.cheapest_before, effect.cheapest_after
    return {
        "demand": effect.demand.name,
        "allowed_before": effect.before,
        "allowed_after": effect.after,
        "refused": effect.refused,
        "admitted": effect.admitted,
        "refused_by": dict(sorted(effect.by.items())),
        "cheapest_before": offer_json(before) if before else None,
        "cheapest_after": offer_json(after) if after else None,
    }
