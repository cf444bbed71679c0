"""What can be done about a lease: each writes it first, so that the intent is there before the effect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.model import Attempt, Lease


@dataclass(frozen=True, slots=True)
class Note:
    """What is told about a change: it becomes an Event in the same transaction."""

    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Save:
    """Write the lease."""

    lease: Lease
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Write the lease, then launch its attempt; the attempt's id is the token."""

    lease: Lease
    attempt: Attempt
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Terminate:
    """Write the lease, then ask for the machine's end."""

    lease: Lease
    instance_id: str
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """Wait: nothing is due, or too little is known."""

    lease: Lease


Action = Save | Launch | Terminate | Nothing
