"""Catalog files of a test's own rows, the bundled one built once, and the sample if it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from broker.catalog import Catalog, catalog, schema, write
from broker.catalog.rows import Row

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "catalog.tgz"


@pytest.fixture(scope="session")
def make_catalog() -> Callable[[Path, Mapping[str, Sequence[Row]]], Catalog]:
    """A catalog of exactly these rows by provider, taken for current."""

    def make(path: Path, rows: Mapping[str, Sequence[Row]]) -> Catalog:
        with closing(schema.connect(path)) as conn:
            conn.execute("PRAGMA synchronous = OFF")
            schema.create(conn)
            with write.transaction(conn):
                for provider, offers in rows.items():
                    write.replace(conn, provider, offers, catalog.IMPORT)
                schema.set_note(conn, "build", catalog.build_id())
        return Catalog(path)

    return make


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What a first use makes. Read only: copy it to change it."""
    found = Catalog(tmp_path_factory.mktemp("built") / "catalog.db")
    found.ensure()
    return found


@pytest.fixture
def own(built: Catalog, tmp_path: Path) -> Catalog:
    """A copy of the bundled catalog that the test may change."""
    shutil.copyfile(built.path, tmp_path / "catalog.db")
    return Catalog(tmp_path / "catalog.db")


@pytest.fixture(scope="session")
def sample_file() -> Path:
    if not SAMPLE.exists():
        pytest.skip("the sample catalog ../shared/data/catalog.tgz is not on this machine")
    return SAMPLE


@pytest.fixture(scope="session")
def sample(sample_file: Path, built: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The sample catalog, imported over the bundled one."""
    path = tmp_path_factory.mktemp("sample") / "catalog.db"
    shutil.copyfile(built.path, path)
    found = Catalog(path)
    assert not found.import_skypilot(sample_file).failed
    return found
