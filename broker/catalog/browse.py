"""Lists offers by what a person asks for, in any order, without making objects of the whole catalog.

What offers of a pool share is compared once per pool, the rest in SQL. Every order is one number
per row, `column x weight of its pool`, ascending, unknown last; equals follow by price. Offers that
no catalog knows (edge nodes, this machine, reservations) go through the same comparisons as objects.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from broker.catalog import query
from broker.catalog.labels import Labelled
from broker.catalog.query import Record
from broker.catalog.rows import MICRO
from broker.model import Market, Offer
from broker.place.tally import cheapness

INFINITY = float("inf")
Weight = Callable[[Offer], float | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted; empty and None ask for nothing. Words are compared without case."""

    accelerators: tuple[tuple[str, float], ...] = ()  # any of (name, count); count 0: any
    accelerator_memory_gib: float | None = None  # at least, of each
    cpus: float | None = None  # at least
    memory_gib: float | None = None  # at least
    instance_types: frozenset[str] = frozenset()
    clouds: frozenset[str] = frozenset()  # `aws` is every cloud of that catalog
    regions: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    blocs: frozenset[str] = frozenset()
    markets: frozenset[Market] = frozenset()
    max_usd_per_hour: Decimal | None = None
    max_carbon_g_per_kwh: float | None = None

    def suits(self, offer: Offer) -> bool:
        """Whether the facts that a pool's offers share are wanted."""
        site, cloud = offer.site, offer.cloud
        return (
            (not self.accelerators or any(_is(offer, one) for one in self.accelerators))
            and _at_least(self.accelerator_memory_gib, offer.chip.memory_gib)
            and (not self.clouds or bool({cloud, cloud.partition("@")[0]} & self.clouds))
            and (not self.regions or offer.region in self.regions)
            and (not self.zones or offer.zone in self.zones)
            and (not self.countries or site.country in self.countries)
            and (not self.blocs or not site.blocs.isdisjoint(self.blocs))
            and (not self.markets or offer.market in self.markets)
            and _at_most(self.max_carbon_g_per_kwh, site.carbon_g_per_kwh)
        )

    def fits(self, offer: Offer) -> bool:
        """Whether shape and price are wanted."""
        usd = offer.price.usd_per_hour if offer.price else None
        return (
            _at_least(self.cpus, offer.vcpus)
            and _at_least(self.memory_gib, offer.memory_gib)
            and (not self.instance_types or offer.instance_type in self.instance_types)
            and (
                self.max_usd_per_hour is None or (usd is not None and usd <= self.max_usd_per_hour)
            )
        )

    def sql(self) -> tuple[str, dict[str, object]]:
        """`fits`, for a row of the catalog."""
        lines, values = ["1"], dict[str, object]()
        if self.cpus is not None:
            lines.append("vcpus >= :cpus")
            values["cpus"] = self.cpus
        if self.memory_gib is not None:
            lines.append("memory_gib >= :memory")
            values["memory"] = self.memory_gib
        if self.max_usd_per_hour is not None:
            lines.append("micros <= :micros")
            values["micros"] = int(self.max_usd_per_hour * MICRO)
        if self.instance_types:
            names = {f"type{at}": name for at, name in enumerate(sorted(self.instance_types))}
            lines.append(f"instance_type IN ({', '.join(f':{name}' for name in names)})")
            values |= names
        return " AND ".join(lines), values


@dataclass(frozen=True, slots=True)
class Order:
    """`column` is one of a row's numbers, or `1`; `weight` is the pool's share of the key."""

    column: str
    weight: Weight
    descending: bool = False

    def key(self, offer: Offer) -> float:
        weight, value = self.weight(offer), _COLUMNS[self.column](offer)
        if weight is None or value is None:
            return INFINITY
        return -(value * weight) if self.descending else value * weight


@dataclass(frozen=True, slots=True)
class Stock:
    """All there is: pools on disk under their clouds' names, and offers that no catalog knows."""

    pools: Sequence[Labelled] = ()
    others: Sequence[Offer] = ()

    def wanted(self, by: Filter) -> tuple[dict[Labelled, Offer], list[Offer]]:
        """Pools with an offer that has their facts, and other offers, as far as they are wanted."""
        suited = {member: stub for member in self.pools if by.suits(stub := _stub(member))}
        return suited, [one for one in self.others if by.suits(one) and by.fits(one)]


