"""Offers on disk: import, age and source of every price, and the fast path of the planner.

`Catalog` is the way in. `schema` says how a file is laid out, `sieve` how a demand is decided
without loading it, `browse` how a person's list is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker.catalog.catalog import (
        Catalog,
        CatalogStatus,
        Imported,
        ImportReport,
        ProviderStatus,
    )
    from broker.catalog.labels import Clouds
    from broker.catalog.regions import country_sites, site

_HOMES = {
    "catalog": ("Catalog", "CatalogStatus", "ImportReport", "Imported", "ProviderStatus"),
    "labels": ("Clouds",),
    "regions": ("country_sites", "site"),
}
__all__ = [
    "Catalog",
    "CatalogStatus",
    "Clouds",
    "ImportReport",
    "Imported",
    "ProviderStatus",
    "country_sites",
    "site",
]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: who asks where a region lies needs no catalog."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"broker.catalog.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
