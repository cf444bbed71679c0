"""The configuration file: what it says, and how commands change it."""

from __future__ import annotations

from broker.documents.config_edit import remove_cloud, set_cloud
from broker.documents.config_file import CATALOGS, load_config
from broker.documents.settings import Cloud, Config, Engine, Gateway, Reservation

__all__ = [
    "CATALOGS",
    "Cloud",
    "Config",
    "Engine",
    "Gateway",
    "Reservation",
    "load_config",
    "remove_cloud",
    "set_cloud",
]
