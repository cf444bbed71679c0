"""Law: what the ledger has acknowledged it keeps; what it cannot read it says in clear words."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from broker.errors import BrokerError, ConflictError, UsageError
from broker.model import Account, Event, Explanation, Run
from broker.store import Ledger
from broker.store.migrations.upgrade import config, upgrade
from broker.store.schema import HEAD, REVISIONS, metadata
from tests.store.conformance import AT, full_rows, run

COUNTER = """
import sys
from dataclasses import replace
from broker.errors import ConflictError
from broker.model import Run
from broker.store import Ledger

ledger = Ledger(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    row = ledger.find(Run)[0]
    try:
        print(ledger.commit(replace(row, reason=sys.argv[2]))[0].version, flush=True)
    except ConflictError:
        pass
"""
WRITER = """
import sys
from datetime import UTC, datetime
from broker.model import Event
from broker.store import Ledger

ledger = Ledger(sys.argv[1])
for number in range(int(sys.argv[2]), 10**6):
    row = Event(f"ev_{number:08d}", datetime.now(UTC), "s", "", "k", "m")
    pair = Event(f"ex_{number:08d}", datetime.now(UTC), "s", "", "k", "m")
    ledger.commit(row, pair)
    print(number, flush=True)
"""


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


# ------------------------------------------------------------------------------------- durability


def test_what_was_committed_is_there_when_it_is_opened_again(url: str) -> None:
    with Ledger(url) as ledger:
        written = ledger.commit(*full_rows())
    with Ledger(url) as ledger:
        assert [ledger.find(type(row), id=row.id)[0] for row in written] == list(written)


def test_a_killed_writer_loses_nothing_that_was_acknowledged(url: str, tmp_path: Path) -> None:
    done = -1
    for round_ in range(3):
        out = tmp_path / f"out{round_}"
        with out.open("wb") as sink:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, url, str(done + 1)], stdout=sink
            )
        until(lambda out=out: out.read_bytes().count(b"\n") > 20)  # type: ignore[misc]
        time.sleep(random.Random(round_).random() / 50)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        acknowledged = {int(line) for line in out.read_text().split("\n")[:-1]}
        with Ledger(url) as ledger:
            kept = {row.id for row in ledger.find(Event)}
        assert {f"ev_{number:08d}" for number in acknowledged} <= kept
        numbers = Counter(name[3:] for name in kept)
        assert set(numbers.values()) == {2}, "half a commit is left"
        done = max(int(name[3:]) for name in kept)


def test_of_processes_that_write_one_row_one_wins_each_version(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.commit(run())
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTER, url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    outputs = []
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        outputs.append(writer.communicate(timeout=60)[0])
        assert writer.returncode == 0
    won = Counter(int(line) for output in outputs for line in output.split())
    with Ledger(url) as ledger:
        assert sorted(won) == list(range(2, ledger.find(Run)[0].version + 1))
    assert set(won.values()) == {1}


def test_two_ledgers_on_one_file_see_each_other(url: str) -> None:
    with Ledger(url) as one, Ledger(url) as other:
        (row,) = one.commit(run())
        (after,) = other.commit(replace(row, reason="other"))
        assert one.find(Run) == [after]
        with pytest.raises(ConflictError):
            one.commit(replace(row, reason="one"))


# --------------------------------------------------------------------------------------- the file


def test_its_files_are_private(url: str, tmp_path: Path) -> None:
    with Ledger(url) as ledger:
        ledger.commit(run())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)


def test_it_writes_ahead_and_syncs_fully(url: str) -> None:
    with Ledger(url) as ledger, ledger._engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2


def test_a_damaged_file_is_called_damaged(url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(BrokerError, match="the ledger is damaged") as caught:
        Ledger(url)
    assert caught.value.code == "STO003"
    assert caught.value.hint


def test_a_row_that_cannot_be_read_is_called_damaged(url: str, tmp_path: Path) -> None:
    with Ledger(url) as ledger:
        ledger.commit(run())
        with sqlite3.connect(tmp_path / "ledger.db") as raw:
            raw.execute("UPDATE runs SET state = 'dancing'")
        raw.close()
        with pytest.raises(BrokerError, match=r"a run cannot be read.*dancing"):
            ledger.find(Run)


def test_an_unreachable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"cannot be opened: .*nowhere") as caught:
        Ledger(f"sqlite:///{tmp_path}/nowhere/ledger.db")
    assert caught.value.code == "STO004"


def test_a_ledger_in_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="a ledger is a file"):
        Ledger("sqlite://")


def test_a_busy_ledger_says_so(url: str, tmp_path: Path) -> None:
    with Ledger(url) as ledger:
        with ledger._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=50")
        raw = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerError, match="the ledger is busy") as caught:
            ledger.commit(run())
        raw.rollback()
        raw.close()
        assert caught.value.code == "STO001"
        ledger.commit(run())


def test_a_full_disk_is_named_and_leaves_the_ledger_usable(url: str) -> None:
    with Ledger(url) as ledger:
        with ledger._engine.connect() as connection:
            pages = connection.scalar(text("PRAGMA page_count"))
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(BrokerError, match="no space left") as caught:
            ledger.commit(*(Event(f"ev_{n}", AT, "s" * 90, "", "k", "m" * 5000) for n in range(50)))
        assert caught.value.code == "STO002"
        assert ledger.find(Event) == []


# -------------------------------------------------------------------------------------- revisions


def test_all_migrations_together_make_the_tables_of_the_code(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()


def test_a_new_ledger_has_the_tables_of_the_migrations(url: str) -> None:
    with Ledger(url) as ledger, ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD


def test_the_code_knows_every_revision_and_which_one_is_the_last() -> None:
    script = ScriptDirectory.from_config(config())
    assert script.get_heads() == [HEAD]
    assert tuple(reversed([each.revision for each in script.walk_revisions()])) == REVISIONS


def test_a_ledger_of_the_first_release_is_migrated_with_what_it_holds(
    url: str, tmp_path: Path
) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO runs (id, version, name, kind, created_at, state, wanted, keep, reason,"
                " rest) VALUES ('run_1', 1, 'old', 'task', '2026-03-01T12:00:00+00:00', 'failed',"
                " 1, 0, '', '{\"spec\": {}}')"
            )
        )
    engine.dispose()
    with Ledger(url) as ledger:
        assert ledger.find(Run)[0].name == "old"
        ledger.commit(*full_rows()[1:])
        assert len(ledger.find(Account)) == len(ledger.find(Explanation)) == 1


def test_an_older_ledger_is_migrated_when_it_is_opened(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imagined release before the first: its ledger holds only the version."""
    from broker.store import opening

    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute(opening._VERSION_TABLE)
        raw.execute("INSERT INTO alembic_version VALUES ('0000')")
    raw.close()
    monkeypatch.setattr(opening, "REVISIONS", ("0000", *REVISIONS))
    migrated = []
    monkeypatch.setattr("broker.store.migrations.upgrade.upgrade", migrated.append)
    Ledger(url).close()
    assert len(migrated) == 1


def test_a_ledger_of_a_newer_release_is_refused_untouched(url: str, tmp_path: Path) -> None:
    Ledger(url).close()
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(UsageError, match=rf"revision 9999, this release knows {HEAD}") as caught:
        Ledger(url)
    assert caught.value.code == "STO006"
    assert "upgrade" in (caught.value.hint or "")


def test_somebody_elses_database_is_refused(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    raw.close()
    with pytest.raises(UsageError, match="holds something else: recipes"):
        Ledger(url)


def test_many_processes_may_open_a_new_ledger_at_once(url: str) -> None:
    code = "import sys; from broker.store import Ledger; Ledger(sys.argv[1])"
    openers = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(6)]
    assert [opener.wait(timeout=60) for opener in openers] == [0] * 6


def test_the_package_loads_no_database_until_a_ledger_is_opened(url: str) -> None:
    code = """
import sys
import broker.store
assert not {"sqlalchemy", "alembic"} & set(sys.modules)
broker.store.Ledger(sys.argv[1]).close()
broker.store.Ledger(sys.argv[1]).close()
assert "sqlalchemy" in sys.modules and "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, url], check=True, env={**os.environ})


def test_the_package_has_no_other_names() -> None:
    import broker.store

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = broker.store.Nothing
