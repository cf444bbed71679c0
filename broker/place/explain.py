"""Words for a plan that placed nothing, or less than was hoped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker.errors import (
    AuthError,
    BrokerError,
    BudgetError,
    CapacityError,
    InfeasibleError,
    PolicyError,
    QuotaError,
)
from broker.model import Kind, Plan, Reason, Refusal, WayOut
from broker.place.choose import PRICE
from broker.place.limits import CAP, hourly, known_usd
from broker.place.tally import cheapness
from broker.place.ways import change, conflict, relaxable

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
_DUTIES = {"data-class", "purpose"}  # asked for by the broker itself: met, not relaxed
UNBOUNDED = "no duration"  # in what a budget saw: nobody says how long the run may take
LINE = "\n         "  # what a tip of several lines is joined with


def nearest(plan: Plan) -> tuple[Refusal, ...]:
    """The cheapest refused offer of each rule, cheapest first; unpriced offers are no help."""
    best: dict[tuple[Kind, str], Refusal] = {}
    for line in plan.refusals:
        if line.cheapest is None or known_usd(line.cheapest) is None:
            continue
        rule = (line.reason.kind, line.reason.rule)
        if rule not in best or _order(line) < _order(best[rule]):
            best[rule] = line
    return tuple(sorted(best.values(), key=_order))


def failure(plan: Plan, demand: str) -> BrokerError | None:
    """The error that names why nothing was placed; None when something was.

    Of an explained plan its hint is the derivation.
    """
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
    hint = LINE.join(filter(None, (reason.why, derivation(plan))))
    return error(message, location=reason.location, hint=hint or None)


def derivation(plan: Plan) -> str:
    """Why no placement exists: a smallest set of rules that refuse it all, and the ways out.

    Empty unless the plan was explained.
    """
    if not plan.blames:
        return ""
    because = f"{LINE}    and ".join(_premise(*one, plan) for one in conflict(plan.blames))
    return f"Because {because},{LINE}no placement exists. {LINE.join(ways_lines(plan.ways_out))}"


def ways_lines(ways: Iterable[WayOut]) -> Iterator[str]:
    """Each way out on a line of its own, under a heading."""
    lines = [f"  - {way_words(one)}" for one in ways]
    if not lines:
        yield "Nothing that can be relaxed admits an offer."
    elif len(lines) == 1:
        yield "One way out:"
    else:
        yield "Ways out, each enough alone:"
    yield from lines


def way_words(way: WayOut) -> str:
    """`relax phi-stays (p.yaml:5:9) -> 2 offers, from 31.20 $/h: aws/...`."""
    steps = ", and ".join(relax_words(reason) for reason in _changes(way.reasons))
    offers = f"{way.offers} offer{'s' * (way.offers != 1)}"
    assert way.cheapest is not None
    usd = known_usd(way.cheapest)
    rate = "" if usd is None else f", from {hourly(usd)}"
    return f"{steps} -> {offers}{rate}: {way.cheapest.key}"


def relax_words(reason: Reason) -> str:
    """What a person would change for this reason to fall."""
    where = f" ({reason.location})" if reason.location else ""
    if reason.kind is Kind.CREDENTIAL:
        return f"enable {reason.rule}"
    if reason.kind is Kind.BUDGET and UNBOUNDED in reason.saw:
        return f"say how long it runs or what it may cost, for {reason.rule}{where}"
    if reason.kind is Kind.BUDGET or (reason.kind, reason.rule) == (Kind.PRICE, CAP):
        return f"raise {reason.rule}{where} to {reason.saw}"
    if reason.rule in _DUTIES:
        return f"give {reason.wanted}{where}"
    return f"relax {reason.rule}{where}: wants {reason.wanted}, saw {reason.saw}"


def smallest_change(reasons: Iterable[Reason]) -> str:
    """What it takes to admit the one offer that these reasons refuse together."""
    against = _changes(reasons)
    names = ", ".join(reason.rule for reason in against)
    fixed = [reason for reason in against if not relaxable(reason)]
    if fixed:
        what = ", ".join(f"{reason.rule}: {reason.saw}" for reason in fixed)
        return f"nothing that you can change admits this offer ({what})"
    if len(against) == 1:
        return f"relaxing {names} alone admits this offer"
    return f"no single change admits this offer; the smallest set is {{{names}}}"


def _changes(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """One reason for each change."""
    found: dict[tuple[str, str], Reason] = {}
    for reason in reasons:
        found.setdefault(change(reason), reason)
    return tuple(found.values())


def _premise(reason: Reason, count: int, plan: Plan) -> str:
    where = f" ({reason.location})" if reason.location else ""
    share = f"refuses {count} of {plan.considered} offers"
    if (reason.kind, reason.rule) == (Kind.PRICE, PRICE):
        return f"{count} of {plan.considered} offers have no known price"
    if reason.kind in (Kind.CREDENTIAL, Kind.CAPACITY, Kind.QUOTA):
        return f"{reason.saw}{where}, which {share}"
    return f"{reason.rule} wants {reason.wanted}{where}, which {share}"


def _decisive(plan: Plan) -> Refusal:
    """The refusal that is furthest down the order of checks; the most frequent of equals."""
    return max(plan.refusals, key=lambda line: (_STAGES.index(_check(line)), line.count))


def _check(line: Refusal) -> str:
    """The check that refused: its kind, except that a price can also be unknown."""
    priced = line.cheapest is not None and known_usd(line.cheapest) is not None
    return UNKNOWN_PRICE if line.reason.kind is Kind.PRICE and not priced else line.reason.kind


def _order(line: Refusal) -> tuple[object, ...]:
    assert line.cheapest is not None
    return cheapness(line.cheapest)
