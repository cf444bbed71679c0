"""What the ledger keeps: leases, machines, nodes, work, runs, events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from broker.model.decisions import Decision, Refusal
from broker.model.offers import Offer


class LeaseState(StrEnum):
    PENDING = "pending"  # no attempt under way: the next step chooses one
    LAUNCHING = "launching"  # an attempt is committed; its outcome is not known yet
    STARTING = "starting"  # the machine exists; it does not run yet
    RUNNING = "running"
    CLOSING = "closing"  # no longer wanted: terminate until the provider confirms
    CLOSED = "closed"
    FAILED = "failed"  # no candidate is left, nothing is running


FINAL = frozenset({LeaseState.CLOSED, LeaseState.FAILED})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one offer. `id` is the launch token, unique and committed before the launch."""

    id: str
    offer: Offer
    created_at: datetime
    instance_id: str | None = None
    launched_at: datetime | None = None  # when the outcome became definite and good
    terminate_asked_at: datetime | None = None
    retry_at: datetime | None = None  # earliest moment to repeat an unknown launch or a terminate
    tries: int = 0
    tried_at: datetime | None = None  # when the launch was last asked for
    abandoned: str = ""  # why it is given up for another; first its machine, if any, must be gone


@dataclass(frozen=True, slots=True)
class Lease:
    """A wish for one machine that the broker keeps true until it is closed. A row.

    `candidates` are offers that policy allowed, best first; failover never leaves them.
    `failed` maps offer keys to the provider's own words for offers already tried in vain.
    """

    id: str
    run_id: str
    role: str  # "task" | "aggregator" | "site"
    rank: int
    candidates: tuple[Offer, ...]
    created_at: datetime
    wanted: bool = True
    state: LeaseState = LeaseState.PENDING
    attempt: Attempt | None = None
    failed: dict[str, str] = field(default_factory=dict)
    preemptions: int = 0
    reason: str = ""  # why it is in this state, in a person's words
    closed_at: datetime | None = None
    usd_spent: Decimal = Decimal(0)  # on attempts that have ended
    max_preemptions: int | None = None  # after so many only offers that are not spot are tried
    not_before: datetime | None = None  # no attempt is begun earlier
    forgiven: int = 0  # the count of preemptions for which `failed` was last forgotten
    version: int = 0


class InstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    GONE = "gone"  # terminated, whether still listed or not


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine as the provider shows it. `attempt_id` and `lease_id` come from its tags."""

    id: str
    cloud: str
    region: str
    attempt_id: str
    lease_id: str
    state: InstanceState
    launched_at: datetime | None = None
    reason: str = ""  # the provider's words for a machine that stopped


class NodeState(StrEnum):
    INVITED = "invited"
    ONLINE = "online"
    LOST = "lost"
    DRAINED = "drained"
    REVOKED = "revoked"
    GONE = "gone"  # the machine of a closed lease


@dataclass(frozen=True, slots=True)
class Capacity:
    vcpus: float = 0
    memory_gib: float = 0
    disk_gib: float = 0
    accelerator: str | None = None
    accelerator_count: float = 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a node says about data it holds: a name and counts, never rows."""

    name: str
    rows: int
    schema_hash: str = ""
    data_class: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with an enrolled agent, cloud or edge. A row."""

    id: str
    name: str
    kind: str  # "cloud" | "edge"
    created_at: datetime
    state: NodeState = NodeState.INVITED
    attempt_id: str | None = None  # for a cloud machine: the attempt that launched it
    country: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    capacity: Capacity = Capacity()
    datasets: tuple[Dataset, ...] = ()
    serial: str = ""  # of the current certificate, lower-case hex
    expires_at: datetime | None = None
    seen_at: datetime | None = None
    address: str = ""  # where the agent's own listener can be dialled, if it has one
    previous_serial: str = ""  # good until the current certificate has been used once
    version: int = 0

    @property
    def flower_key(self) -> str:
        """OpenSSH public key of its SuperNode, a label that its agent sets; "" when it cannot train."""
        return self.labels.get("flower-key", "")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A one-time invitation. Only the SHA-256 of the secret is kept. A row; `id` is that hash."""

    id: str
    node_id: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    key_hash: str = ""  # SHA-256 of the public key that used it: the same key may ask again
    version: int = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """A share of an edge node given to one attempt. A row; `id` is the attempt's launch token."""

    id: str
    node_id: str
    lease_id: str
    created_at: datetime
    request: str = ""  # hash of what was asked for: a token never stands for two requests
    released: bool = False
    released_at: datetime | None = None
    version: int = 0


