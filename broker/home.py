"""Where fedbroker keeps its files: configuration, state, cache and keys.

`BROKER_HOME=/x` moves all four together to `/x`; otherwise each follows the XDG directories.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """Paths only; `make` creates the folders, private to the user."""

    config: Path  # file
    state: Path
    cache: Path
    keys: Path

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def catalog(self) -> Path:
        return self.cache / "catalog.db"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def machines(self) -> Path:
        """Process trees that stand for machines of the `local` provider."""
        return self.state / "machines"

    def make(self) -> Home:
        for folder in (self.config.parent, self.state, self.cache, self.keys, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def find_home(environ: Mapping[str, str] = os.environ) -> Home:
    """The home that the environment asks for."""
    if root := environ.get("BROKER_HOME"):
        return home_at(Path(root).expanduser().absolute())
    import platformdirs

    dirs = platformdirs.PlatformDirs("broker", appauthor=False)
    return Home(
        config=dirs.user_config_path / "config.yaml",
        state=dirs.user_state_path,
        cache=dirs.user_cache_path,
        keys=dirs.user_data_path / "keys",
    )


def home_at(root: Path) -> Home:
    return Home(root / "config.yaml", root / "state", root / "cache", root / "keys")
