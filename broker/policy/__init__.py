"""The rules that placements obey, and the judge over them. Pure.

`rules` holds them as values, `facts` says what each clause compares, `binding` what a rule comes to
for one demand, `judge` decides and `trace` explains. `windows` says when work may be interrupted or
started. They are read from files by `broker.documents.policies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker.policy.judge import Judge
    from broker.policy.rules import Clause, Policy, Rule, Verb
    from broker.policy.standing import Standing, account_id
    from broker.policy.windows import max_preemptions, may_disrupt, start_after

_HOMES = {
    "judge": ("Judge",),
    "rules": ("Clause", "Policy", "Rule", "Verb"),
    "standing": ("Standing", "account_id"),
    "windows": ("max_preemptions", "may_disrupt", "start_after"),
}
__all__ = [
    "Clause",
    "Judge",
    "Policy",
    "Rule",
    "Standing",
    "Verb",
    "account_id",
    "max_preemptions",
    "may_disrupt",
    "start_after",
]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: to read rules one need not be able to judge by them."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"broker.policy.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
