"""The ledger's tables: one for each kind of row, a column for each field that is a plain value.

What is nested (offers, attempts, free-form JSON) stands in the column `rest`, and so does a plain
field that no column was made for yet: a new field with a default needs no migration until somebody
searches by it in earnest.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, String, Table, Text

from broker.model import (
    Account,
    Allocation,
    Event,
    Explanation,
    JoinToken,
    Lease,
    Node,
    Order,
    Row,
    Run,
)

HEAD = "0002"  # the revision that this code reads and writes
REVISIONS = ("0001", "0002")  # oldest first

metadata = MetaData()

ID = String(128)
LONG_ID = String(512)  # of rule, project and period together


def _table(
    name: str, *columns: Column[str] | Column[int] | Column[bool], named: String = ID
) -> Table:
    return Table(
        name,
        metadata,
        Column("id", named, primary_key=True),
        Column("version", Integer, nullable=False),
        *columns,
        Column("rest", Text, nullable=False),
    )


def _text(name: str) -> Column[str]:
    return Column(name, Text)


LEASES = _table(
    "leases",
    Column("run_id", ID, nullable=False),
    Column("role", String(32), nullable=False),
    Column("rank", Integer, nullable=False),
    _text("created_at"),
    Column("wanted", Boolean, nullable=False),
    Column("state", String(32), nullable=False),
    Column("preemptions", Integer, nullable=False),
    _text("reason"),
    _text("closed_at"),
    _text("usd_spent"),
)
NODES = _table(
    "nodes",
    _text("name"),
    Column("kind", String(32), nullable=False),
    _text("created_at"),
    Column("state", String(32), nullable=False),
    Column("attempt_id", ID),
    _text("country"),
    Column("serial", String(128)),
    _text("expires_at"),
    _text("seen_at"),
    _text("address"),
    Column("previous_serial", String(128)),
)
JOIN_TOKENS = _table(
    "join_tokens",
    Column("node_id", ID, nullable=False),
    _text("created_at"),
    _text("expires_at"),
    _text("used_at"),
    _text("key_hash"),
)
ALLOCATIONS = _table(
    "allocations",
    Column("node_id", ID, nullable=False),
    Column("lease_id", ID, nullable=False),
    _text("created_at"),
    Column("released", Boolean, nullable=False),
    _text("released_at"),
)
ORDERS = _table(
    "orders",
    Column("run_id", ID, nullable=False),
    Column("lease_id", ID, nullable=False),
    Column("attempt_id", ID, nullable=False),
    Column("node_id", ID, nullable=False),
    Column("kind", String(32), nullable=False),
    _text("created_at"),
    Column("state", String(32), nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("exit_code", Integer),
    _text("detail"),
    _text("finished_at"),
)
RUNS = _table(
    "runs",
    _text("name"),
    Column("kind", String(32), nullable=False),
    _text("created_at"),
    Column("state", String(32), nullable=False),
    Column("outcome", String(32)),
    Column("wanted", Boolean, nullable=False),
    Column("keep", Boolean, nullable=False),
    _text("reason"),
    _text("closing_at"),
    _text("ended_at"),
)
ACCOUNTS = _table(
    "accounts",
    _text("rule"),
    _text("project"),
    Column("period", String(32), nullable=False),
    Column("unit", String(32), nullable=False),
    _text("limit"),
    _text("settled"),
    named=LONG_ID,
)
EXPLANATIONS = _table(
    "explanations",
    Column("run_id", ID, nullable=False),
    Column("role", String(32), nullable=False),
    _text("created_at"),
    _text("catalog_as_of"),
)
EVENTS = _table(
    "events",
    _text("at"),
    Column("subject", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("kind", String(64), nullable=False),
    _text("message"),
)

TABLES: dict[type[Row], Table] = {
    Lease: LEASES,
    Node: NODES,
    JoinToken: JOIN_TOKENS,
    Allocation: ALLOCATIONS,
    Order: ORDERS,
    Run: RUNS,
    Account: ACCOUNTS,
    Explanation: EXPLANATIONS,
    Event: EVENTS,
}

INDEXED = {
    LEASES: ("run_id", "state"),
    NODES: ("kind", "state", "attempt_id", "serial"),
    JOIN_TOKENS: ("node_id", "used_at"),
    ALLOCATIONS: ("node_id", "lease_id"),
    ORDERS: ("run_id", "lease_id", "attempt_id", "node_id", "state"),
    RUNS: ("state",),
    ACCOUNTS: ("rule", "period"),
    EXPLANATIONS: ("run_id",),
    EVENTS: ("subject", "run_id", "kind"),
}

for _kind, _names in INDEXED.items():
    for _name in _names:
        Index(f"ix_{_kind.name}_{_name}", _kind.c[_name])
