"""Law: a bad file gives exactly these words, at these places, and all of its problems at once.

`GOLDEN=write` writes the expected texts anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.cli.output import error_json, error_text
from broker.documents.config import load_config
from broker.documents.federation import load_federation
from broker.documents.policies import load_policies
from broker.documents.task import load_task
from broker.errors import DocumentError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "documents"
ACCELERATORS = frozenset({"A100", "A100-80GB", "A10G", "H100", "tpu-v5e"})
LOADERS: dict[str, Callable[[Path], object]] = {
    "task": lambda path: load_task(path, ACCELERATORS),
    "policy": lambda path: load_policies([path]),
    "federation": load_federation,
    "config": load_config,
}
MADE = {
    "task-missing-file": None,
    "task-too-deep": "run: " + "[" * 40 + "]" * 40 + "\n",
    "task-too-big": "run: |\n" + "  echo hello\n" * 22_000,
    "task-too-many-values": "envs:\n" + "".join(f"  K{n}: {n}\n" for n in range(6000)),
    "task-empty": "# nothing but a remark\n",
    "task-not-utf8": b"name: finetune\nrun: echo gr\xfc\xdf\n",
    "task-control-character": "name: fine\x1b[31mtune\nrun: echo\n",
}
NAMES = sorted({path.stem for path in GOLDEN.glob("*.yaml")} | set(MADE))


def place(name: str, folder: Path) -> Path:
    target = folder / f"{name}.yaml"
    made = MADE.get(name)
    if isinstance(made, bytes):
        target.write_bytes(made)
    elif made is not None:
        target.write_text(made, encoding="utf-8")
    elif name not in MADE:
        shutil.copy(GOLDEN / target.name, target)
    return target


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_file_is_refused_with_these_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = place(name, tmp_path)
    with pytest.raises(DocumentError) as caught:
        LOADERS[name.partition("-")[0]](path)
    text = error_text(caught.value) + "\n"
    document = json.dumps(error_json(caught.value), indent=1) + "\n"
    assert_golden(f"{name}.txt", text)
    assert_golden(f"{name}.json", document)
    assert str(tmp_path) not in text + document
    assert "Traceback" not in text


def assert_golden(name: str, text: str) -> None:
    expected = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_every_golden_text_has_its_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(NAMES)
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(NAMES)


def test_there_are_enough_of_them() -> None:
    kinds = [name.partition("-")[0] for name in NAMES]
    assert kinds.count("policy") >= 25
    assert kinds.count("policy") + kinds.count("task") >= 40


def test_every_problem_has_its_place_and_its_caret() -> None:
    """Of problems with text on the line; what is wrong with a whole file has no caret."""
    for path in GOLDEN.glob("*.json"):
        problems = json.loads(path.read_text())["errors"]
        text = path.with_suffix(".txt").read_text()
        assert text.count("error[") == len(problems)
        for one in problems:
            where = one["location"]
            assert f"--> {where['file']}:{where['line']}:{where['col']}" in text
            assert one["code"].startswith("DOC0") or "^" in text
