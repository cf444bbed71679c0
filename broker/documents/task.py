"""Task files: SkyPilot's field names, and what a broker needs beyond them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from broker.documents.check import Hints, check
from broker.documents.fields import (
    Count,
    Flag,
    Hours,
    Label,
    LabelsOrNone,
    Name,
    Scalar,
    Shape,
    Text,
    Usd,
    slug,
    word,
)
from broker.documents.loader import read
from broker.documents.resources import KNOWN, UNSUPPORTED, ResourcesShape, alternatives, too_many
from broker.documents.storage import BucketsOrNone, PlaceShape, buckets, checkpoint
from broker.documents.tree import Document
from broker.documents.units import UnitError
from broker.errors import DocumentError
from broker.model import DEFAULT_PROJECT, Data, Demand, Location, Task

AREA: Final = "TSK"
PLACES: Final = (
    "name",
    "resources",
    "num_nodes",
    "setup",
    "run",
    "envs",
    "workdir",
    "data",
    "data.class",
    "data.datasets",
    "data.purpose",
    "data.bucket",
    "project",
    "checkpoint",
    "budget",
    "duration",
    "deadline",
    "start_within",
    "keep",
)
ELSEWHERE: Final = {
    **UNSUPPORTED,
    "config": "",
    "event_callback": "",
    "experimental": "",
    "file_mounts": "bring files in `setup`",
    "file_mounts_mapping": "",
    "inputs": "",
    "outputs": "",
    "pool": "",
    "resources_overrides": "",
    "secrets": "",
    "service": "",
    "storage": "name buckets in `data.bucket`, or what a node holds in `data.datasets`",
}
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def env_name(value: str) -> str:
    """A name that every shell can read."""
    if not ENV_NAME.fullmatch(value):
        raise UnitError("wants a name of letters, digits and _ that starts with no digit")
    return value


EnvName = Annotated[str, *word(env_name, f"^{ENV_NAME.pattern}$")]


class DataShape(Shape):
    data_class: Label | None = Field(
        default=None,
        alias="class",
        description="How careful policy must be with the data, e.g. phi.",
    )
    datasets: LabelsOrNone = Field(default=(), description="Names of the data sets that are read.")
    purpose: Label | None = Field(
        default=None, description="What the data is used for, e.g. research."
    )


class TaskDataShape(DataShape):
    bucket: BucketsOrNone = Field(
        default=(), description="Buckets that the task reads or writes; several may be named."
    )


class TaskShape(Shape):
    name: Name | None = Field(
        default=None, description="Name of the task; default: the file's name."
    )
    project: Name | None = Field(
        default=None, description="Whose work it is: budgets and rules count by project."
    )
    resources: ResourcesShape = Field(
        default_factory=ResourcesShape, description="What each node must have."
    )
    num_nodes: Count = Field(default=1, description="How many machines.")
    setup: Text | None = Field(
        default=None, description="Shell script that prepares a node, run once."
    )
    run: Text | None = Field(
        default=None, description="Shell script that is the work, run on every node."
    )
    envs: dict[EnvName, Scalar] = Field(
        default={}, description="Environment variables, with the values as they are written."
    )
    workdir: Text | None = Field(
        default=None, description="A folder that is copied to the nodes, relative to this file."
    )
    data: TaskDataShape = Field(
        default_factory=TaskDataShape, description="The data that the task reads."
    )
    checkpoint: PlaceShape | None = Field(
        default=None, description="Where the task keeps its state, to go on after a preemption."
    )
    budget: Usd | None = Field(default=None, description="USD that the whole run may cost.")
    duration: Hours | None = Field(
        default=None, description="How long the run is expected to take."
    )
    deadline: Hours | None = Field(
        default=None, description="How long after its start it must be done."
    )
    start_within: Hours | None = Field(
        default=None, description="How long its start may wait for cleaner power."
    )
    keep: Flag = Field(
        default=False, description="Leave the machines open when the work has ended."
    )


def load_task(path: str | os.PathLike[str], accelerators: Collection[str] = frozenset()) -> Task:
    """The task in a file. DocumentError: everything that is wrong with it, with places.

    `accelerators` are the names that catalogs know: others are refused, and the letters' case is
    put right. Without it no name is compared.
    """
    document = read(path)
    context = {KNOWN: accelerators}
    shape = check(document, TaskShape, AREA, context=context, hints=Hints(ELSEWHERE))
    demand = _demand(shape, document)
    if problems := too_many(demand.alternatives, document, ["resources"], AREA):
        raise DocumentError(problems)
    return Task(
        demand=demand,
        run=shape.run or "",
        setup=shape.setup,
        envs={key: document.text(["envs", key]) for key in shape.envs},
        workdir=str(document.path.parent / shape.workdir) if shape.workdir else None,
        keep=shape.keep,
    )


def data_of(shape: DataShape) -> Data:
    return Data(shape.data_class, shape.datasets, shape.purpose)


def default_name(path: Path) -> str:
    """A name from the file's."""
    return slug(path.stem)


def _demand(shape: TaskShape, document: Document) -> Demand:
    return Demand(
        name=shape.name or default_name(document.path),
        alternatives=alternatives(shape.resources, document, ["resources"]),
        nodes=shape.num_nodes,
        data=data_of(shape.data),
        duration_h=shape.duration,
        deadline_h=shape.deadline,
        budget_usd=shape.budget,
        location=_location(document),
        locations=document.places(PLACES),
        project=shape.project or DEFAULT_PROJECT,
        storage=(*buckets(shape.data.bucket, document), *checkpoint(shape.checkpoint, document)),
        start_within_h=shape.start_within,
    )


def _location(document: Document) -> Location:
    """Where messages about the whole demand point: what it asks for, else its first line."""
    return document.key(["resources"]) if document.has(["resources"]) else document.root.location
