"""The catalog: every provider's offers on disk, with the age and the source of each price.

The first use builds the file from the snapshot in the package, so that offers can be listed and
plans be made offline at once. An import or a refresh replaces one provider at a time.
"""

from __future__ import annotations

import fcntl
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.catalog import query, regions, schema, snapshot, write
from broker.catalog.ask import ask
from broker.catalog.labels import Clouds, Labelled, label, provider_of
from broker.catalog.rows import Row
from broker.errors import UsageError
from broker.model import Demand, Offer, Resources
from broker.place.match import SHARED_CHECKS, depth
from broker.place.tally import cheapness

if TYPE_CHECKING:
    from broker.catalog import skypilot

SNAPSHOT = "snapshot"
IMPORT = "import"
LIVE = "live"  # asked of the provider itself

_BUILD = "build"


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """`as_of` is the date of the oldest price, `newest` that of the newest.

    `origin` is how the provider was last replaced: "snapshot", "import" or "live". `dated` is how
    many offers have prices of which date.
    """

    provider: str
    origin: str
    as_of: str
    newest: str
    offers: int
    unpriced: int
    regions: int
    currencies: tuple[str, ...]
    sources: tuple[str, ...]
    dated: tuple[tuple[str, int], ...] = ()

    def age_d(self, today: date) -> int:
        """Days since the date of the oldest price."""
        return age_d(self.as_of, today)

    def stale(self, today: date, max_age_d: float) -> int:
        """How many offers have prices older than that."""
        return sum(offers for as_of, offers in self.dated if age_d(as_of, today) > max_age_d)


def age_d(as_of: str, today: date) -> int:
    """Whole days between an ISO date and today."""
    return (today - date.fromisoformat(as_of)).days


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    path: Path
    providers: tuple[ProviderStatus, ...]

    @property
    def offers(self) -> int:
        return sum(provider.offers for provider in self.providers)

    @property
    def as_of(self) -> str | None:
        """The date of the oldest price of all."""
        return min((provider.as_of for provider in self.providers), default=None)


@dataclass(frozen=True, slots=True)
class Imported:
    """`as_of` is the date of the oldest price."""

    provider: str
    offers: int
    unpriced: int
    as_of: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """`failed` maps a provider to why its file was refused; its last good offers are kept."""

    imported: tuple[Imported, ...]
    failed: dict[str, str]
    warnings: tuple[str, ...]


