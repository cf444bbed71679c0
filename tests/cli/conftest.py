"""A home of its own for each test, and the command run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import Catalog
from broker.home import find_home


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(scope="session")
def first_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first use of a home builds, built once for all homes."""
    catalog = Catalog(tmp_path_factory.mktemp("first") / "catalog.db")
    catalog.ensure()
    return catalog.path


@pytest.fixture(autouse=True)
def _built(first_catalog: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_HOME", str(home))
    target = find_home().make().catalog
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(first_catalog, target)


@pytest.fixture
def broker(home: Path, tmp_path: Path) -> Callable[..., Done]:
    """Run `broker` in its own process, without a terminal, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: str, timeout: float = 120, cwd: Path = work) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "broker.cli.main", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            cwd=cwd,
            env={**os.environ, "BROKER_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "100"},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Put a file into the folder where `broker` runs; returns its name."""

    def put(name: str, text: str) -> str:
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / "work" / name).write_text(text)
        return name

    return put
