"""The words of the product, as frozen values. Pure: no clock, no random, no I/O.

Units stand in names; money is `Decimal`; instants are aware `datetime` in UTC. A *row* is a value
that the ledger keeps: it has an `id` and a `version` (0 = not stored yet; see `ports.Store`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

# ---------------------------------------------------------------------------- where things stand


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a user's file. `line` and `col` count from 1; `span` is the length to underline."""

    file: str
    line: int = 1
    col: int = 1
    span: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


# --------------------------------------------------------------------------------------- the pool


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"
    OWNED = "owned"  # local and edge machines: capacity that somebody already pays for


@dataclass(frozen=True, slots=True)
class Price:
    """What an offer costs, how old that knowledge is and who said so."""

    usd_per_hour: Decimal
    as_of: str  # ISO 8601 date
    source: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Site:
    """Facts about a region, all of them optional: what is not known is None or empty, never a guess."""

    country: str | None = None  # ISO 3166-1 alpha-2
    blocs: frozenset[str] = frozenset()  # EU, EEA, ...
    carbon_g_per_kwh: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be leased: a shape in a place on a market. Sold-out offers stay, unavailable."""

    cloud: str  # the configured name: "aws", "aws@sandbox", "local", "edge"
    region: str
    zone: str | None
    instance_type: str
    market: Market
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None = None
    accelerator_count: float = 0
    price: Price | None = None  # None = unknown, never 0 and never a sentinel
    site: Site = Site()
    available: bool = True
    node_id: str | None = None  # set for an enrolled edge node
    datasets: tuple[str, ...] = ()  # names of the data sets that this machine already holds

    @property
    def key(self) -> str:
        """Names the offer in messages and memories: `cloud/zone-or-region/instance_type/market`."""
        place = self.node_id or self.zone or self.region
        shape = self.instance_type or f"{self.accelerator}:{self.accelerator_count:g}"
        return f"{self.cloud}/{place}/{shape}/{self.market}"


# ------------------------------------------------------------------------------------- the request


@dataclass(frozen=True, slots=True)
class AtLeast:
    """`4` means exactly four, `4+` four or more, as in SkyPilot."""

    amount: float
    or_more: bool = False

    def admits(self, value: float | None) -> bool:
        if value is None:
            return False
        return value >= self.amount if self.or_more else value == self.amount


@dataclass(frozen=True, slots=True)
class Resources:
    """One alternative of what each node of a task needs. `locations` maps a field to its file place."""

    accelerator: str | None = None  # canonical catalog name, e.g. "A100-80GB"
    accelerator_count: float = 0
    cpus: AtLeast | None = None
    memory_gib: AtLeast | None = None
    market: Market | None = None  # None = spot and on-demand both
    cloud: str | None = None
    region: str | None = None
    zone: str | None = None
    instance_type: str | None = None
    max_usd_per_hour: Decimal | None = None
    locations: dict[str, Location] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """What the task reads. `data_class` names how careful policy must be with it, e.g. "phi"."""

    data_class: str | None = None
    datasets: tuple[str, ...] = ()
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What policy and placer look at: any one of `alternatives`, on `nodes` machines."""

    name: str
    alternatives: tuple[Resources, ...]
    nodes: int = 1
    data: Data = Data()
    role: str = "task"  # "task" | "aggregator" | "site"
    duration_h: Decimal | None = None
    deadline_h: Decimal | None = None
    budget_usd: Decimal | None = None
    location: Location | None = None
    locations: dict[str, Location] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    demand: Demand
    run: str
    setup: str | None = None
    envs: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    keep: bool = False


# -------------------------------------------------------------------------------------- decisions


class Kind(StrEnum):
    """What a reason is about."""

    REQUEST = "request"
    POLICY = "policy"
    QUOTA = "quota"
    CAPACITY = "capacity"
    CREDENTIAL = "credential"
    BUDGET = "budget"
    PRICE = "price"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer was refused: the rule, what it saw, what it wanted, who says so."""

    kind: Kind
    rule: str  # rule id, or the request's field ("accelerators"), or "capacity"
    saw: str
    wanted: str
    location: Location | None = None
    source: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict over one offer. Allowed exactly when there is no reason against it."""

    offer: Offer
    reasons: tuple[Reason, ...] = ()
    preference: int = 0  # how many `prefer` rules it satisfies

    @property
    def allowed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many offers one rule refused first, with the cheapest of them as the example."""

    reason: Reason
    count: int
    cheapest: Offer | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """The offer chosen for a demand, with what it will cost."""

    demand: str
    nodes: int
    offer: Offer
    fallbacks: tuple[Offer, ...] = ()  # in the order in which they would be tried
    usd_per_hour: Decimal | None = None  # all nodes together
    usd_expected: Decimal | None = None  # None when no duration is given


@dataclass(frozen=True, slots=True)
class Plan:
    placements: tuple[Placement, ...]
    refusals: tuple[Refusal, ...]  # most frequent first
    considered: int
    allowed: int
    policies: tuple[str, ...] = ()  # files that were judged by
    catalog_as_of: str | None = None
    warnings: tuple[str, ...] = ()


# ------------------------------------------------------------------------------ leases and machines


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


# ------------------------------------------------------------------------------------ fleet and work


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


Row = Lease | Node | JoinToken | Allocation | Order | Run | Event
