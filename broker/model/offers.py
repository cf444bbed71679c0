"""What there is to lease, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a user's file. `line` and `col` count from 1; `span` is the length to underline."""

    file: str
    line: int = 1
    col: int = 1
    span: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"
    RESERVED = "reserved"  # a reservation or commitment: counted, already paid for
    OWNED = "owned"  # local and edge machines: capacity that somebody already pays for


@dataclass(frozen=True, slots=True)
class Price:
    """What an offer costs, how old that knowledge is and who said so."""

    usd_per_hour: Decimal
    as_of: str  # ISO 8601 date
    source: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Site:
    """Facts about a region, all of them optional: what is not known is None or empty, never a guess."""

    country: str | None = None  # ISO 3166-1 alpha-2
    blocs: frozenset[str] = frozenset()  # EU, EEA, ...
    carbon_g_per_kwh: float | None = None
    source: str = ""  # of the carbon figure, with its year
    subdivision: str | None = None  # ISO 3166-2, e.g. "US-VA"
    operator: str | None = None  # the company that runs the place
    operator_country: str | None = None  # where its legal seat, or that of its owner, is
    carbon_convention: str = ""  # "location-based" or "market-based"
    place_source: str = ""  # who says where it lies and who runs it, with the date


@dataclass(frozen=True, slots=True)
class Chip:
    """Facts about one accelerator of an offer; None where nobody says."""

    memory_gib: float | None = None
    bf16_tflops: float | None = None  # dense peak
    watts: float | None = None  # board or chip power
    source: str = ""  # who says so, with the date


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be leased: a shape in a place on a market. Sold-out offers stay, unavailable."""

    cloud: str  # the configured name: "aws", "aws@sandbox", "local", "edge"
    region: str
    zone: str | None
    instance_type: str
    market: Market
    vcpus: float | None
    memory_gib: float | None
    accelerator: str | None = None
    accelerator_count: float = 0
    price: Price | None = None  # None = unknown, never 0 and never a sentinel
    site: Site = Site()
    available: bool = True
    node_id: str | None = None  # set for an enrolled edge node
    datasets: tuple[str, ...] = ()  # names of the data sets that this machine already holds
    classes: tuple[tuple[str, str], ...] = ()  # (data set, its class), as far as the node says
    node: str = ""  # name of the enrolled edge node, which is also its site's name
    chip: Chip = Chip()
    left: int | None = None  # how many machines may still be had; None = not counted
    reservation: str = ""  # the cloud's id of the reservation that this capacity belongs to

    @property
    def key(self) -> str:
        """Names the offer in messages and memories: `cloud/zone-or-region/instance_type/market`."""
        place = self.node_id or self.zone or self.region
        shape = self.instance_type or f"{self.accelerator}:{self.accelerator_count:g}"
        market = f"{self.market}:{self.reservation}" if self.reservation else self.market
        return f"{self.cloud}/{place}/{shape}/{market}"
