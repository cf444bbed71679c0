"""Law: every code has one meaning in one table, and every field of every file explains itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from broker.documents.check import fields_of
from broker.documents.codes import CODES
from broker.documents.config_file import ConfigShape
from broker.documents.federation import FederationShape
from broker.documents.fields import Shape
from broker.documents.policy_shape import PolicyShape
from broker.documents.task import TaskShape

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "documents"
FILES: tuple[type[BaseModel], ...] = (TaskShape, FederationShape, PolicyShape, ConfigShape)


def shapes(base: type[BaseModel] = Shape) -> Iterator[type[BaseModel]]:
    for one in base.__subclasses__():
        yield one
        yield from shapes(one)


def test_every_code_that_a_message_carries_is_in_the_table() -> None:
    texts = [path.read_text() for path in GOLDEN.glob("*.txt")]
    texts += [path.read_text() for path in (ROOT / "broker" / "documents").glob("*.py")]
    used = {
        code for text in texts for code in re.findall(r"\b(?:DOC|TSK|FED|POL|CAS|CFG)\d{3}\b", text)
    }
    assert used <= set(CODES)


def test_every_meaning_is_one_line() -> None:
    assert all(0 < len(words) < 80 and "\n" not in words for words in CODES.values())


@pytest.mark.parametrize("shape", sorted(set(shapes()), key=lambda one: one.__name__))
def test_every_field_describes_itself(shape: type[BaseModel]) -> None:
    for name, field in shape.model_fields.items():
        assert field.description, f"{shape.__name__}.{name}"
        assert field.description.endswith("."), f"{shape.__name__}.{name}"


@pytest.mark.parametrize("shape", FILES)
def test_every_file_has_a_json_schema(shape: type[BaseModel]) -> None:
    assert shape.model_json_schema()["type"] == "object"


def test_the_fields_of_a_shape_are_found_along_a_path() -> None:
    assert "class" in fields_of(TaskShape, ["data"])
    assert "cpus" in fields_of(TaskShape, ["resources", "any_of", 3])
    assert "country" in fields_of(PolicyShape, ["rules", 0, "require"])
    assert "regions" in fields_of(ConfigShape, ["clouds", "aws"])
    assert fields_of(TaskShape, ["run"]) == []
    assert fields_of(TaskShape, ["no", "such", "path"]) == []
