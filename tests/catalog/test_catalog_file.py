"""The law: the catalog's file is there when it is asked for, whole, current and once, whoever else
asks at the same moment; what a user imported outlives a new package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from broker.catalog import Catalog, schema, write
from broker.catalog.rows import Row, Source
from broker.errors import UsageError
from broker.model import AtLeast, Market, Resources

CSV = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,SpotPrice,Region
cheap,,,2,4,0.01,0.005,eu-north-1
dear,,,2,4,0.01,0.005,us-east-1
"""


def imported(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "csv" / "aws" / "vms.csv"
    file.parent.mkdir(parents=True)
    file.write_text(CSV, encoding="utf-8")
    catalog.import_skypilot(tmp_path / "csv")


def forget_build(catalog: Catalog) -> None:
    with closing(schema.connect(catalog.path)) as conn:
        schema.set_note(conn, "build", "of another package")


def test_many_processes_build_it_once_and_all_see_it_whole(tmp_path) -> None:
    path = tmp_path / "cache" / "catalog.db"
    code = (
        "import sys; from broker.catalog import Catalog;"
        "c = Catalog(sys.argv[1]); c.ensure(); print(c.path.stat().st_ino, c.status().offers)"
    )
    argv = [sys.executable, "-c", code, str(path)]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=120)[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(said) == 1
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["catalog.db", "catalog.db.lock"]


def test_ensuring_a_current_file_changes_nothing(own) -> None:
    before = own.path.read_bytes()
    own.ensure()
    assert own.path.read_bytes() == before


def test_a_new_package_replaces_the_snapshot(own) -> None:
    before = own.search(Resources(cloud="azure"))
    forget_build(own)
    with closing(schema.connect(own.path)) as conn:
        conn.execute("DELETE FROM offer WHERE pool_id IN (SELECT id FROM pool)")
    own.ensure()
    assert own.search(Resources(cloud="azure")) == before


def test_imports_are_kept_offer_by_offer_when_the_package_changes(own, tmp_path) -> None:
    imported(own, tmp_path)
    before = own.search(Resources(cloud="aws"))
    forget_build(own)
    own.ensure()
    assert own.search(Resources(cloud="aws")) == before
    assert {one.provider: one.origin for one in own.status().providers}["aws"] == "import"


def test_a_file_of_another_version_is_built_anew(own) -> None:
    with closing(schema.connect(own.path)) as conn:
        conn.execute("PRAGMA user_version = 99")
    own.ensure()
    with own.open() as conn:
        assert schema.version(conn) == schema.VERSION
    assert own.accelerators()


def test_what_was_imported_is_taken_along_to_another_version(own, tmp_path) -> None:
    imported(own, tmp_path)
    before = own.search(Resources(cloud="aws"))
    with closing(schema.connect(own.path)) as conn:
        conn.execute("PRAGMA user_version = 99")
    own.ensure()
    assert own.search(Resources(cloud="aws")) == before
    origins = {one.provider: one.origin for one in own.status().providers}
    assert (origins["aws"], origins["gcp"]) == ("import", "snapshot")


def test_a_file_of_another_layout_is_built_from_the_snapshot(own, tmp_path) -> None:
    imported(own, tmp_path)
    with closing(schema.connect(own.path)) as conn:
        conn.execute("ALTER TABLE offer RENAME COLUMN micros TO price")
        conn.execute("PRAGMA user_version = 99")
    own.ensure()
    assert {one.origin for one in own.status().providers} == {"snapshot"}


def test_a_damaged_file_is_reported_with_what_to_do(tmp_path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"this is no database, not at all" * 99)
    with pytest.raises(UsageError, match="not a readable catalog") as caught:
        Catalog(tmp_path / "catalog.db").ensure()
    assert "remove" in (caught.value.hint or "")


def test_the_status_tells_origin_age_counts_and_sources(own, tmp_path) -> None:
    imported(own, tmp_path)
    status = own.status()
    aws, azure, _ = status.providers
    assert (aws.provider, aws.origin, aws.offers, aws.unpriced) == ("aws", "import", 4, 0)
    assert aws.sources == ("SkyPilot catalog aws/vms.csv",)
    assert azure.origin == "snapshot"
    assert len(azure.sources) >= 2
    assert status.as_of == "2025-03-02"
    assert status.offers == sum(one.offers for one in status.providers)


def test_the_status_tells_the_age_and_what_is_stale(make_catalog, tmp_path) -> None:
    old, new = Source("old", "2026-01-01"), Source("new", "2026-03-01", "EUR")
    rows = [
        Row("r", None, f"m{number}", "spot", 2.0, 8.0, None, 0, 5, source)
        for number, source in enumerate([old, new, new])
    ]
    (aws,) = make_catalog(tmp_path / "c.db", {"aws": rows}).status().providers
    assert (aws.as_of, aws.newest, aws.currencies) == ("2026-01-01", "2026-03-01", ("EUR", "USD"))
    today = date(2026, 3, 2)
    assert aws.age_d(today) == 60
    assert [aws.stale(today, days) for days in (60, 59.5, 1, 0.5)] == [0, 1, 1, 3]


def test_accelerators_are_the_names_that_a_request_may_use(built) -> None:
    names = built.accelerators()
    assert {"A100", "A100-80GB", "H100", "L4", "T4", "tpu-v5p-8"} <= names


def test_a_search_is_cheapest_first_and_unknown_prices_are_last(built) -> None:
    found = built.search(Resources(accelerator="A100", accelerator_count=8))
    prices = [offer.price.usd_per_hour if offer.price else float("inf") for offer in found]
    assert prices == sorted(prices)
    assert prices[-1] == float("inf")
    assert {offer.accelerator for offer in found} == {"A100"}
    any_count = built.search(Resources(accelerator="A100"))
    assert {offer.accelerator_count for offer in any_count} >= {1, 8}


def test_a_search_can_be_limited_and_restricted_like_a_request(built) -> None:
    wanted = Resources(
        cpus=AtLeast(4, or_more=True),
        memory_gib=AtLeast(16, or_more=True),
        market=Market.ON_DEMAND,
        region="eu-north-1",
    )
    found = built.search(wanted, limit=5)
    assert len(found) == 5
    assert all(one.region == "eu-north-1" and (one.vcpus or 0) >= 4 for one in found)
    assert found == built.search(wanted)[:5]


def test_a_search_speaks_in_the_names_of_the_configured_clouds(built) -> None:
    clouds = {"aws@lab": frozenset({"eu-north-1"}), "gcp": None}
    found = built.search(Resources(instance_type="m5.large"), clouds)
    assert {(one.cloud, one.region) for one in found} == {("aws@lab", "eu-north-1")}
    assert all(one.key.startswith("aws@lab/") for one in found)
    assert built.search(Resources(cloud="azure"), clouds) == []


def test_the_file_may_lie_in_a_folder_that_does_not_exist_yet(built, tmp_path) -> None:
    path = tmp_path / "a" / "b" / "catalog.db"
    path.parent.mkdir(parents=True)
    shutil.copyfile(built.path, path)
    assert Catalog(str(path)).status().offers == built.status().offers


def test_an_import_that_is_cut_short_leaves_the_file_as_it_was(own) -> None:
    before = own.search(Resources(cloud="aws"), limit=20)

    def interrupted():
        raise KeyboardInterrupt
        yield

    with own.open() as conn, pytest.raises(KeyboardInterrupt), write.transaction(conn):
        write.replace(conn, "aws", interrupted(), "import")
    assert own.search(Resources(cloud="aws"), limit=20) == before
    assert {one.provider: one.origin for one in own.status().providers}["aws"] == "snapshot"
