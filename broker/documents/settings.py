"""What a configuration says, as values. Without a file these are the defaults, and nothing is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

from broker.model import DEFAULT_PROJECT, Location

LOCAL_HOST: Final = "127.0.0.1"
TICK_S: Final = 0.5
MAX_PRICE_AGE_D: Final = Decimal(30)


@dataclass(frozen=True, slots=True)
class Reservation:
    """`count` machines of one kind, until the end of a day where one is given."""

    id: str
    instance_type: str
    region: str
    zone: str | None
    count: int
    usd_per_hour: Decimal = Decimal(0)
    until: date | None = None
    location: Location | None = None


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
    reservations: tuple[Reservation, ...] = ()

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
    project: str = DEFAULT_PROJECT  # of demands that name none
    country: str | None = None  # where this broker keeps its logs
    ledger: str | None = None  # URL of a PostgreSQL database; None: the SQLite file of the home
    max_price_age_d: Decimal = MAX_PRICE_AGE_D  # older prices are marked as stale
