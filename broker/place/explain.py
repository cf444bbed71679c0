"""Words for a plan that placed nothing, or less than was hoped. Pure."""

from __future__ import annotations

from broker.errors import (
    AuthError,
    BrokerError,
    BudgetError,
    CapacityError,
    InfeasibleError,
    PolicyError,
    QuotaError,
)
from broker.model import Kind, Plan, Refusal
from broker.place.tally import cheapness

UNKNOWN_PRICE = "unknown price"

# In the order of the checks: the last of them that refuses anything is what stands between the
# task and the offers that came furthest.
_ERRORS: dict[str, type[BrokerError]] = {
    Kind.REQUEST: InfeasibleError,
    Kind.CREDENTIAL: AuthError,
    Kind.QUOTA: QuotaError,
    Kind.CAPACITY: CapacityError,
    UNKNOWN_PRICE: InfeasibleError,
    Kind.POLICY: PolicyError,
    Kind.PRICE: BudgetError,
    Kind.BUDGET: BudgetError,
}
_STAGES = tuple(_ERRORS)


def nearest(plan: Plan) -> tuple[Refusal, ...]:
    """The cheapest refused offer of each rule, cheapest first; unpriced offers are no help."""
    best: dict[tuple[Kind, str], Refusal] = {}
    for line in plan.refusals:
        if line.cheapest is None or line.cheapest.price is None:
            continue
        rule = (line.reason.kind, line.reason.rule)
        if rule not in best or _order(line) < _order(best[rule]):
            best[rule] = line
    return tuple(sorted(best.values(), key=_order))


def failure(plan: Plan, demand: str) -> BrokerError | None:
    """The error that names why nothing was placed; None when something was."""
    if plan.placements:
        return None
    if not plan.considered:
        return InfeasibleError(
            f"no offer for {demand}: the pool is empty",
            hint="enable a cloud, enrol a node or import a catalog",
        )
    line = _decisive(plan)
    reason = line.reason
    message = (
        f"no offer carries {demand}: {line.count} of {plan.considered} came as far as"
        f" {reason.rule}, which wants {reason.wanted} and saw {reason.saw}"
    )
    error = _ERRORS[_check(line)]
    return error(message, location=reason.location, hint=reason.why or None)


def _decisive(plan: Plan) -> Refusal:
    """The refusal that is furthest down the order of checks; the most frequent of equals."""
    return max(plan.refusals, key=lambda line: (_STAGES.index(_check(line)), line.count))


def _check(line: Refusal) -> str:
    """The check that refused: its kind, except that a price can also be unknown."""
    priced = line.cheapest is not None and line.cheapest.price is not None
    return UNKNOWN_PRICE if line.reason.kind is Kind.PRICE and not priced else line.reason.kind


def _order(line: Refusal) -> tuple[object, ...]:
    assert line.cheapest is not None
    return cheapness(line.cheapest)
