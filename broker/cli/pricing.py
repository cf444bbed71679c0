"""Who is asked for prices: the configured clouds, or those that the command line names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.catalog import snapshot
from broker.catalog.catalog import SNAPSHOT, Catalog
from broker.catalog.labels import provider_of
from broker.catalog.refresh import Job
from broker.cli.context import Context, utc_now
from broker.errors import BrokerError, UsageError
from broker.model import Offer
from providers.price_registry import Shape, build, kinds

if TYPE_CHECKING:
    from broker.documents.config import Cloud
    from broker.ports import PriceSource

SHAPELESS = frozenset({"azure", "gcp"})  # price lists that do not say what a machine is made of


@dataclass
class Broken:
    """A source that could not be made: it says why when it is asked, and the others go on."""

    name: str
    error: BrokerError

    def offers(self) -> Iterator[Offer]:
        raise self.error


def jobs(context: Context, wanted: Sequence[str]) -> list[Job]:
    """One for each provider. UsageError: nobody to ask, or two clouds with one provider's prices."""
    names = list(dict.fromkeys(wanted)) or _configured(context)
    if not names:
        raise UsageError(
            "no cloud is configured whose prices could be asked for",
            code="CAT010",
            hint="`broker catalog refresh --cloud azure` needs no account;"
            " `broker cloud enable aws` configures one",
        )
    by_provider: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_provider[provider_of(name)].append(name)
    if twice := [found for found in by_provider.values() if len(found) > 1]:
        words = f"{' and '.join(twice[0])} share one provider's prices: name one of them"
        raise UsageError(words, code="CAT010")
    return [_job(context, name) for name in names]


def _configured(context: Context) -> list[str]:
    """One cloud for each provider: `aws` before `aws@lab`. `local` has no price list."""
    found: dict[str, str] = {}
    for name in sorted(context.config.clouds):
        if provider_of(name) in kinds():
            found.setdefault(provider_of(name), name)
    return list(found.values())


def _job(context: Context, name: str) -> Job:
    cloud = context.config.clouds.get(name)
    if cloud is None and name not in kinds():
        raise UsageError(
            f"nobody can be asked for the prices of `{name}`",
            code="CAT010",
            hint=f"known: {', '.join(sorted({*context.config.clouds, *kinds()}))}",
        )
    kind = provider_of(name)
    regions = frozenset(cloud.regions if cloud else ())
    return Job(kind, _source(context, kind, _settings(name, cloud)), regions)


def _source(context: Context, kind: str, settings: dict[str, Any]) -> PriceSource:
    if kind in SHAPELESS:
        settings["shapes"] = shapes(context.catalog, kind)
    try:
        return build(kind, settings)
    except UsageError as exc:
        return Broken(settings["name"], exc)


def _settings(name: str, cloud: Cloud | None) -> dict[str, Any]:
    """Only what the entry says."""
    entry: dict[str, Any] = {"name": name, "now": utc_now()}
    if cloud is None:
        return entry
    optional = {
        "regions": cloud.regions,
        "endpoint": cloud.endpoint,
        "ca_bundle": cloud.ca_bundle,
        "profile": cloud.profile,
        "credentials_file": cloud.credentials_file,
    }
    return entry | {key: value for key, value in optional.items() if value}


def shapes(catalog: Catalog, provider: str) -> tuple[Shape, ...]:
    """Every machine of a provider that the bundled catalog or the one on disk knows."""
    rows = catalog.rows(provider)
    origin = {one.provider: one.origin for one in catalog.status().providers}
    if origin.get(provider) != SNAPSHOT:
        rows = [*snapshot.load().get(provider, ()), *rows]
    zones: dict[tuple[Any, ...], dict[str, set[str]]] = {}
    for row in rows:
        key = (
            row.instance_type,
            row.vcpus,
            row.memory_gib,
            row.accelerator,
            row.accelerator_count,
        )
        here = zones.setdefault(key, {}).setdefault(row.region, set())
        if row.zone:
            here.add(row.zone)
    known = {(name, kind) for name, vcpus, _, kind, _ in zones if vcpus}
    return tuple(
        Shape(name, vcpus, memory, kind, count, _sorted(places))
        for (name, vcpus, memory, kind, count), places in zones.items()
        if vcpus or (name, kind) not in known
    )


def _sorted(places: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {region: tuple(sorted(names)) for region, names in places.items()}
