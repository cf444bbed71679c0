"""What is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from broker.model.offers import Location, Market, Site


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


class Artefact(StrEnum):
    """What a run leaves at rest or in motion, each bound by residency."""

    MACHINE = "machine"
    AGGREGATOR = "aggregator"
    BUCKET = "bucket"
    CHECKPOINT = "checkpoint"
    LOG = "log"


NOWHERE = Site()


@dataclass(frozen=True, slots=True)
class Storage:
    """A place outside the machines where data of the run comes to rest.

    `place` is as written: `gcp/europe-west3`, or a country code. `site` has its facts, empty when
    the place is not known.
    """

    kind: Artefact  # BUCKET, CHECKPOINT or LOG
    place: str
    uri: str = ""
    site: Site = NOWHERE
    location: Location | None = None


DEFAULT_PROJECT = "default"


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
    project: str = DEFAULT_PROJECT
    storage: tuple[Storage, ...] = ()
    start_within_h: Decimal | None = None  # how long its start may wait for cleaner power

    @property
    def has_checkpoint(self) -> bool:
        return any(one.kind is Artefact.CHECKPOINT for one in self.storage)


@dataclass(frozen=True, slots=True)
class Task:
    demand: Demand
    run: str
    setup: str | None = None
    envs: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    keep: bool = False
