"""`broker why`: the decisions that a run was admitted by, kept with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from broker.cli import find
from broker.cli.context import Context
from broker.cli.output import Format, OutputOption, emit, table
from broker.errors import NotFoundError, UsageError
from broker.model import FINAL, Decision, Explanation, Lease, Market, Offer, Run
from broker.ports import Store

LEASE = "ls_"

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def why(
    resource: Annotated[str, typer.Argument(help="A run or a lease: id, prefix or name.")],
    *,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say why a run stands where it stands: every rule over its offer, and what was tried in vain.

    The decisions are those of the moment in which the run was admitted, not made up afterwards.

    Example: `broker why hello`
    """
    context = Context()
    if not context.ledger_exists:
        raise NotFoundError(f"no run `{resource}`", hint="`broker up TASK` starts one")
    run, leases = _found(context.store, resource)
    told = {one.role: one for one in context.store.find(Explanation, run_id=run.id)}
    emit(
        "why",
        _json(run, leases, told),
        lambda: "\n".join(_lines(run, leases, told)),
        output=output,
        names=[lease.id for lease in leases],
    )


def _found(store: Store, word: str) -> tuple[Run, list[Lease]]:
    """The run with all its leases, or with the one that is meant."""
    if not word.startswith(LEASE):
        run = find.run_of(store, word)
        return run, find.leases_of(store, run)
    leases = [lease for lease in store.find(Lease) if lease.id.startswith(word)]
    if not leases:
        raise NotFoundError(f"no lease `{word}`", hint="`broker status --all` lists them")
    if len(leases) > 1:
        ids = ", ".join(lease.id for lease in leases[:5])
        raise UsageError(f"`{word}` could be {ids}", code="USE004", hint="give more of the id")
    return store.find(Run, id=leases[0].run_id)[0], leases


def _lines(run: Run, leases: Sequence[Lease], told: dict[str, Explanation]) -> Iterator[str]:
    yield f"{run.name}  {run.id}  {run.state}{f': {run.reason}' if run.reason else ''}"
    for lease in leases:
        yield ""
        yield from _lease(lease, told.get(lease.role))
    for role, one in told.items():
        if role in {lease.role for lease in leases}:
            yield from _refusals(one)


def _lease(lease: Lease, told: Explanation | None) -> Iterator[str]:
    from broker.cli.explainview import findings_lines

    said = f": {lease.reason}" if lease.reason else ""
    yield f"{lease.id}  {lease.role} {lease.rank}  {lease.state}{said}"
    now = _offer(lease)
    yield f"  {_does(lease):<10} {now.key if now else 'nothing: no candidate is left'}"
    for key, words in lease.failed.items():
        yield f"  failed     {key}: {words}"
    left = len(_left(lease))
    yield f"  candidates {len(lease.candidates)}, {left} left"
    if lease.preemptions:
        most = lease.max_preemptions
        bound = "" if most is None else f" of at most {most}"
        yield f"  preempted  {lease.preemptions} times{bound}"
    decision = _decision(told, now)
    if decision:
        yield "  decided by"
        yield from (f"  {line}" for line in findings_lines(decision.findings))
    else:
        yield "  no decision over this offer was kept"


def _does(lease: Lease) -> str:
    if not lease.attempt:
        return "would try"
    return "stood on" if lease.state in FINAL else "stands on"


def _refusals(told: Explanation) -> Iterator[str]:
    from broker.cli.planview import by_rule

    yield ""
    policies = "  ".join(told.policies) or "none"
    as_of = told.catalog_as_of or "unknown"
    yield f"Decided {told.created_at:%Y-%m-%d %H:%M} UTC   policies {policies}   catalog as of {as_of}"
    rows = [
        [one.count, one.reason.rule, one.reason.location, one.reason.wanted]
        for one in by_rule(told.refusals)
    ]
    if rows:
        yield f"Offers refused for the {told.role}, by the first rule against each"
        yield from (
            f"  {line}" for line in table(["COUNT", "RULE", "WHERE", "WANTED"], rows).splitlines()
        )


def _offer(lease: Lease) -> Offer | None:
    """Where it stands, else what would be tried next."""
    if lease.attempt:
        return lease.attempt.offer
    return next(iter(_left(lease)), None)


def _left(lease: Lease) -> list[Offer]:
    """Candidates that may still be tried."""
    most = lease.max_preemptions
    no_spot = most is not None and lease.preemptions >= most
    return [
        one
        for one in lease.candidates
        if one.key not in lease.failed and not (no_spot and one.market is Market.SPOT)
    ]


def _decision(told: Explanation | None, offer: Offer | None) -> Decision | None:
    if told is None or offer is None:
        return None
    return next((one for one in told.decisions if one.offer.key == offer.key), None)


def _json(run: Run, leases: Sequence[Lease], told: dict[str, Explanation]) -> dict[str, Any]:
    return {
        "run": run.id,
        "name": run.name,
        "state": run.state.value,
        "reason": run.reason,
        "leases": [_lease_json(lease, told.get(lease.role)) for lease in leases],
        "explanations": [_told_json(one) for one in told.values()],
    }


def _lease_json(lease: Lease, told: Explanation | None) -> dict[str, Any]:
    from broker.cli.explainview import decision_json
    from broker.cli.planview import offer_json

    now = _offer(lease)
    decision = _decision(told, now)
    return {
        "id": lease.id,
        "role": lease.role,
        "rank": lease.rank,
        "state": lease.state.value,
        "reason": lease.reason,
        "offer": offer_json(now) if now else None,
        "leased": lease.attempt is not None,
        "decision": decision_json(decision) if decision else None,
        "failed": lease.failed,
        "candidates": [one.key for one in lease.candidates],
        "candidates_left": [one.key for one in _left(lease)],
        "preemptions": lease.preemptions,
        "max_preemptions": lease.max_preemptions,
    }


def _told_json(one: Explanation) -> dict[str, Any]:
    from broker.cli.planview import by_rule, reason_json

    return {
        "role": one.role,
        "created_at": one.created_at.isoformat(),
        "policies": list(one.policies),
        "catalog_as_of": one.catalog_as_of,
        "decisions": len(one.decisions),
        "refusals": [{**reason_json(r.reason), "count": r.count} for r in by_rule(one.refusals)],
    }
