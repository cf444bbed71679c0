"""The words of the product, as frozen values. Pure: no clock, no random, no I/O.

`offers` is what there is, `demands` what is asked for, `decisions` what was decided and why, `rows`
what the ledger keeps. Units stand in names; money is `Decimal`; instants are aware `datetime` in
UTC. A *row* has an `id` and a `version` (0 = not stored yet; see `ports.Store`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.model.decisions import (
    Blame,
    Decision,
    Finding,
    Kind,
    Placement,
    Plan,
    Reason,
    Refusal,
    Toll,
    Verdict,
    WayOut,
)
from broker.model.demands import (
    DEFAULT_PROJECT,
    Artefact,
    AtLeast,
    Data,
    Demand,
    Resources,
    Storage,
    Task,
)
from broker.model.offers import (
    Chip,
    Location,
    Market,
    Offer,
    Price,
    Site,
)

if TYPE_CHECKING:
    from broker.model.rows import (
        ENDED,
        FINAL,
        RUN_ENDED,
        Account,
        Allocation,
        Attempt,
        Capacity,
        Dataset,
        Event,
        Explanation,
        Instance,
        InstanceState,
        JoinToken,
        Lease,
        LeaseState,
        Node,
        NodeState,
        Order,
        OrderState,
        Row,
        Run,
        RunState,
    )

__all__ = [
    "DEFAULT_PROJECT",
    "ENDED",
    "FINAL",
    "RUN_ENDED",
    "Account",
    "Allocation",
    "Artefact",
    "AtLeast",
    "Attempt",
    "Blame",
    "Capacity",
    "Chip",
    "Data",
    "Dataset",
    "Decision",
    "Demand",
    "Event",
    "Explanation",
    "Finding",
    "Instance",
    "InstanceState",
    "JoinToken",
    "Kind",
    "Lease",
    "LeaseState",
    "Location",
    "Market",
    "Node",
    "NodeState",
    "Offer",
    "Order",
    "OrderState",
    "Placement",
    "Plan",
    "Price",
    "Reason",
    "Refusal",
    "Resources",
    "Row",
    "Run",
    "RunState",
    "Site",
    "Storage",
    "Task",
    "Toll",
    "Verdict",
    "WayOut",
]


def __getattr__(name: str) -> Any:
    """The rows are loaded when the first of them is asked for: a plan needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from broker.model import rows

    return getattr(rows, name)
