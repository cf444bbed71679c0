"""Homes that share a ledger see each other's runs and machines, and keep passwords out of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.cli.context import Context
from broker.errors import UsageError
from broker.home import Home, home_at
from tests.admission.conftest import Desk, asked
from tests.stands.postgres import Postgres


def home(tmp_path: Path, name: str, ledger: str, more: str = "") -> Home:
    found = home_at(tmp_path / name).make()
    found.config.write_text(f"ledger: {ledger}\n{more}")
    return found


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    name = postgres.database().split("/")[3].split("?", maxsplit=1)[0]
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'open' SUPERUSER")
    monkeypatch.setenv("PGPASSWORD", "open")
    return postgres.tcp(name, name)


def test_two_homes_see_the_same_runs_and_tag_their_machines_alike(url: str, tmp_path: Path) -> None:
    one, other = (Context(home(tmp_path, name, url)) for name in "ab")
    assert one.ledger_exists
    rows = one.store.commit(*Desk().rows(asked()))
    assert other.store.find(type(rows[0])) == [rows[0]]
    assert one.owner == other.owner
    assert one.owner.startswith("own_")
    assert not one.home.ledger.exists()


def test_this_machine_belongs_to_the_home_that_enables_it(url: str, tmp_path: Path) -> None:
    """Another home's engine would look for its machines here, and not find them."""
    plain = Context(home(tmp_path, "a", url))
    assert "local" not in plain.providers
    assert plain.owned_offers(local=True) == []
    enabled = Context(
        home(tmp_path, "b", url, "clouds:\n  local: {provider: local, country: NO}\n")
    )
    assert "local" in enabled.providers
    assert [offer.cloud for offer in enabled.owned_offers()] == ["local"]


def test_a_home_of_its_own_has_this_machine_and_its_own_tag(tmp_path: Path) -> None:
    alone, other = (Context(home_at(tmp_path / name).make()) for name in "ab")
    assert alone.shared_ledger is None
    assert "local" in alone.providers
    assert alone.owner != other.owner


@pytest.mark.parametrize(
    "address",
    ["postgresql://broker:secret@db/ledger", "postgresql://broker@db/ledger?password=secret"],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _ = Context(home(tmp_path, "a", address)).store
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"
