"""Offers on disk: import, age and source of every price, and the fast path of the planner.

`Catalog` is the way in. `schema` says how a file is laid out, `sieve` how a demand is decided
without loading it.
"""

from __future__ import annotations

from broker.catalog.catalog import Catalog, CatalogStatus, Imported, ImportReport, ProviderStatus
from broker.catalog.labels import Clouds
from broker.catalog.regions import country_sites, site

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
