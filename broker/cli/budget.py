"""`broker budget`: what the policy's budgets hold, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, table
from broker.errors import NotFoundError
from broker.model import Account

if TYPE_CHECKING:
    from broker.policy import Policy, Rule

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
PolicyOption = Annotated[list[Path] | None, typer.Option("--policy", "-p", help="More rules.")]
UNITS = {"usd": "$", "machines": "machines", "usd_per_hour": "$/h"}


@app.callback()
def budget() -> None:
    """What budgets hold for open runs, what ended runs cost, and what is left this month."""


@app.command("list")
def list_budgets(*, policy: PolicyOption = None, output: OutputOption = Format.TABLE) -> None:
    """Each budget in force, by project, in this calendar month (UTC).

    Example: `broker budget list -p policies/team.yaml`
    """
    context = Context()
    rules, found = context.policy(policy or []), _stored(context)
    month = [one for one in found if one.unit == "usd" and one.period == _month()]
    rows = _in_force(rules, month, context.config.project)
    emit(
        "budgets",
        [_json(one) for one in rows],
        lambda: _table(rows) if rows else "No rule with `budget:` is in force.",
        output=output,
        names=[one.id for one in rows],
    )


@app.command()
def show(
    rule: Annotated[str, typer.Argument(help="Id of a rule with `budget` or `blast_radius`.")],
    *,
    policy: PolicyOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """One rule's accounts in every month, with the runs that hold them.

    Example: `broker budget show team-month`
    """
    context = Context()
    rules = context.policy(policy or [])
    every = _in_force(rules, _stored(context), context.config.project)
    rows = [one for one in every if one.rule == rule]
    known = next((one for one in rules.rules if one.id == rule), None)
    if not rows and known is None:
        raise NotFoundError(f"no budget `{rule}`", hint="`broker budget list` lists them")
    emit(
        "budget",
        {"rule": rule, "location": _place(known), "accounts": [_json(one) for one in rows]},
        lambda: "\n".join([_table(rows), "", *_holders(rows), f"set by {_place(known) or rule}"]),
        output=output,
        names=[one.id for one in rows],
    )


def _stored(context: Context) -> list[Account]:
    return context.store.find(Account) if context.ledger_exists else []


def _month() -> str:
    from broker.policy.standing import month

    return month(utc_now())


def _in_force(rules: Policy, stored: Iterable[Account], project: str) -> list[Account]:
    """What the ledger has, and untouched budgets of the usual project, under today's limits."""
    found = {one.id: one for one in stored}
    limits = _limits(rules)
    for rule in rules.rules:
        for one in _untouched(rule, project):
            found.setdefault(one.id, one)
    return [
        replace(one, limit=limits.get((one.rule, one.unit), one.limit))
        for one in sorted(found.values(), key=lambda one: (one.rule, one.period, one.project))
    ]


def _limits(rules: Policy) -> Mapping[tuple[str, str], Decimal]:
    from broker.policy.rules import BlastRadius, Budget

    found: dict[tuple[str, str], Decimal] = {}
    for rule in rules.rules:
        if isinstance(rule.terms, Budget):
            found[rule.id, "usd"] = rule.terms.usd_per_month
        elif isinstance(rule.terms, BlastRadius):
            if rule.terms.max_machines is not None:
                found[rule.id, "machines"] = Decimal(rule.terms.max_machines)
            if rule.terms.max_usd_per_hour is not None:
                found[rule.id, "usd_per_hour"] = rule.terms.max_usd_per_hour
    return found


def _untouched(rule: Rule, project: str) -> Iterable[Account]:
    """The accounts that nobody has touched, of the projects that the rule names."""
    from broker.policy.rules import Budget, Level
    from broker.policy.standing import account_id

    if not isinstance(rule.terms, Budget):
        return
    names = rule.scope.names if rule.scope.level is Level.PROJECT else (project,)
    for name in names:
        key = account_id(rule, name, _month(), "usd")
        yield Account(key, rule.id, name, _month(), "usd", rule.terms.usd_per_month)


def _table(rows: list[Account]) -> str:
    header = ["RULE", "PROJECT", "PERIOD", "LIMIT", "HELD", "SPENT", "LEFT", "USED", "RUNS"]
    return table(header, [_row(one) for one in rows])


def _row(one: Account) -> list[object]:
    from broker.policy.accounts import left

    return [
        one.rule,
        one.project,
        one.period or "open",
        _said(one.limit, one.unit),
        _said(_held(one), one.unit),
        _said(one.settled, one.unit) if one.unit == "usd" else None,
        _said(left(one), one.unit),
        f"{_per_cent(one)} %",
        len(one.held),
    ]


def _said(amount: Decimal, unit: str) -> str:
    number = f"{amount:.0f}" if unit == "machines" else f"{amount:.2f}"
    return f"{number} {UNITS[unit]}"


def _held(one: Account) -> Decimal:
    return sum(one.held.values(), Decimal(0))


def _per_cent(one: Account) -> int:
    from broker.policy.accounts import taken

    return int(taken(one) * 100 / one.limit) if one.limit else 100


def _holders(rows: Iterable[Account]) -> list[str]:
    return [
        f"{run}  holds {_said(amount, one.unit)} of {one.project} {one.period or 'open'}"
        for one in rows
        for run, amount in sorted(one.held.items(), key=lambda held: (-held[1], held[0]))
    ]


def _place(rule: Rule | None) -> str | None:
    return str(rule.location) if rule and rule.location else None


def _json(one: Account) -> dict[str, Any]:
    from broker.policy.accounts import left

    return {
        "id": one.id,
        "rule": one.rule,
        "project": one.project,
        "period": one.period or None,
        "unit": one.unit,
        "limit": str(one.limit),
        "held": str(_held(one)),
        "settled": str(one.settled),
        "left": str(left(one)),
        "used_per_cent": _per_cent(one),
        "runs": {run: str(amount) for run, amount in sorted(one.held.items())},
    }
