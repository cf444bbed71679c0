"""Files for a test, and the problems that a loader finds in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from broker.errors import DocumentError


@pytest.fixture
def a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`a_file("run: echo", name="task.yaml")`; its folder is the current one."""
    monkeypatch.chdir(tmp_path)

    def make(text: str, name: str = "file.yaml") -> Path:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return make


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """`problems(load_task, path)`: `CODE line:col message` of everything that is wrong."""

    def find(load: Callable[..., object], *arguments: object) -> list[str]:
        with pytest.raises(DocumentError) as caught:
            load(*arguments)
        return [
            f"{one.code} {one.location.line}:{one.location.col} {one.message}"
            for one in caught.value.diagnostics
        ]

    return find
