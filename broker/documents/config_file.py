"""The configuration file: clouds, the agents' gateway, policies. Missing means defaults."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from broker.diagnostics import Diagnostic, suggest
from broker.documents.check import check
from broker.documents.fields import (
    CLOUD,
    Country,
    Place,
    PlacesOrNone,
    Port,
    Seconds,
    Shape,
    Text,
    TextsOrNone,
    problem,
)
from broker.documents.loader import read
from broker.documents.tree import Document
from broker.documents.units import UnitError
from broker.errors import DocumentError
from broker.model import Location

AREA: Final = "CFG"
CATALOGS: Final = frozenset({"aws", "azure", "gcp", "local"})
LOCAL_HOST: Final = "127.0.0.1"
TICK_S: Final = 0.5
EMPTY: Final = "DOC015"
KNOWN: Final = "catalogs"  # in the context of a check: the names a cloud may start with


@dataclass(frozen=True, slots=True)
class Cloud:
    """One entry of `clouds`. Paths are absolute; what is not set is None or empty."""

    name: str
    provider: str
    regions: tuple[str, ...] = ()
    endpoint: str | None = None
    ca_bundle: Path | None = None
    profile: str | None = None
    credentials_file: Path | None = None
    image: str | None = None
    country: str | None = None
    location: Location | None = None

    @property
    def catalog(self) -> str:
        """Whose offers it uses: `aws` for both `aws` and `aws@sandbox`."""
        return self.name.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where agents reach the broker. Port 0 is any free one; `public_host` is what agents dial."""

    host: str = LOCAL_HOST
    port: int = 0
    public_host: str | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    tick_s: float = TICK_S


@dataclass(frozen=True, slots=True)
class Config:
    """`policies` are the patterns as written, `policy_files` the files that they name, sorted."""

    clouds: dict[str, Cloud] = field(default_factory=dict)
    gateway: Gateway = Gateway()
    engine: Engine = Engine()
    policies: tuple[str, ...] = ()
    policy_files: tuple[Path, ...] = ()
    path: Path | None = None


def cloud_name(value: str, catalogs: Collection[str]) -> str:
    """`aws`, or `aws@lab` for a second cloud that uses the same catalog."""
    base = value.partition("@")[0]
    if not CLOUD.fullmatch(value):
        tip = "write `aws`, or `aws@lab` for a second one"
        raise UnitError("is no name for a cloud", tip=tip)
    if base not in catalogs:
        words = f"starts with no known catalog: `{base}`"
        raise UnitError(words, tip=suggest(base, catalogs), code="020")
    return value


def _cloud_key(value: str, info: ValidationInfo) -> str:
    try:
        return cloud_name(value, (info.context or {}).get(KNOWN, CATALOGS))
    except UnitError as exc:
        raise problem(exc) from exc


CloudKey = Annotated[str, PlainValidator(_cloud_key), WithJsonSchema({"type": "string"})]


class CloudShape(Shape):
    provider: Place = Field(description="Which code talks to it: aws, local, ...")
    regions: PlacesOrNone | None = Field(
        default=None, description="Regions that may be used; default: all."
    )
    endpoint: Text | None = Field(default=None, description="Another URL of the cloud's API.")
    ca_bundle: Text | None = Field(
        default=None, description="PEM file of the CAs that the URL's host uses."
    )
    profile: Text | None = Field(
        default=None, description="Named profile of the cloud's credentials."
    )
    credentials_file: Text | None = Field(
        default=None, description="File with the cloud's credentials."
    )
    image: Text | None = Field(
        default=None, description="Machine image, instead of the provider's default."
    )
    country: Country | None = Field(default=None, description="For `local`: where this machine is.")


class GatewayShape(Shape):
    host: Text = Field(default=LOCAL_HOST, description="Address to listen on.")
    port: Port = Field(default=0, description="Port of the agents' listener; 0 is any free one.")
    public_host: Text | None = Field(default=None, description="Name or address that agents dial.")


class EngineShape(Shape):
    tick_s: Seconds = Field(default=TICK_S, description="Seconds between two passes of the engine.")


class ConfigShape(Shape):
    clouds: dict[CloudKey, CloudShape] = Field(
        default={}, description="Clouds by name: aws, aws@sandbox, ..."
    )
    gateway: GatewayShape = Field(
        default_factory=GatewayShape, description="Where agents reach the broker."
    )
    policies: TextsOrNone | None = Field(
        default=None, description="Policy files or patterns, relative to this file."
    )
    engine: EngineShape = Field(
        default_factory=EngineShape, description="The engine that keeps leases true."
    )


def load_config(
    path: str | os.PathLike[str] | None, catalogs: Collection[str] = CATALOGS
) -> Config:
    """The configuration. DocumentError: everything that is wrong with it, with places.

    A file that does not exist, or holds nothing, means the defaults. A policy pattern that
    matches no file is an error, because rules that were meant to hold would be missing.
    """
    if path is None or not Path(path).exists():
        return Config(path=Path(path) if path is not None else None)
    document = read_or_none(Path(path))
    if document is None:
        return Config(path=Path(path))
    shape = check(document, ConfigShape, AREA, context={KNOWN: catalogs}, nulls=True)
    if problems := _lost_patterns(shape, document):
        raise DocumentError(problems)
    return _config(shape, document)


def read_or_none(path: Path) -> Document | None:
    """The file; None when nothing but comments stands in it."""
    try:
        return read(path)
    except DocumentError as exc:
        if exc.code == EMPTY:
            return None
        raise


def _config(shape: ConfigShape, document: Document) -> Config:
    folder = document.path.parent
    patterns = shape.policies or ()
    return Config(
        clouds={name: _cloud(name, one, document) for name, one in shape.clouds.items()},
        gateway=Gateway(shape.gateway.host, shape.gateway.port, shape.gateway.public_host),
        engine=Engine(shape.engine.tick_s),
        policies=patterns,
        policy_files=tuple(sorted({file for one in patterns for file in _matches(folder, one)})),
        path=document.path,
    )


def _cloud(name: str, shape: CloudShape, document: Document) -> Cloud:
    folder = document.path.parent.absolute()
    return Cloud(
        name=name,
        provider=shape.provider,
        regions=shape.regions or (),
        endpoint=shape.endpoint,
        ca_bundle=_file(folder, shape.ca_bundle),
        profile=shape.profile,
        credentials_file=_file(folder, shape.credentials_file),
        image=shape.image,
        country=shape.country,
        location=document.key(["clouds", name]),
    )


def _file(folder: Path, name: str | None) -> Path | None:
    return folder / Path(name).expanduser() if name else None


def _matches(folder: Path, pattern: str) -> list[Path]:
    spelled = Path(pattern).expanduser()
    found = glob(str(spelled), root_dir=folder, recursive=True)  # noqa: PTH207  absolute ones too
    return [file for name in found if (file := folder / name).is_file()]


def _lost_patterns(shape: ConfigShape, document: Document) -> list[Diagnostic]:
    problems = []
    for index, pattern in enumerate(shape.policies or ()):
        if not _matches(document.path.parent, pattern):
            kind = "pattern" if has_magic(pattern) else "file"
            words = f"policy {kind} `{pattern}` matches no file beside this one"
            where = document.place(["policies", index])
            problems.append(document.problem("CFG021", words, where))
    return problems
