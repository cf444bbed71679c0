"""Law: a ledger in PostgreSQL keeps what it acknowledged, and says in clear words what is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from broker.errors import AuthError, BrokerError, ConflictError, UsageError
from broker.model import Account, Event, Run
from broker.store import Ledger
from broker.store.migrations.upgrade import upgrade
from broker.store.opening import BUSY_MS
from broker.store.schema import HEAD, metadata
from broker.store.troubles import trouble
from tests.stands.postgres import Postgres, started, why_not
from tests.store.conformance import AT, full_rows, run
from tests.store.test_ledger import COUNTER, WRITER, until

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that a test may stop."""
    server = started()
    yield server
    server.stop()


def driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


# ------------------------------------------------------------------------------- many who share it


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_address_may_be_written_in_every_usual_way(url: str, scheme: str) -> None:
    with Ledger(url.replace("postgresql", scheme)) as ledger:
        assert ledger.find(Run) == []


def test_many_processes_may_open_a_new_ledger_at_once(url: str) -> None:
    code = "import sys; from broker.store import Ledger; Ledger(sys.argv[1])"
    openers = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(6)]
    assert [opener.wait(timeout=60) for opener in openers] == [0] * 6


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
        for number in range(4)
    ]
    outputs = [writer.communicate("go\n", timeout=60)[0] for writer in writers]
    won = Counter(int(word) for output in outputs for word in output.split() if word != "ready")
    with Ledger(url) as ledger:
        assert sorted(won) == list(range(2, ledger.find(Run)[0].version + 1))
    assert set(won.values()) == {1}


def test_a_killed_writer_loses_nothing_that_was_acknowledged(url: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as sink:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url, "0"], stdout=sink)
    until(lambda: (tmp_path / "out").read_bytes().count(b"\n") > 20)
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    acknowledged = {int(line) for line in (tmp_path / "out").read_text().split("\n")[:-1]}
    with Ledger(url) as ledger:
        kept = {row.id for row in ledger.find(Event)}
    assert {f"ev_{number:08d}" for number in acknowledged} <= kept
    assert set(Counter(name[3:] for name in kept).values()) == {2}, "half a commit is left"


