"""What the ledger says when the judge is asked, and the names of its accounts. Pure.

An account is what one rule has given out to one project: money in a month, machines or a rate that
are open at once. Where the ledger has none nothing has been given out yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from broker.policy.rules import Rule

USD: Final = "usd"
MACHINES: Final = "machines"
USD_PER_HOUR: Final = "usd_per_hour"


@dataclass(frozen=True, slots=True)
class Standing:
    """The moment and the accounts, by account id. `left_usd` misses an account that is untouched."""

    now: datetime | None = None
    left_usd: Mapping[str, Decimal] = field(default_factory=dict)
    machines: Mapping[str, Decimal] = field(default_factory=dict)
    usd_per_hour: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def period(self) -> str:
        """The calendar month in UTC, "2026-11"; "" where no moment is known."""
        return month(self.now) if self.now else ""


def month(moment: datetime) -> str:
    """The calendar month in UTC that budgets count by."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def account_id(rule: Rule, demand_project: str, period: str, unit: str) -> str:
    """Names what one rule gave one project in one period, "" for what is open at once."""
    return f"{rule.id}/{demand_project}/{period or 'open'}/{unit}"