@dataclass(frozen=True, slots=True)
class Page:
    """`offers` in order; `total` counts those beyond the limit too."""

    offers: tuple[Offer, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Group:
    """Offers that share some facts: how many, how many of known price, and the range of those."""

    facts: tuple[str, ...]
    offers: int
    priced: int
    least: Decimal | None
    most: Decimal | None


def by_price(*, descending: bool = False) -> Order:
    return Order("micros", lambda _: 1.0, descending)


def by_word(
    read: Callable[[Offer], str | None], among: Iterable[Offer], *, descending: bool
) -> Order:
    """In the order of the alphabet, over all words that occur."""
    words = sorted({word for offer in among if (word := read(offer))})
    rank = {word: float(at) for at, word in enumerate(words, 1)}
    return Order("1", lambda offer: rank.get(read(offer) or ""), descending)


def page(
    conn: sqlite3.Connection,
    stock: Stock,
    wanted: Filter,
    order: Callable[[Sequence[Offer]], Order],
    limit: int | None = None,
) -> Page:
    """The first `limit` offers that are wanted. `order` is made from what the pools share."""
    suited, others = stock.wanted(wanted)
    by = order([*suited.values(), *others])
    members = _by_pool(suited)
    _choose(conn, {pool: by.weight(suited[at[0]]) for pool, at in members.items()})
    rows = _first(conn, wanted, by, limit)
    found = [query.offer(at.pool, row, at.cloud) for row in rows for at in members[row.pool_id]]
    total = _total(conn, wanted, members)
    ordered = sorted([*found, *others], key=lambda offer: (by.key(offer), *cheapness(offer)))
    return Page(tuple(ordered[:limit]), total + len(others))


def groups(
    conn: sqlite3.Connection,
    stock: Stock,
    wanted: Filter,
    facts: Callable[[Offer], tuple[str, ...]],
) -> list[Group]:
    """Wanted offers counted by these facts of theirs, which a pool shares, cheapest first."""
    suited, others = stock.wanted(wanted)
    members = _by_pool(suited)
    _choose(conn, dict.fromkeys(members, 1.0))
    found: dict[tuple[str, ...], Group] = {}
    for pool, count, priced, least, most in _counted(conn, wanted):
        for member in members[pool]:
            _add(found, Group(facts(suited[member]), count, priced, _usd(least), _usd(most)))
    for offer in others:
        usd = offer.price.usd_per_hour if offer.price else None
        _add(found, Group(facts(offer), 1, int(usd is not None), usd, usd))
    return sorted(found.values(), key=lambda one: (one.least is None, one.least or 0, one.facts))


def _is(offer: Offer, wanted: tuple[str, float]) -> bool:
    name, count = wanted
    return (offer.accelerator or "").lower() == name.lower() and (
        not count or count == offer.accelerator_count
    )


def _at_least(wanted: float | None, value: float | None) -> bool:
    return wanted is None or (value is not None and value >= wanted)


def _at_most(wanted: float | None, value: float | None) -> bool:
    return wanted is None or (value is not None and value <= wanted)


def _stub(member: Labelled) -> Offer:
    return query.stub(member.pool, member.cloud)


def _by_pool(members: Iterable[Labelled]) -> dict[int, list[Labelled]]:
    """A pool stands under several names where two clouds use one catalog."""
    found: dict[int, list[Labelled]] = {}
    for member in members:
        found.setdefault(member.pool.id, []).append(member)
    return found


def _choose(conn: sqlite3.Connection, weights: Mapping[int, float | None]) -> None:
    """Lay the pools out beside the offers, for this connection alone."""
    conn.execute("DROP TABLE IF EXISTS temp.chosen")
    conn.execute("CREATE TEMP TABLE chosen (pool_id INTEGER PRIMARY KEY, weight REAL)")
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO chosen VALUES (?, ?)", weights.items())
    conn.execute("COMMIT")


_FROM = "FROM temp.chosen JOIN offer ON offer.pool_id = chosen.pool_id"
_RECORD = "offer.pool_id, rank, micros, vcpus, memory_gib, instance_type"
_LAST = "9e999"  # SQLite's infinity


def _first(conn: sqlite3.Connection, wanted: Filter, by: Order, limit: int | None) -> list[Record]:
    """The first rows, and all that are equal to the last of them in key and price."""
    where, values = wanted.sql()
    sign = "-" if by.descending else ""
    key = f"coalesce({sign}({by.column} * weight), {_LAST})"
    price = f"coalesce(micros, {_LAST})"
    bound = ""
    if limit is not None:
        last = conn.execute(
            f"SELECT {key}, {price} {_FROM} WHERE {where} ORDER BY 1, 2 LIMIT 1 OFFSET :at",
            {**values, "at": max(limit - 1, 0)},
        ).fetchone()
        if last:
            bound = f" AND ({key}, {price}) <= (:key, :price)"
            values |= {"key": last[0], "price": last[1]}
    rows = conn.execute(f"SELECT {_RECORD} {_FROM} WHERE {where}{bound}", values)
    return [Record(*row) for row in rows]


def _counted(
    conn: sqlite3.Connection, wanted: Filter
) -> Iterable[tuple[int, int, int, int | None, int | None]]:
    where, values = wanted.sql()
    sql = (
        f"SELECT offer.pool_id, count(*), count(micros), min(micros), max(micros) {_FROM}"
        f" WHERE {where} GROUP BY offer.pool_id"
    )
    return conn.execute(sql, values)


def _total(conn: sqlite3.Connection, wanted: Filter, members: Mapping[int, list[Labelled]]) -> int:
    """Every pool knows how many offers it has: rows are counted only where rows are compared."""
    if not wanted.sql()[1]:
        return sum(at[0].pool.offers * len(at) for at in members.values())
    return sum(count * len(members[pool]) for pool, count, *_ in _counted(conn, wanted))


def _add(found: dict[tuple[str, ...], Group], more: Group) -> None:
    known = found.get(more.facts)
    if known is None:
        found[more.facts] = more
        return
    prices = [
        one for one in chain((known.least, known.most), (more.least, more.most)) if one is not None
    ]
    found[more.facts] = Group(
        more.facts,
        known.offers + more.offers,
        known.priced + more.priced,
        min(prices, default=None),
        max(prices, default=None),
    )


def _usd(micros: int | None) -> Decimal | None:
    return None if micros is None else Decimal(micros) / MICRO


def _micros(offer: Offer) -> float | None:
    return float(offer.price.usd_per_hour * MICRO) if offer.price else None


_COLUMNS: dict[str, Callable[[Offer], float | None]] = {
    "1": lambda _: 1.0,
    "micros": _micros,
    "vcpus": lambda offer: offer.vcpus,
    "memory_gib": lambda offer: offer.memory_gib,
}