def test_a_violation_in_the_middle_undoes_what_was_written_before_it(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.commit(run("run_b"))
        with pytest.raises(ConflictError, match="run run_b exists already"):
            ledger.commit(run("run_a"), run("run_b"), run("run_c"))
        assert [row.id for row in ledger.find(Run)] == ["run_b"]
        ledger.commit(run("run_a"))


def test_what_is_acknowledged_is_on_disk_whatever_the_server_would_do(
    postgres: Postgres, url: str
) -> None:
    postgres.execute("ALTER ROLE postgres SET synchronous_commit = off")
    try:
        with Ledger(url) as ledger, ledger._writer.begin() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
            assert connection.scalar(text("SHOW lock_timeout")) == f"{BUSY_MS // 1000}s"
            assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"
    finally:
        postgres.execute("ALTER ROLE postgres RESET synchronous_commit")


def test_options_of_the_address_are_left_alone(url: str) -> None:
    with (
        Ledger(f"{url}&options=-c%20lock_timeout%3D1234") as ledger,
        ledger._reader.connect() as connection,
    ):
        assert connection.scalar(text("SHOW lock_timeout")) == "1234ms"


# -------------------------------------------------------------------------------------- revisions


def test_all_migrations_together_make_the_tables_of_the_code(url: str) -> None:
    engine = create_engine(driver(url))
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


def test_a_ledger_of_the_first_release_is_migrated_with_what_it_holds(url: str) -> None:
    engine = create_engine(driver(url))
    with engine.begin() as connection:
        upgrade(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO runs (id, version, name, kind, created_at, state, wanted, keep, reason,"
                " rest) VALUES ('run_1', 1, 'old', 'task', '2026-03-01T12:00:00+00:00', 'failed',"
                " true, false, '', '{\"spec\": {}}')"
            )
        )
    engine.dispose()
    with Ledger(url) as ledger:
        (found,) = ledger.find(Run)
        assert found.name == "old"
        written = ledger.commit(*full_rows()[1:])
        account = next(row for row in written if isinstance(row, Account))
        assert ledger.find(Account) == [account]


def test_a_ledger_of_a_newer_release_and_a_strangers_database_are_refused(
    postgres: Postgres, url: str
) -> None:
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    Ledger(url).close()
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", name)
    with pytest.raises(UsageError, match="revision 9999") as caught:
        Ledger(url)
    assert caught.value.code == "STO006"
    other = postgres.database()
    postgres.execute("CREATE TABLE recipes (name text)", other.split("/")[3].split("?")[0])
    with pytest.raises(UsageError, match="holds something else: recipes"):
        Ledger(other)


# ---------------------------------------------------------------------------------------- trouble


def refused(url: str, kind: type[BrokerError] = BrokerError) -> BrokerError:
    with pytest.raises(kind) as caught:
        Ledger(url)
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value


def test_a_server_that_is_not_there_is_named_with_what_to_check() -> None:
    error = refused("postgresql://broker:secret@127.0.0.1:9/ledger")
    assert error.code == "STO008"
    assert error.message.startswith(
        "the ledger's server cannot be reached: postgresql://broker:***@127.0.0.1:9/ledger: "
    )
    assert "secret" not in str(error)


def test_a_name_that_no_server_has_is_unreachable_too() -> None:
    assert refused("postgresql://broker@no-such-host.invalid/ledger").code == "STO008"


def test_a_user_without_the_password_is_told_where_to_put_it(postgres: Postgres) -> None:
    error = refused(postgres.tcp(), AuthError)
    assert (error.code, error.exit_code) == ("STO009", 4)
    assert "PGPASSWORD" in (error.hint or "")
    assert refused(postgres.tcp(user="nobody:wrong"), AuthError).code == "STO009"
    assert refused(postgres.url(user="nobody"), AuthError).code == "STO009"


def test_a_password_in_the_environment_lets_the_user_in(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.execute("CREATE ROLE keeper LOGIN PASSWORD 'open sesame'")
    postgres.execute("CREATE DATABASE kept OWNER keeper")
    monkeypatch.setenv("PGPASSWORD", "open sesame")
    with Ledger(postgres.tcp("kept", "keeper")) as ledger:
        ledger.commit(run())


def test_a_database_that_is_not_there_is_to_be_made(postgres: Postgres) -> None:
    error = refused(postgres.url("nowhere"))
    assert error.code == "STO011"
    assert "createdb" in (error.hint or "")


def test_a_user_that_may_make_no_tables_is_told_what_to_grant(postgres: Postgres, url: str) -> None:
    postgres.execute("CREATE ROLE guest LOGIN")
    error = refused(url.replace("postgres@", "guest@"))
    assert error.code == "STO010"
    assert "GRANT" in (error.hint or "")


def test_a_server_that_only_reads_is_called_not_writable(postgres: Postgres, url: str) -> None:
    with Ledger(url) as ledger:
        ledger.commit(run())
    name = url.split("/")[3].split("?", maxsplit=1)[0]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Ledger(url) as ledger:
        assert len(ledger.find(Run)) == 1
        with pytest.raises(BrokerError, match="cannot be written") as caught:
            ledger.commit(run("run_2"))
    assert caught.value.code == "STO005"


def test_a_row_that_somebody_else_holds_too_long_is_busy(url: str) -> None:
    with Ledger(f"{url}&options=-c%20lock_timeout%3D100") as ledger:
        (row,) = ledger.commit(run())
        with psycopg.connect(url) as other:
            other.execute("UPDATE runs SET reason = 'mine'")
            with pytest.raises(BrokerError, match="the ledger is busy") as caught:
                ledger.commit(row)
            other.rollback()
        assert caught.value.code == "STO001"
        ledger.commit(row)


def test_a_server_that_was_restarted_is_found_again(own: Postgres) -> None:
    with Ledger(own.database()) as ledger:
        ledger.commit(run())
        own.halt()
        with pytest.raises(BrokerError) as caught:
            ledger.find(Run)
        assert caught.value.code == "STO008"
        own.go_on()
        assert len(ledger.find(Run)) == 1
        ledger.commit(run("run_2"))


def test_a_deadlock_is_a_conflict_that_may_be_tried_again(url: str) -> None:
    """Somebody else locks the same two rows in the other order, by hand."""
    with Ledger(url) as ledger:
        rows = ledger.commit(run("run_a"), run("run_b"))
        outcome: list[object] = []

        def ours() -> None:
            try:
                outcome.append(ledger.commit(*rows))
            except ConflictError as error:
                outcome.append(error)

        with psycopg.connect(url) as other:
            other.execute("UPDATE runs SET reason = 'mine' WHERE id = 'run_b'")
            other.execute("SET deadlock_timeout = '1min'")  # it is we who are to be undone
            thread = threading.Thread(target=ours)
            thread.start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            with psycopg.connect(url, autocommit=True) as watch:
                until(lambda: (watch.execute(waits).fetchone() or (0,))[0] > 0)
            other.execute("UPDATE runs SET reason = 'mine' WHERE id = 'run_a'")
            thread.join(timeout=60)
            other.rollback()
        assert isinstance(outcome[0], ConflictError)
        assert "another transaction came first" in outcome[0].message
        assert [row.version for row in ledger.find(Run)] == [1, 1]


def test_what_nobody_foresaw_keeps_the_servers_own_words(url: str) -> None:
    with Ledger(url) as ledger:
        with pytest.raises(
            BrokerError, match=r"the ledger failed: postgresql://.*too long"
        ) as caught:
            ledger.commit(Event("e" * 129, AT, "s", "", "k", "m"))
        assert caught.value.code == "STO000"


@pytest.mark.parametrize("url", ["mysql://u@h/d", "not an address", "oracle+x://h"])
def test_another_database_is_no_ledger(url: str) -> None:
    error = refused(url, UsageError)
    assert error.code == "STO013"
    assert "postgresql://" in (error.hint or "")


def test_without_the_driver_the_pip_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = refused("postgresql://broker@db/ledger", UsageError)
    assert (error.code, error.hint) == ("STO012", "pip install 'fedbroker[postgres]'")


def test_every_trouble_is_a_brokers_error() -> None:
    from sqlalchemy.exc import OperationalError

    found = trouble("x", OperationalError("s", {}, Exception("disk is full")))
    assert (found.code, found.message) == (
        "STO002",
        "there is no space left for the ledger: x: disk is full",
    )
