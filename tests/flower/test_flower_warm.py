"""A warm start learns installed modules from its tasks, and nothing else; naps get shorter, no longer."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

import pytest

from edge.flower import quick, warm

LESSON = "xml.dom.expatbuilder"


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed module that this process has not loaded, and will forget again."""
    monkeypatch.delitem(sys.modules, LESSON, raising=False)
    return LESSON


def test_a_module_that_a_task_had_loaded_is_loaded_before_the_next(unloaded: str) -> None:
    lessons = warm.Lessons()
    module = __import__(unloaded, fromlist=["x"])
    lessons.tell()
    del sys.modules[unloaded]
    lessons.apply()
    assert sys.modules[unloaded] is not module
    lessons.apply()
    lessons.tell()
    assert lessons._told() == []


def test_a_module_of_the_app_is_never_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "the_app_itself.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    lessons = warm.Lessons()
    __import__("the_app_itself")
    lessons.tell()
    assert "the_app_itself" not in lessons._told()
    del sys.modules["the_app_itself"]


def test_a_name_that_is_told_and_not_installed_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    lessons = warm.Lessons()
    names = ["planted", "not.there", ".", "", "a..b"]
    warm.os.write(lessons._write, b"".join(name.encode() + b"\n" for name in names))
    lessons.apply()
    assert "planted" not in sys.modules


def test_a_module_that_cannot_be_loaded_is_left_to_the_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lessons = warm.Lessons()
    warm.os.write(lessons._write, b"xml.not_there\nhal")
    lessons.apply()
    assert "not kept warm: xml.not_there" in capsys.readouterr().out
    warm.os.write(lessons._write, b"f\n")
    assert lessons._told() == ["half"]


def test_naps_are_shortened_in_one_module_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    module = types.ModuleType("napping")
    module.time = time  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "napping", module)
    monkeypatch.setattr(quick, "MODULE", "napping")
    monkeypatch.setattr(quick.time, "sleep", slept.append)
    quick.shorten(0.5)
    module.time.sleep(3)
    module.time.sleep(0.1)
    time.sleep(3)
    assert slept == [0.5, 0.1, 3]
    assert module.time.monotonic is time.monotonic
