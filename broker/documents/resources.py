"""What a machine must have, in SkyPilot's field names, as alternatives for the placer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from broker.diagnostics import Diagnostic
from broker.documents import patterns, units
from broker.documents.fields import Amount, Flag, Infra, Place, Shape, Usd, problem
from broker.documents.tree import Document
from broker.documents.units import UnitError
from broker.model import Location, Market, Resources

Accelerator = tuple[str, float]
KNOWN: Final = "accelerators"  # in the context of a check: the names that catalogs know
IMPOSSIBLE: Final = "010"
FIELDS: Final = (
    "accelerators",
    "cpus",
    "memory",
    "use_spot",
    "infra",
    "instance_type",
    "max_hourly_cost",
)
MAX_ALTERNATIVES: Final = 256
UNSUPPORTED: Final = {
    "accelerator_args": "",
    "autostop": "a task's machine is closed when its work has ended; `keep: true` leaves it open",
    "cloud": "write `infra: aws`",
    "disk_size": "every machine has the disk of its image",
    "disk_tier": "",
    "image_id": "the image of a cloud stands in the configuration file",
    "job_recovery": "a lost machine is always replaced",
    "labels": "",
    "local_disk": "",
    "network_tier": "",
    "ordered": "use `any_of`; the cheapest offer that the policy allows is taken",
    "ports": "",
    "priority": "",
    "priority_class": "",
    "region": "write `infra: aws/eu-north-1`",
    "volumes": "",
    "zone": "write `infra: aws/eu-north-1/eu-north-1a`",
}


def _accelerators(value: Any, info: ValidationInfo) -> tuple[Accelerator, ...]:
    """Canonical names where the catalogs' are given: an unknown one can never be offered."""
    known: Collection[str] = (info.context or {}).get(KNOWN, ())
    try:
        named = units.accelerators(value)
        return tuple((_canonical(name, known, value), count) for name, count in named)
    except UnitError as exc:
        raise problem(exc) from exc


def _canonical(name: str, known: Collection[str], value: Any) -> str:
    if not known:
        return name
    by_lower = {one.lower(): one for one in known}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    near = get_close_matches(name.lower(), sorted(by_lower), n=1)
    tip = f"did you mean `{by_lower[near[0]]}`?" if near else "`broker offers` shows what there is"
    words = f"asks for an impossible accelerator: no catalog knows `{name}`"
    raise UnitError(words, tip=tip, code=IMPOSSIBLE, at=_where(name, value))


def _where(name: str, value: Any) -> tuple[str | int, ...]:
    """The list entry that names the accelerator."""
    entries = value if isinstance(value, list) else []
    own = (at for at, entry in enumerate(entries) if name in dict(units.accelerators(entry)))
    return tuple(islice(own, 1))


Accelerators = Annotated[
    tuple[Accelerator, ...], PlainValidator(_accelerators), WithJsonSchema(patterns.ACCELERATORS)
]


class AlternativeShape(Shape):
    accelerators: Accelerators = Field(
        default=(), description="Accelerator and count for each node; several are alternatives."
    )
    cpus: Amount | None = Field(
        default=None, description="vCPUs of each node: `4` exactly, `4+` or more."
    )
    memory: Amount | None = Field(
        default=None, description="GiB of each node: `16` exactly, `16+` or more."
    )
    use_spot: Flag | None = Field(
        default=None, description="true: spot only; false: on-demand only; left out: either."
    )
    infra: Infra | None = Field(
        default=None, description="Where: cloud/region/zone, `edge/NODE`, or `*`."
    )
    instance_type: Place | None = Field(
        default=None, description="The provider's name of the machine."
    )
    max_hourly_cost: Usd | None = Field(
        default=None, description="USD per hour that one node may cost."
    )


class ResourcesShape(AlternativeShape):
    any_of: list[AlternativeShape] = Field(
        default=[], description="Alternatives; each is laid over the fields beside `any_of`."
    )


def alternatives(
    shape: ResourcesShape, document: Document, path: Sequence[str]
) -> tuple[Resources, ...]:
    """Every alternative with the places of its fields; an empty one when nothing is asked."""
    common = _locations(shape, document, path)
    if not shape.any_of:
        return tuple(_expand({}, shape, common))
    found: list[Resources] = []
    for index, option in enumerate(shape.any_of):
        own = _locations(option, document, [*path, "any_of", index])
        found += _expand(_given(shape), option, {**common, **own})
    return tuple(found)


def too_many(
    found: Sequence[Resources], document: Document, path: Sequence[str], area: str
) -> list[Diagnostic]:
    """A problem when the alternatives multiply beyond what a plan should compare."""
    if len(found) <= MAX_ALTERNATIVES:
        return []
    words = (
        f"`{'.'.join(path)}` has {len(found)} alternatives, at most {MAX_ALTERNATIVES} are taken"
    )
    return [document.problem(f"{area}005", words, document.place(path))]


def _given(shape: AlternativeShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in shape.model_fields_set & set(FIELDS)}


def _expand(
    common: Mapping[str, Any], option: AlternativeShape, locations: dict[str, Location]
) -> Iterator[Resources]:
    fields = {**common, **_given(option)}
    base = _resources(fields, locations)
    named: tuple[Accelerator, ...] = fields.get("accelerators", ())
    if not named:
        yield base
    for name, count in named:
        yield replace(base, accelerator=name, accelerator_count=count)


def _resources(fields: Mapping[str, Any], locations: dict[str, Location]) -> Resources:
    cloud, region, zone = fields.get("infra", (None, None, None))
    markets = {True: Market.SPOT, False: Market.ON_DEMAND}
    return Resources(
        cpus=fields.get("cpus"),
        memory_gib=fields.get("memory"),
        market=markets.get(fields.get("use_spot")),  # type: ignore[arg-type]
        cloud=cloud,
        region=region,
        zone=zone,
        instance_type=fields.get("instance_type"),
        max_usd_per_hour=fields.get("max_hourly_cost"),
        locations=locations,
    )


def _locations(
    shape: AlternativeShape, document: Document, path: Sequence[str | int]
) -> dict[str, Location]:
    return {name: document.place([*path, name]) for name in _given(shape)}
