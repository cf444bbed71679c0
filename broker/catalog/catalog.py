"""The catalog: every provider's offers on disk, with the age and the source of each price.

The first use builds the file from the snapshot in the package, so that offers can be listed and
plans be made offline at once. An import replaces one provider at a time.
"""

from __future__ import annotations

import fcntl
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.catalog import query, regions, schema, snapshot, write
from broker.catalog.ask import ask
from broker.catalog.labels import Clouds, Labelled, label, provider_of
from broker.errors import UsageError
from broker.model import Demand, Offer, Resources
from broker.place.match import SHARED_CHECKS, depth
from broker.place.tally import cheapness

if TYPE_CHECKING:
    from broker.catalog import skypilot

SNAPSHOT = "snapshot"
IMPORT = "import"

_BUILD = "build"


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """`as_of` is the date of the oldest price. `origin` is "snapshot" or "import"."""

    provider: str
    origin: str
    as_of: str
    offers: int
    unpriced: int
    regions: int
    sources: tuple[str, ...]


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

        Snapshot offers are replaced when the package brings another snapshot; imports are kept.
        """
        if self._current():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(self.path.with_name(self.path.name + ".lock")):
            if self._current():
                return
            if self._version() == schema.VERSION:
                self._renew()
            else:
                self._build()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection to a file that is there and current."""
        self.ensure()
        with closing(schema.connect(self.path)) as conn:
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

    def status(self) -> CatalogStatus:
        with self.open() as conn:
            rows = conn.execute(_STATUS).fetchall()
            sources = conn.execute("SELECT provider, name FROM source ORDER BY name").fetchall()
        return CatalogStatus(self.path, tuple(_provider_status(row, sources) for row in rows))

    def import_skypilot(self, path: Path | str) -> ImportReport:
        """Replace each provider found in a folder or .tgz in SkyPilot's layout.

        A provider whose file cannot be read keeps what it had. UsageError: there is no file at all.
        """
        from broker.catalog import skypilot

        imported: list[Imported] = []
        failed: dict[str, str] = {}
        warnings: list[str] = []
        with self.open() as conn:
            for file in skypilot.files(Path(path)):
                try:
                    reading = skypilot.read(file)
                except UsageError as exc:
                    failed[file.provider] = exc.message
                    continue
                with write.transaction(conn):
                    write.replace(conn, file.provider, reading.rows, IMPORT)
                imported.append(_imported(file, reading))
                warnings += [_flaw(file, flaw, n) for flaw, n in reading.flaws.most_common()]
        return ImportReport(tuple(imported), failed, tuple(warnings))

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
        """Write a new file beside and move it into place: nobody sees half a catalog."""
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".catalog-") as folder:
            new = Path(folder) / self.path.name
            with closing(schema.connect(new)) as conn:
                conn.execute("PRAGMA journal_mode = OFF")
                conn.execute("PRAGMA synchronous = OFF")
                schema.create(conn)
                with write.transaction(conn):
                    _load_snapshot(conn, frozenset())
            new.replace(self.path)

    def _renew(self) -> None:
        """Another package, same file: load its snapshot, put imports in the order of its facts."""
        with closing(schema.connect(self.path)) as conn, write.transaction(conn):
            origin = dict(conn.execute("SELECT name, origin FROM provider").fetchall())
            kept = frozenset(name for name, kind in origin.items() if kind == IMPORT)
            for provider in origin:
                if provider in kept:
                    write.replace(conn, provider, query.rows(conn, provider), IMPORT)
                else:
                    write.remove(conn, provider)
            _load_snapshot(conn, kept)


_STATUS = """
SELECT provider.name, origin,
    (SELECT min(as_of) FROM source WHERE source.provider = provider.name),
    sum(offers), sum(unpriced), count(DISTINCT region)
FROM provider JOIN pool ON pool.provider = provider.name
GROUP BY provider.name ORDER BY provider.name
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


def _provider_status(row: Sequence[Any], sources: Sequence[Sequence[str]]) -> ProviderStatus:
    provider, origin, as_of, offers, unpriced, regions_ = row
    names = tuple(name for owner, name in sources if owner == provider)
    return ProviderStatus(provider, origin, as_of, offers, unpriced, regions_, names)


def _imported(file: skypilot.File, reading: skypilot.Reading) -> Imported:
    unpriced = sum(row.micros is None for row in reading.rows)
    return Imported(file.provider, len(reading.rows), unpriced, file.as_of)


def _flaw(file: skypilot.File, flaw: str, prices: int) -> str:
    return f"{file.provider}: {prices} prices are {flaw}: kept as unknown"
