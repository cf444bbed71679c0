"""Federation files: which app trains on which sites, and where its aggregator may stand."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from broker.diagnostics import Diagnostic
from broker.documents.check import Hints, check, in_order
from broker.documents.fields import (
    Count,
    Countries,
    Hours,
    Labels,
    Name,
    Scalar,
    Shape,
    Text,
    Usd,
    word,
)
from broker.documents.loader import read
from broker.documents.resources import KNOWN, UNSUPPORTED, ResourcesShape, alternatives, too_many
from broker.documents.storage import PlaceShape, checkpoint
from broker.documents.task import DataShape, data_of, default_name
from broker.documents.tree import Document
from broker.documents.units import UnitError
from broker.errors import DocumentError
from broker.model import DEFAULT_PROJECT, Data, Demand, Location, Resources, Storage

AREA: Final = "FED"
PLACES: Final = (
    "name",
    "app",
    "rounds",
    "data",
    "data.class",
    "data.datasets",
    "data.purpose",
    "project",
    "checkpoint",
    "sites",
    "sites.min",
    "sites.wanted",
    "sites.where",
    "sites.where.country",
    "aggregator",
    "aggregator.resources",
    "run_config",
    "duration",
    "budget",
)
RESOURCES: Final = ("aggregator", "resources")
SETTING: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")


@dataclass(frozen=True, slots=True)
class Sites:
    """How many sites take part, and in which countries they may be; an empty set is any country."""

    minimum: int
    wanted: int | None = None  # None = every site that the policy allows
    countries: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Federation:
    """A federation as its file says. `app` is an existing folder; `run_config` goes to the app."""

    name: str
    app: Path
    rounds: int
    sites: Sites
    data: Data
    aggregator: tuple[Resources, ...]
    run_config: dict[str, bool | int | float | str] = field(default_factory=dict)
    duration_h: Decimal | None = None
    budget_usd: Decimal | None = None
    location: Location | None = None
    locations: dict[str, Location] = field(default_factory=dict)
    project: str = DEFAULT_PROJECT
    storage: tuple[Storage, ...] = ()  # its checkpoint


class WhereShape(Shape):
    country: Countries = Field(default=(), description="Countries in which a site may be.")


class SitesShape(Shape):
    minimum: Count = Field(alias="min", description="A round needs this many sites.")
    wanted: Count | None = Field(
        default=None, description="Sites to invite; default: every allowed one."
    )
    where: WhereShape = Field(default_factory=WhereShape, description="Which sites may take part.")


class DataOfSitesShape(DataShape):
    datasets: Labels = Field(description="A site takes part with the first of these that it holds.")


class AggregatorShape(Shape):
    resources: ResourcesShape = Field(
        default_factory=ResourcesShape, description="What its machine must have."
    )


def setting(value: str) -> str:
    """A key as the app's configuration has them: words joined by dots or dashes."""
    if not SETTING.fullmatch(value):
        raise UnitError("wants a key of letters, digits, dots, dashes and _")
    return value


Setting = Annotated[str, *word(setting, f"^{SETTING.pattern}$")]


class FederationShape(Shape):
    name: Name | None = Field(
        default=None, description="Name of the federation; default: the file's name."
    )
    project: Name | None = Field(
        default=None, description="Whose work it is: budgets and rules count by project."
    )
    app: Text = Field(description="Folder of the Flower app, relative to this file.")
    rounds: Count = Field(description="How many rounds are trained.")
    data: DataOfSitesShape = Field(description="The data that the sites train on.")
    sites: SitesShape = Field(description="How many sites, and which.")
    aggregator: AggregatorShape = Field(
        default_factory=AggregatorShape, description="Where updates are joined."
    )
    checkpoint: PlaceShape | None = Field(
        default=None, description="Where the aggregator keeps the model between rounds."
    )
    run_config: dict[Setting, Scalar] = Field(
        default={}, description="Values that override the app's own configuration."
    )
    duration: Hours | None = Field(
        default=None, description="How long the run is expected to take."
    )
    budget: Usd | None = Field(default=None, description="USD that the whole run may cost.")


def load_federation(
    path: str | os.PathLike[str], accelerators: Collection[str] = frozenset()
) -> Federation:
    """The federation in a file. DocumentError: everything that is wrong with it, with places."""
    document = read(path)
    context = {KNOWN: accelerators}
    shape = check(document, FederationShape, AREA, context=context, hints=Hints(UNSUPPORTED))
    made = _federation(shape, document)
    problems = [
        *_app(made, document),
        *_sites(made.sites, document),
        *too_many(made.aggregator, document, RESOURCES, AREA),
    ]
    if problems:
        raise DocumentError(in_order(problems))
    return made


def aggregator_demand(fed: Federation) -> Demand:
    """One machine for the aggregator. It sees updates of the data's class, never the data."""
    return Demand(
        name=f"{fed.name}-aggregator",
        alternatives=fed.aggregator,
        data=fed.data,
        role="aggregator",
        duration_h=fed.duration_h,
        budget_usd=fed.budget_usd,
        location=fed.locations.get("aggregator", fed.location),
        locations=fed.locations,
        project=fed.project,
        storage=fed.storage,
    )


def site_demand(fed: Federation) -> Demand:
    """What is asked of each site by itself; how many, and in which countries, says `fed.sites`."""
    where = {name: fed.locations[name] for name in ("sites.where",) if name in fed.locations}
    return Demand(
        name=f"{fed.name}-site",
        alternatives=(Resources(locations=where),),
        data=fed.data,
        role="site",
        duration_h=fed.duration_h,
        budget_usd=fed.budget_usd,
        location=fed.locations["sites"],
        locations=fed.locations,
        project=fed.project,
        storage=fed.storage,
    )


def _federation(shape: FederationShape, document: Document) -> Federation:
    return Federation(
        name=shape.name or default_name(document.path),
        app=document.path.parent / shape.app,
        rounds=shape.rounds,
        sites=Sites(shape.sites.minimum, shape.sites.wanted, frozenset(shape.sites.where.country)),
        data=data_of(shape.data),
        aggregator=alternatives(shape.aggregator.resources, document, RESOURCES),
        run_config=dict(shape.run_config),
        duration_h=shape.duration,
        budget_usd=shape.budget,
        location=document.key(["app"]),
        locations=document.places(PLACES),
        project=shape.project or DEFAULT_PROJECT,
        storage=checkpoint(shape.checkpoint, document),
    )


def _app(fed: Federation, document: Document) -> list[Diagnostic]:
    if fed.app.is_dir():
        return []
    words = f"`app`: there is no folder `{document.text(['app'])}` beside this file"
    tip = "name the folder that holds the app's pyproject.toml"
    return [document.problem("FED020", words, document.place(["app"]), tip)]


def _sites(sites: Sites, document: Document) -> list[Diagnostic]:
    if sites.wanted is None or sites.wanted >= sites.minimum:
        return []
    words = f"`sites.wanted` ({sites.wanted}) is less than `sites.min` ({sites.minimum})"
    return [document.problem("FED021", words, document.place(["sites", "wanted"]))]