class OrderState(StrEnum):
    PENDING = "pending"  # the agent has not taken it yet
    RUNNING = "running"
    READY = "ready"  # a service that now serves; `data` says where
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # its node went away


ENDED = frozenset({OrderState.SUCCEEDED, OrderState.FAILED, OrderState.CANCELLED, OrderState.LOST})


@dataclass(frozen=True, slots=True)
class Order:
    """Work for one agent, idempotent by id. A row. `spec` is plain JSON; its shape goes with `kind`."""

    id: str
    run_id: str
    lease_id: str
    attempt_id: str
    node_id: str
    kind: str  # "process" | "superlink" | "supernode"
    spec: dict[str, Any]
    created_at: datetime
    state: OrderState = OrderState.PENDING
    wanted: bool = True  # False: the agent stops it
    exit_code: int | None = None
    detail: str = ""
    data: dict[str, Any] = field(default_factory=dict)  # what the runner reports, plain JSON
    finished_at: datetime | None = None
    version: int = 0


class RunState(StrEnum):
    PENDING = "pending"  # leases are being made true
    RUNNING = "running"
    CLOSING = "closing"  # the outcome is known, the leases are being closed
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUN_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Run:
    """What a user started: a task or a federation, carried by one or more leases. A row."""

    id: str
    name: str
    kind: str  # "task" | "fed"
    spec: dict[str, Any]  # plain JSON: what the orders are made from
    created_at: datetime
    state: RunState = RunState.PENDING
    outcome: RunState | None = None  # what CLOSING ends in
    wanted: bool = True  # False: the user asked for it to end
    keep: bool = False  # leases stay open after the work has ended
    reason: str = ""
    plan: dict[str, Any] = field(default_factory=dict)  # the Plan it was admitted with, as JSON
    result: dict[str, Any] = field(default_factory=dict)
    closing_at: datetime | None = None  # when the outcome became known
    ended_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """What one rule has given out to runs in one period: money, machines, a rate. A row.

    `id` names rule, project and period. `held` maps a run's id to what is reserved for it;
    `settled` is what ended runs really took. Never more is held and settled than `limit`.
    """

    id: str
    rule: str
    project: str
    period: str  # "2026-11", or "" where the rule bounds what is open at once
    unit: str  # "usd" | "machines" | "usd_per_hour"
    limit: Decimal
    held: dict[str, Decimal] = field(default_factory=dict)
    settled: Decimal = Decimal(0)
    version: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a run stands where it stands: the decisions it was admitted by. A row.

    `id` is the run's id and a role: `run_...:task`.
    """

    id: str
    run_id: str
    role: str
    created_at: datetime
    decisions: tuple[Decision, ...] = ()  # of every candidate, best first, with findings
    refusals: tuple[Refusal, ...] = ()
    policies: tuple[str, ...] = ()
    catalog_as_of: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. A row that is only ever added."""

    id: str  # sortable by time
    at: datetime
    subject: str  # id of the run, lease, node or order
    run_id: str  # "" when it belongs to none
    kind: str  # e.g. "lease.running", "lease.preempted", "order.failed", "fed.round"
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    version: int = 0


Row = Lease | Node | JoinToken | Allocation | Order | Run | Account | Explanation | Event
