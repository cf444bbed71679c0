"""The providers by kind, none of them imported before it is asked for.

Others join by an entry point in the group `fedbroker.providers`: a name, and a callable that takes
the settings as keywords and returns a `broker.ports.Provider`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from broker.errors import UsageError
from broker.ports import Provider

GROUP: Final = "fedbroker.providers"
KINDS: Final[Mapping[str, str]] = {
    "aws": "providers.aws:connect",
    "local": "providers.local:connect",
}
SDKS: Final[Mapping[str, str]] = {"boto3": "aws", "botocore": "aws"}  # module -> our extra


def kinds() -> list[str]:
    """Every kind that `build` knows here."""
    return sorted({*KINDS, *(item.name for item in entry_points(group=GROUP))})


def build(kind: str, settings: Mapping[str, Any]) -> Provider:
    """The provider of this kind. UsageError: unknown kind or setting, or no SDK for it."""
    try:
        factory = _factory(kind)
        _check(kind, factory, settings)
        return factory(**settings)
    except ModuleNotFoundError as exc:
        raise _missing(kind, exc) from exc


def _factory(kind: str) -> Callable[..., Provider]:
    if kind in KINDS:
        module, _, name = KINDS[kind].partition(":")
        found: Callable[..., Provider] = getattr(import_module(module), name)
        return found
    plugged: list[EntryPoint] = [item for item in entry_points(group=GROUP) if item.name == kind]
    if not plugged:
        raise UsageError(f"no provider of kind {kind!r}", hint=f"known: {', '.join(kinds())}")
    loaded: Callable[..., Provider] = plugged[0].load()
    return loaded


def _check(kind: str, factory: Callable[..., Provider], settings: Mapping[str, Any]) -> None:
    try:
        inspect.signature(factory).bind(**settings)
    except TypeError as exc:
        raise UsageError(f"settings of a provider of kind {kind}: {exc}") from exc


def _missing(kind: str, exc: ModuleNotFoundError) -> UsageError:
    extra = SDKS.get((exc.name or "").partition(".")[0])
    hint = f'pip install "fedbroker[{extra}]"' if extra else None
    return UsageError(f"provider {kind} needs {exc.name}, which is not installed", hint=hint)