class Catalog:
    """Offers on disk. Every call opens the file anew, so threads and processes may share it."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def ensure(self) -> None:
        """Build the file if it is missing or of another version. Safe among processes.

        Snapshot offers are replaced when the package brings another snapshot; what was imported or
        asked of a provider is kept.
        """
        if self._current():
            return
        with self._alone():
            self._bring_up_to_date()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection to a file that is there and current."""
        self.ensure()
        with closing(schema.connect(self.path)) as conn:
            yield conn

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction; no other process changes or rebuilds the file meanwhile.

        Whatever ends it early, the end of the process too, leaves the file as it was.
        """
        with self._alone():
            self._bring_up_to_date()
            with closing(schema.connect(self.path)) as conn, write.transaction(conn):
                yield conn

    def pools(self, clouds: Clouds | None = None) -> list[Labelled]:
        """Every pool of offers under the names of these clouds, or of the providers."""
        with self.open() as conn:
            return label(query.pools(conn, _providers(conn, clouds)), clouds)

    def accelerators(self) -> frozenset[str]:
        """The canonical names that a request may use."""
        sql = "SELECT DISTINCT accelerator FROM pool WHERE accelerator IS NOT NULL"
        with self.open() as conn:
            return frozenset(name for (name,) in conn.execute(sql))

    def search(
        self,
        resources: Resources | None = None,
        clouds: Clouds | None = None,
        limit: int | None = None,
    ) -> list[Offer]:
        """Offers that suit `resources`, cheapest first, those of unknown price last.

        An accelerator with count 0 matches every count.
        """
        wanted = resources or Resources()
        asked = ask(Demand("search", (wanted,)), (0,))
        pools: dict[int, list[Labelled]] = {}
        for member in self.pools(clouds):
            if _suits(wanted, member):
                pools.setdefault(member.pool.id, []).append(member)
        with self.open() as conn:
            rows = query.listed(conn, pools, asked, limit)
        found = [query.offer(at.pool, row, at.cloud) for row in rows for at in pools[row.pool_id]]
        return sorted(found, key=cheapness)[:limit]

    def rows(self, provider: str) -> list[Row]:
        """All that is stored of a provider, in no order. Empty for one that is not there."""
        with self.open() as conn:
            return query.rows(conn, provider)

    def status(self) -> CatalogStatus:
        with self.open() as conn:
            rows = conn.execute(_STATUS).fetchall()
            dated = conn.execute(_DATED).fetchall()
        return CatalogStatus(self.path, tuple(_provider_status(row, dated) for row in rows))

    def import_skypilot(self, path: Path | str) -> ImportReport:
        """Replace each provider found in a folder or .tgz in SkyPilot's layout.

        A provider whose file cannot be read keeps what it had. UsageError: there is no file at all.
        """
        from broker.catalog import skypilot

        imported: list[Imported] = []
        failed: dict[str, str] = {}
        warnings: list[str] = []
        for file in skypilot.files(Path(path)):
            try:
                reading = skypilot.read(file)
            except UsageError as exc:
                failed[file.provider] = exc.message
                continue
            imported.append(self.take(file.provider, reading.rows))
            warnings += [_flaw(file, flaw, n) for flaw, n in reading.flaws.most_common()]
        return ImportReport(tuple(imported), failed, tuple(warnings))

    def take(self, provider: str, rows: Sequence[Row]) -> Imported:
        """Replace a provider by rows of somebody's file; there must be some."""
        with self.writing() as conn:
            write.replace(conn, provider, rows, IMPORT)
        unpriced = sum(row.micros is None for row in rows)
        return Imported(provider, len(rows), unpriced, min(row.source.as_of for row in rows))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(self.path.with_name(self.path.name + ".lock")):
            yield

    def _bring_up_to_date(self) -> None:
        """The caller is alone."""
        if self._current():
            return
        if self._version() == schema.VERSION:
            self._renew()
        else:
            self._build()

    def _version(self) -> int:
        if not self.path.exists():
            return 0
        try:
            with closing(schema.connect(self.path)) as conn:
                return schema.version(conn)
        except sqlite3.DatabaseError as exc:
            raise UsageError(
                f"{self.path} is not a readable catalog: {exc}",
                code="CAT008",
                hint="remove the file: it is built again at the next use",
            ) from exc

    def _current(self) -> bool:
        if self._version() != schema.VERSION:
            return False
        with closing(schema.connect(self.path)) as conn:
            return schema.note(conn, _BUILD) == build_id()

    def _build(self) -> None:
        """Write a new file beside and move it into place: nobody sees half a catalog.

        Of a file of another version, what did not come with the package is taken along, as far as
        its tables still say it.
        """
        kept = self._kept()
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".catalog-") as folder:
            new = Path(folder) / self.path.name
            with closing(schema.connect(new)) as conn:
                conn.execute("PRAGMA journal_mode = OFF")
                conn.execute("PRAGMA synchronous = OFF")
                schema.create(conn)
                with write.transaction(conn):
                    for provider, (origin, rows) in kept.items():
                        write.replace(conn, provider, rows, origin)
                    _load_snapshot(conn, kept)
            new.replace(self.path)

    def _kept(self) -> dict[str, tuple[str, list[Row]]]:
        """Provider -> origin and rows of all that the file holds beside the snapshot."""
        if not self.path.exists():
            return {}
        with closing(schema.connect(self.path)) as conn:
            try:
                found = conn.execute(
                    "SELECT name, origin FROM provider WHERE origin <> ?", (SNAPSHOT,)
                )
                return {name: (origin, query.rows(conn, name)) for name, origin in found.fetchall()}
            except sqlite3.DatabaseError:
                return {}

    def _renew(self) -> None:
        """Another package, same file: load its snapshot, put the others in the order of its facts."""
        with closing(schema.connect(self.path)) as conn, write.transaction(conn):
            origin = dict(conn.execute("SELECT name, origin FROM provider").fetchall())
            kept = frozenset(name for name, kind in origin.items() if kind != SNAPSHOT)
            for provider, how in origin.items():
                if provider in kept:
                    write.replace(conn, provider, query.rows(conn, provider), how)
                else:
                    write.remove(conn, provider)
            _load_snapshot(conn, kept)


_STATUS = """
SELECT provider.name, origin, sum(offers), sum(unpriced), count(DISTINCT region)
FROM provider JOIN pool ON pool.provider = provider.name
GROUP BY provider.name ORDER BY provider.name
"""
_DATED = """
SELECT source.provider, source.name, as_of, currency, sum(offers)
FROM source JOIN pool ON pool.source_id = source.id
GROUP BY source.id ORDER BY as_of, source.name
"""


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_id() -> str:
    """What the package brings: a file with another one is brought up to date."""
    return f"{snapshot.digest()}-{regions.digest()}"


def _load_snapshot(conn: sqlite3.Connection, kept: Collection[str]) -> None:
    for provider, rows in snapshot.load().items():
        if provider not in kept:
            write.replace(conn, provider, rows, SNAPSHOT)
    schema.set_note(conn, _BUILD, build_id())


def _providers(conn: sqlite3.Connection, clouds: Clouds | None) -> set[str]:
    if clouds:
        return {provider_of(cloud) for cloud in clouds}
    return {name for (name,) in conn.execute("SELECT name FROM provider")}


def _suits(wanted: Resources, member: Labelled) -> bool:
    shared = depth(wanted, query.stub(member.pool, member.cloud), SHARED_CHECKS)
    return shared == len(SHARED_CHECKS)


def _provider_status(row: Sequence[Any], dated: Sequence[Sequence[Any]]) -> ProviderStatus:
    provider, origin, offers, unpriced, regions_ = row
    mine = [rest for owner, *rest in dated if owner == provider]
    by_date: dict[str, int] = {}
    for _, as_of, _, count in mine:
        by_date[as_of] = by_date.get(as_of, 0) + count
    return ProviderStatus(
        provider,
        origin,
        as_of=min(by_date),
        newest=max(by_date),
        offers=offers,
        unpriced=unpriced,
        regions=regions_,
        currencies=tuple(sorted({currency for _, _, currency, _ in mine})),
        sources=tuple(sorted({name for name, *_ in mine})),
        dated=tuple(by_date.items()),
    )


def _flaw(file: skypilot.File, flaw: str, prices: int) -> str:
    return f"{file.provider}: {prices} prices are {flaw}: kept as unknown"
