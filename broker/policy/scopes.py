"""Whom the rules of a scope bind, and whose say comes first. Pure.

Nothing relaxes anything: scopes only say to which demands and offers a rule applies. A site owner's
rules stand before the organisation's, and those before a project's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.model import Demand, Offer
from broker.policy.conditions import Condition, always
from broker.policy.rules import Level, Rule, Scope

_ORDER: Final = {Level.SITE: 0, Level.ORGANISATION: 1, Level.PROJECT: 2}


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Site owners' first, then the organisation's, then projects'; else as in the files."""
    return tuple(sorted(rules, key=lambda rule: _ORDER[rule.scope.level]))


def is_owners(rule: Rule) -> bool:
    return rule.scope.level is Level.SITE


def reaches(scope: Scope, demand: Demand) -> bool | None:
    """Whether it binds the demand wherever it goes; None: only on the owner's own nodes."""
    if scope.level is Level.SITE:
        return owned(scope, demand) or (None if scope.names else False)
    return scope.level is Level.ORGANISATION or demand.project in scope.names


def owned(scope: Scope, demand: Demand) -> bool:
    """Whether the demand names data of that site's owner."""
    return not set(scope.datasets).isdisjoint(demand.data.datasets)


def out_of(scope: Scope, demand: Demand) -> Condition:
    """That the demand is within the scope, which it is not."""
    data = ", ".join(demand.data.datasets) or "none"
    site = scope.level is Level.SITE
    saw = f"data sets [{data}]" if site else f"project {demand.project}"
    wanted = f"data sets of {scope}" if site else f"{scope}"
    return always(False, (saw, wanted))


def at_site(scope: Scope) -> Condition:
    """That an offer is one of the owner's own nodes."""
    return Condition(
        ("node",),
        lambda offer: offer.node in scope.names,
        _node_said,
        f"at {scope}",
    )


def _node_said(offer: Offer) -> str:
    return f"node {offer.node}" if offer.node else "no enrolled node"
