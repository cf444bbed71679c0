"""Worlds for the provider tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.sandbox.starter import Sandbox

pytest.register_assert_rewrite("tests.providers.conformance")

_owners = itertools.count(1)


@pytest.fixture(scope="session")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One emulated EC2 for the whole session; tests keep apart by owner."""
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, without faults before and after."""
    calm = {"capacity": {}, "fail": [], "drop": {}, "cut": {}, "lag": 0, "forgetful": False}
    running_sandbox.control(**calm)
    yield running_sandbox
    running_sandbox.control(**calm)


@pytest.fixture
def owner() -> str:
    return f"owner-{next(_owners)}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "machines"
