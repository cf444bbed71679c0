"""What a plan takes from the accounts of budgets and blast radii, and how accounts move. Pure.

A budget gives each project so much in a calendar month (UTC). A run holds the upper estimate of
its cost from the moment it is admitted: the dearest candidate for the whole duration, or its own
budget where that is less. When it has ended it is settled: what it really cost stays taken, the
rest is free again. **The month of admission holds the run**, also when it ends in the next one.

A blast radius bounds what is open at once: machines and their rate. A run holds its share until
all its machines are gone.

What runs took before a rule was written is not counted by the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from broker.model import Account, Demand, Location, Offer, Placement, Plan
from broker.policy import facts
from broker.policy.conditions import Question, expression, is_about_demands, of_offer, question
from broker.policy.rules import EXPR, BlastRadius, Budget, Clause, Policy, Rule
from broker.policy.scopes import at_site, reaches
from broker.policy.standing import MACHINES, USD, USD_PER_HOUR, Standing, account_id, month

Agreed = tuple[Demand, Plan]
Asked = tuple[Question, Plan]
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run wants of one account. `amount` None: nobody bounds it."""

    account: Account  # as it is before anything was given out
    amount: Decimal | None
    rule: Rule
    field: str  # of the rule's terms, whose place a refusal shows

    @property
    def location(self) -> Location | None:
        return self.rule.locations.get(self.field, self.rule.location)


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """Why a claim does not fit: the account as it stands, and what is left of it."""

    claim: Claim
    account: Account
    left: Decimal


def claims(policy: Policy, agreed: Iterable[Agreed], now: datetime) -> tuple[Claim, ...]:
    """One claim for each account that these plans touch together, in the rules' order."""
    found: dict[str, Claim] = {}
    asked = [(question(policy, demand, Standing(now)), plan) for demand, plan in agreed]
    for rule in policy.rules:
        for one in asked:
            for claim in _claims_of(rule, one, now):
                before = found.get(claim.account.id)
                found[claim.account.id] = _joined(before, claim) if before else claim
    return tuple(found.values())


def too_many_nodes(
    policy: Policy, agreed: Iterable[Agreed], now: datetime
) -> tuple[Rule, int, int] | None:
    """The first rule whose `max_nodes_per_run` these plans break, its bound, and their nodes."""
    asked = [(question(policy, demand, Standing(now)), plan) for demand, plan in agreed]
    for rule in policy.rules:
        terms = rule.terms
        if not isinstance(terms, BlastRadius) or terms.max_nodes_per_run is None:
            continue
        bound = [placement for one in asked for placement in _bound(rule, one)]
        nodes = sum(placement.nodes for placement in bound)
        if nodes > terms.max_nodes_per_run:
            return rule, terms.max_nodes_per_run, nodes
    return None


def accounts_of(policy: Policy, demand: Demand, now: datetime) -> tuple[Account, ...]:
    """Every account that some offer for the demand could touch, as it is before anything."""
    return tuple(
        account
        for rule in policy.rules
        if _concerns(rule, question(policy, demand, Standing(now)))
        for account, _ in _empty(rule, demand, now)
    )


def reserve(account: Account, claim: Claim, run_id: str) -> Account | Overdrawn:
    """The account with the claim held for the run. What the run held before is replaced."""
    others = {key: amount for key, amount in account.held.items() if key != run_id}
    current = replace(account, limit=claim.account.limit, held=others)
    room = left(current)
    if claim.amount is None or claim.amount > room:
        return Overdrawn(claim, current, max(room, ZERO))
    return replace(current, held={**others, run_id: claim.amount})


def settle(account: Account, really: Mapping[str, Decimal]) -> Account:
    """The account after these runs have ended, with what each really took.

    A run that holds nothing here is left out, so that settling twice is settling once. Machines
    and rates are simply free again.
    """
    ended = [run_id for run_id in account.held if run_id in really]
    held = {key: amount for key, amount in account.held.items() if key not in really}
    taken = sum((really[run_id] for run_id in ended), ZERO) if account.unit == USD else ZERO
    return replace(account, held=held, settled=account.settled + taken)


def taken(account: Account) -> Decimal:
    """Held and settled together."""
    return sum(account.held.values(), account.settled)


def left(account: Account) -> Decimal:
    """What may still be reserved; below zero where the limit was lowered or a run overspent."""
    return account.limit - taken(account)


