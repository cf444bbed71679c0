"""One PostgreSQL for the whole session of this worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stands.postgres import Postgres, started


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = started()
    yield server
    server.stop()
