"""The configuration file: clouds, the agents' gateway, policies. Missing means defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from glob import glob, has_magic
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from broker.diagnostics import Diagnostic, suggest
from broker.documents.check import check, in_order
from broker.documents.fields import (
    CLOUD,
    Country,
    Days,
    Name,
    Place,
    PlacesOrNone,
    Port,
    Seconds,
    Shape,
    Text,
    TextsOrNone,
    problem,
    text,
    word,
)
from broker.documents.loader import read
from broker.documents.reservations import ReservationShape, repeated, reservations
from broker.documents.settings import (
    LOCAL_HOST,
    MAX_PRICE_AGE_D,
    TICK_S,
    Cloud,
    Config,
    Engine,
    Gateway,
)
from broker.documents.tree import Document
from broker.documents.units import UnitError
from broker.errors import DocumentError
from broker.model import DEFAULT_PROJECT

AREA: Final = "CFG"
CATALOGS: Final = frozenset({"aws", "azure", "gcp", "local"})
LEDGER: Final = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://[^\s]+")
EMPTY: Final = "DOC015"
KNOWN: Final = "catalogs"  # in the context of a check: the names a cloud may start with


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


_KEY_SCHEMA: Final = rf"^(?:{'|'.join(sorted(CATALOGS))})(?:@[a-z0-9][a-z0-9-]{{0,40}})?$"
CloudKey = Annotated[
    str,
    PlainValidator(_cloud_key),
    WithJsonSchema({"type": "string", "pattern": _KEY_SCHEMA}),
]


def ledger(value: Any) -> str:
    """What stands there is never repeated: it may hold a password."""
    given = text(value)
    if not LEDGER.fullmatch(given):
        tip = "write `postgresql://user@host/database`; left out, it is a file of this home"
        raise UnitError("wants the URL of a PostgreSQL database", tip=tip)
    return given


Ledger = Annotated[str, *word(ledger, f"^{LEDGER.pattern}$", "postgresql://broker@db/broker")]


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
    reservations: list[ReservationShape] | None = Field(
        default=None, description="Capacity that is already paid for, by the cloud's ids."
    )


class GatewayShape(Shape):
    host: Text = Field(default=LOCAL_HOST, description="Address to listen on.")
    port: Port = Field(default=0, description="Port of the agents' listener; 0 is any free one.")
    public_host: Text | None = Field(default=None, description="Name or address that agents dial.")


class EngineShape(Shape):
    tick_s: Seconds = Field(default=TICK_S, description="Seconds between two passes of the engine.")


class CatalogShape(Shape):
    max_age: Days = Field(
        default=MAX_PRICE_AGE_D, description="Prices that are older are marked as stale: `30d`."
    )


class ConfigShape(Shape):
    project: Name | None = Field(
        default=None, description="The project of demands that name none; default: default."
    )
    country: Country | None = Field(
        default=None, description="Where this broker keeps its logs, as rules of residency see it."
    )
    ledger: Ledger | None = Field(
        default=None, description="URL of a PostgreSQL database that several brokers share."
    )
    catalog: CatalogShape = Field(
        default_factory=CatalogShape, description="Offers and prices that are known."
    )
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
    problems = [*_lost_patterns(shape, document), *_repeated_reservations(shape, document)]
    if problems:
        raise DocumentError(in_order(problems))
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
        project=shape.project or DEFAULT_PROJECT,
        country=shape.country,
        ledger=shape.ledger,
        max_price_age_d=shape.catalog.max_age,
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
        reservations=reservations(shape.reservations or (), document, name),
    )


def _file(folder: Path, name: str | None) -> Path | None:
    return folder / Path(name).expanduser() if name else None


def _matches(folder: Path, pattern: str) -> list[Path]:
    spelled = Path(pattern).expanduser()
    found = glob(str(spelled), root_dir=folder, recursive=True)  # noqa: PTH207  absolute ones too
    return [file for name in found if (file := folder / name).is_file()]


def _repeated_reservations(shape: ConfigShape, document: Document) -> list[Diagnostic]:
    found = []
    for name, one in shape.clouds.items():
        found += repeated(one.reservations or (), document, name)
    return found


def _lost_patterns(shape: ConfigShape, document: Document) -> list[Diagnostic]:
    problems = []
    for index, pattern in enumerate(shape.policies or ()):
        if not _matches(document.path.parent, pattern):
            kind = "pattern" if has_magic(pattern) else "file"
            words = f"policy {kind} `{pattern}` matches no file beside this one"
            where = document.place(["policies", index])
            problems.append(document.problem("CFG021", words, where))
    return problems