def crossed(before: Account, after: Account, warn_at: Sequence[int]) -> int | None:
    """The highest of these percentages that the step from one to the other reaches."""
    marks = [
        mark for mark in warn_at if taken(before) * 100 < after.limit * mark <= taken(after) * 100
    ]
    return max(marks, default=None)


def most_usd(demand: Demand, placement: Placement) -> Decimal | None:
    """The upper estimate of what a placement costs; None where nobody bounds it.

    Machines that cost nothing cost nothing, however long they run.
    """
    rate = rate_of(placement)
    if rate == 0:
        return ZERO
    priced = placement.usd_most
    if priced is None and demand.duration_h is not None and rate is not None:
        priced = rate * demand.duration_h
    return min((one for one in (priced, demand.budget_usd) if one is not None), default=None)


def rate_of(placement: Placement) -> Decimal | None:
    """USD an hour of all nodes at the dearest candidate; None where a price is not known."""
    rates = [offer.price.usd_per_hour if offer.price else None for offer in _candidates(placement)]
    known = [rate for rate in rates if rate is not None]
    return placement.nodes * max(known) if len(known) == len(rates) else None


# ------------------------------------------------------------------------------- what a rule binds


def _claims_of(rule: Rule, one: Asked, now: datetime) -> Iterator[Claim]:
    demand = one[0].demand
    placements = _bound(rule, one)
    for account, field in _empty(rule, demand, now) if placements else ():
        amounts = [_amount(account.unit, demand, placement) for placement in placements]
        total = None if None in amounts else sum((each for each in amounts if each), ZERO)
        if total != 0:
            yield Claim(account, total, rule, field)


def _amount(unit: str, demand: Demand, placement: Placement) -> Decimal | None:
    if unit == MACHINES:
        return Decimal(placement.nodes)
    return rate_of(placement) if unit == USD_PER_HOUR else most_usd(demand, placement)


def _empty(rule: Rule, demand: Demand, now: datetime) -> Iterator[tuple[Account, str]]:
    """The accounts of a rule for the demand's project, with the fields that bound them."""
    terms = rule.terms
    bounds: list[tuple[str, str, Decimal | int | None]] = []
    if isinstance(terms, Budget):
        bounds = [(USD, "usd_per_month", terms.usd_per_month)]
    elif isinstance(terms, BlastRadius):
        bounds = [
            (MACHINES, "max_machines", terms.max_machines),
            (USD_PER_HOUR, "max_usd_per_hour", terms.max_usd_per_hour),
        ]
    for unit, field, limit in bounds:
        if limit is not None:
            period = month(now) if unit == USD else ""
            name = account_id(rule, demand.project, period, unit)
            yield Account(name, rule.id, demand.project, period, unit, Decimal(limit)), field


def _bound(rule: Rule, one: Asked) -> list[Placement]:
    """The placements of which some candidate falls under the rule: they count as a whole."""
    asked, plan = one
    if not _concerns(rule, asked):
        return []
    return [
        placement
        for placement in plan.placements
        if any(_binds(rule, offer, asked) for offer in _candidates(placement))
    ]


def _concerns(rule: Rule, asked: Question) -> bool:
    """Whether the rule can bind the demand on some offer. Unknown counts as yes."""
    if reaches(rule.scope, asked.demand) is False:
        return False
    return all(_asks(one, asked) is not False for one in rule.when if is_about_demands(one))


def _asks(clause: Clause, asked: Question) -> bool | None:
    if clause.field == EXPR:
        return expression(clause)(None, asked.demand)
    return facts.asks(clause, asked.demand, asked.lineage)


def _binds(rule: Rule, offer: Offer, asked: Question) -> bool:
    """Whether a rule that concerns the demand binds it on this offer. Unknown counts as yes."""
    conditions = [of_offer(one, asked) for one in rule.when if not is_about_demands(one)]
    if reaches(rule.scope, asked.demand) is None:
        conditions.append(at_site(rule.scope))
    return all(one.holds(offer) is not False for one in conditions)


def _candidates(placement: Placement) -> tuple[Offer, ...]:
    return (placement.offer, *placement.fallbacks)


def _joined(one: Claim, other: Claim) -> Claim:
    both = one.amount is not None and other.amount is not None
    return replace(one, amount=(one.amount or ZERO) + (other.amount or ZERO) if both else None)
