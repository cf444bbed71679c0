"""The rules that placements obey, and the judge over them. Pure.

`rules` holds them as values, `facts` says what each clause compares, `judge` decides. They are
read from files by `broker.documents.policies`.
"""

from __future__ import annotations

from broker.policy.judge import Judge
from broker.policy.rules import Clause, Policy, Rule, Verb

__all__ = ["Clause", "Judge", "Policy", "Rule", "Verb"]
