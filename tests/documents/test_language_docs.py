"""Law: what the pages about files and the policy language show can be loaded, and is complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.documents.codes import CODES
from broker.documents.config import load_config
from broker.documents.federation import load_federation
from broker.documents.policies import load_policies
from broker.documents.policy_shape import VERBS, CapsShape, LimitsShape, WhenShape
from broker.documents.task import load_task
from broker.policy.cel import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
LANGUAGE = (ROOT / "docs" / "policy-language.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
LOADERS: dict[str, Callable[[Path], object]] = {
    "policy": lambda path: load_policies([path]),
    "Task": load_task,
    "Policy": lambda path: load_policies([path]),
    "Federation": load_federation,
    "Configuration": load_config,
}


def blocks(text: str) -> Iterator[str]:
    yield from re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def whole(block: str) -> str:
    """A block of rules as a file."""
    if not block.startswith("- id:"):
        return block
    return "policy: shown\nrules:\n" + "".join(f"  {line}\n" for line in block.splitlines())


@pytest.mark.parametrize("block", [pytest.param(one, id=one[:30]) for one in blocks(LANGUAGE)])
def test_every_example_of_the_language_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(whole(block))
    policy = load_policies([path])
    assert policy.rules or policy.classes


def test_every_verb_has_an_example() -> None:
    text = "".join(blocks(LANGUAGE))
    for verb in VERBS:
        assert f"{verb}:" in text, verb
        assert f"`{verb}`" in LANGUAGE, verb


def test_every_field_and_variable_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z0-9_.]+)", LANGUAGE))
    fields = {*WhenShape.model_fields, *CapsShape.model_fields, *LimitsShape.model_fields}
    assert fields | set(VARIABLES) <= named
    said = {one for one in named if one.startswith(("offer.", "demand."))}
    assert said <= set(VARIABLES)


def test_every_code_on_the_page_exists() -> None:
    assert set(re.findall(r"\b[A-Z]{3}\d{3}\b", LANGUAGE)) <= set(CODES)


@pytest.mark.parametrize("name", ["Task", "Policy", "Federation", "Configuration"])
def test_the_example_of_a_file_loads(name: str, tmp_path: Path) -> None:
    (block,) = blocks(FILES.split(f"## {name}\n")[1].split("\n## ")[0])
    (tmp_path / "app").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "any.yaml").touch()
    path = tmp_path / "one.yaml"
    path.write_text(block)
    LOADERS[name](path)
