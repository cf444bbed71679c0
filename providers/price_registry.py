"""The price sources by kind, none of them imported before it is asked for.

Others join by an entry point in the group `fedbroker.prices`: a name, and a callable that takes
the settings as keywords and returns a `broker.ports.PriceSource`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from broker.errors import UsageError
from broker.ports import PriceSource

GROUP: Final = "fedbroker.prices"
KINDS: Final[Mapping[str, str]] = {
    "aws": "providers.aws_prices:connect",
    "azure": "providers.azure_prices:connect",
    "gcp": "providers.gcp_prices:connect",
}
SDKS: Final[Mapping[str, str]] = {"boto3": "aws", "botocore": "aws", "google": "gcp"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A machine type as the bundled catalog knows it, and the zones that have it, by region."""

    instance_type: str
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None
    accelerator_count: float
    zones: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PriceSettings:
    """What a price source is built from.

    `now` is the instant that the prices are asked for: it dates them. No `regions` means all that
    the provider, or the account, has. `timeout_s` bounds one request, `tries` how often it is sent.
    """

    name: str
    now: datetime
    regions: tuple[str, ...] = ()
    endpoint: str | None = None
    ca_bundle: str | None = None
    profile: str | None = None
    credentials_file: str | None = None
    shapes: tuple[Shape, ...] = ()
    timeout_s: float = 30.0
    tries: int = 4

    @property
    def as_of(self) -> str:
        return self.now.date().isoformat()


def kinds() -> list[str]:
    """Every kind of price source that `build` knows here."""
    return sorted({*KINDS, *(item.name for item in entry_points(group=GROUP))})


def build(kind: str, settings: Mapping[str, Any]) -> PriceSource:
    """The price source of this kind. UsageError: unknown kind or setting, or no SDK for it."""
    try:
        factory = _factory(kind)
        _check(kind, PriceSettings if kind in KINDS else factory, settings)
        return factory(**settings)
    except ModuleNotFoundError as exc:
        raise _missing(kind, exc) from exc


def _factory(kind: str) -> Callable[..., PriceSource]:
    if kind in KINDS:
        module, _, name = KINDS[kind].partition(":")
        found: Callable[..., PriceSource] = getattr(import_module(module), name)
        return found
    plugged = [item for item in entry_points(group=GROUP) if item.name == kind]
    if not plugged:
        raise UsageError(
            f"nobody can be asked for the prices of {kind!r}",
            code="CAT010",
            hint=f"known: {', '.join(kinds())}; `broker catalog import` takes files",
        )
    loaded: Callable[..., PriceSource] = plugged[0].load()
    return loaded


def _check(kind: str, factory: Callable[..., object], settings: Mapping[str, Any]) -> None:
    try:
        inspect.signature(factory).bind(**settings)
    except TypeError as exc:
        raise UsageError(f"settings of a price source of kind {kind}: {exc}") from exc


def _missing(kind: str, exc: ModuleNotFoundError) -> UsageError:
    extra = SDKS.get((exc.name or "").partition(".")[0])
    hint = f'pip install "fedbroker[{extra}]"' if extra else None
    return UsageError(f"prices of {kind} need {exc.name}, which is not installed", hint=hint)
