"""The ledger: what the broker wants, knows and did. `Ledger` is on disk, `MemoryStore` in memory.

`Ledger` is looked up on first use, so that importing this package does not load SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.store.memory import MemoryStore

if TYPE_CHECKING:
    from broker.store.ledger import Ledger

__all__ = ["Ledger", "MemoryStore"]


def __getattr__(name: str) -> Any:
    if name == "Ledger":
        from broker.store.ledger import Ledger

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
