"""What each clause looks at, and how it compares. Pure.

A fact is True, False or unknown (None), and unknown is never taken for good: it fails a `require`,
matches a `deny`, makes a `when` apply to `require` and `deny`, and earns no `prefer`.

- `cloud: aws` means every configured cloud of that catalog, `aws` and `aws@sandbox` alike: the part
  before `@` is compared. `cloud: aws@sandbox` means that one alone.
- `bloc` is unknown where the country is; a country that is in no listed bloc is in none.
- A place's source is who says where it lies; where nobody is named for that, the source of the region.
- `kind` is `edge` for an enrolled node, `local` for this machine, `cloud` for everything else.
- `accelerator` compares names in any case; an offer without one has the accelerator `none`.
- `holds_data` is true where a machine holds every data set that a task names; a site of a
  federation needs one of them. Where a demand names none it is unknown.
- A demand that states no data class or purpose is in none: `when: {purpose: [care]}` leaves it. One of
  a class is in all that the class descends from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from broker.model import Demand, Offer
from broker.policy.rules import Clause

Compare = Callable[[Clause, Offer, Demand], bool | None]


@dataclass(frozen=True, slots=True)
class Fact:
    """`reads` are the offer's attributes that decide it; `saw` and `source` tell of it."""

    reads: tuple[str, ...]
    holds: Compare
    saw: Callable[[Offer, Demand], str]
    source: Callable[[Offer], str] = lambda _: ""


def holds(clause: Clause, offer: Offer, demand: Demand) -> bool | None:
    """Whether the clause is true of the offer; None when that is not known."""
    return FACTS[clause.field].holds(clause, offer, demand)


def asks(clause: Clause, demand: Demand, lineage: frozenset[str]) -> bool:
    """Whether a clause about the demand is true of it. `lineage`: its data class and ancestors."""
    if clause.field == "data_class":
        return not lineage.isdisjoint(words(clause))
    return DEMAND_FACTS[clause.field](demand) in words(clause)


def wanted(clause: Clause, demand: Demand) -> str:
    """What the clause wants, for a person: `country in [NO, SE]`."""
    if clause.field == "max_carbon_g_per_kwh":
        return f"carbon at most {clause.wanted:f} g/kWh"
    if clause.field == "holds_data":
        named = ", ".join(demand.data.datasets) or "a named data set"
        return f"{'holds' if clause.wanted else 'does not hold'} [{named}]"
    return f"{clause.field} in [{', '.join(words(clause))}]"


def plain(number: Decimal) -> str:
    """Without a needless exponent or zeros: 6, 2.5."""
    return f"{number.normalize():f}"


def words(clause: Clause) -> tuple[str, ...]:
    return clause.wanted if isinstance(clause.wanted, tuple) else ()


def kind(offer: Offer) -> str:
    if offer.node_id is not None or offer.cloud == "edge":
        return "edge"
    return "local" if _catalog(offer.cloud) == "local" else "cloud"


def _catalog(cloud: str) -> str:
    return cloud.partition("@")[0]


def _cloud(clause: Clause, offer: Offer, _: Demand) -> bool:
    return offer.cloud in words(clause) or _catalog(offer.cloud) in words(clause)


def _bloc(clause: Clause, offer: Offer, _: Demand) -> bool | None:
    if not offer.site.blocs and not offer.site.country:
        return None
    return not offer.site.blocs.isdisjoint(words(clause))


def _carbon(clause: Clause, offer: Offer, _: Demand) -> bool | None:
    carbon = offer.site.carbon_g_per_kwh
    if carbon is None or math.isnan(carbon) or not isinstance(clause.wanted, Decimal):
        return None
    return Decimal(carbon) <= clause.wanted


def _holds_data(clause: Clause, offer: Offer, demand: Demand) -> bool | None:
    named = demand.data.datasets
    if not named:
        return None
    enough = any if demand.role == "site" else all
    return enough(name in offer.datasets for name in named) == clause.wanted


def _is_among(read: Callable[[Offer], str | None]) -> Compare:
    """Compares one word; an empty or missing one is unknown."""

    def compare(clause: Clause, offer: Offer, _: Demand) -> bool | None:
        value = read(offer)
        return value in words(clause) if value else None

    return compare


def _said(name: str, read: Callable[[Offer], str | None]) -> Callable[[Offer, Demand], str]:
    return lambda offer, _: f"{name} {read(offer) or 'unknown'}"


def _fact(
    name: str,
    reads: tuple[str, ...],
    read: Callable[[Offer], str | None],
    source: Callable[[Offer], str] = lambda _: "",
) -> Fact:
    return Fact(reads, _is_among(read), _said(name, read), source)


def _accelerator(offer: Offer) -> str:
    return (offer.accelerator or "none").lower()


def _blocs(offer: Offer) -> str:
    named = " and ".join(sorted(offer.site.blocs))
    return named or ("none" if offer.site.country else "")


def _carbon_said(offer: Offer, _: Demand) -> str:
    carbon = offer.site.carbon_g_per_kwh
    unknown = carbon is None or math.isnan(carbon)
    return "carbon unknown" if unknown else f"carbon {carbon:g} g/kWh"


def _datasets_said(offer: Offer, demand: Demand) -> str:
    if not demand.data.datasets:
        return "no data set is named"
    return f"holds [{', '.join(offer.datasets)}]"


def _grid(offer: Offer) -> str:
    return offer.site.source


def placed(offer: Offer) -> str:
    """Who says where the offer's site lies and who runs it."""
    return offer.site.place_source or offer.site.source


PLACED: Final = ("site.place_source", "site.source")  # what `placed` reads
DEMAND_FACTS: Final[dict[str, Callable[[Demand], str | None]]] = {
    "data_class": lambda demand: demand.data.data_class,
    "project": lambda demand: demand.project,
    "purpose": lambda demand: demand.data.purpose,
    "role": lambda demand: demand.role,
}
FACTS: Final[dict[str, Fact]] = {
    "accelerator": _fact("accelerator", ("accelerator",), _accelerator),
    "bloc": Fact(("site.blocs", "site.country", *PLACED), _bloc, _said("bloc", _blocs), placed),
    "cloud": Fact(("cloud",), _cloud, _said("cloud", lambda offer: offer.cloud)),
    "country": _fact(
        "country", ("site.country", *PLACED), lambda offer: offer.site.country, placed
    ),
    "holds_data": Fact(("datasets",), _holds_data, _datasets_said),
    "instance_type": _fact("instance_type", ("instance_type",), lambda o: o.instance_type),
    "kind": _fact("kind", ("node_id", "cloud"), kind),
    "market": _fact("market", ("market",), lambda offer: str(offer.market)),
    "max_carbon_g_per_kwh": Fact(
        ("site.carbon_g_per_kwh", "site.source"), _carbon, _carbon_said, _grid
    ),
    "operator": _fact(
        "operator", ("site.operator", *PLACED), lambda offer: offer.site.operator, placed
    ),
    "operator_country": _fact(
        "operator_country",
        ("site.operator_country", *PLACED),
        lambda offer: offer.site.operator_country,
        placed,
    ),
    "region": _fact("region", ("region",), lambda offer: offer.region),
    "subdivision": _fact(
        "subdivision", ("site.subdivision", *PLACED), lambda offer: offer.site.subdivision, placed
    ),
    "zone": _fact("zone", ("zone",), lambda offer: offer.zone),
}
