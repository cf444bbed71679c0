"""Law: schemas are draft 7, every field explains itself, and the command prints and writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from broker.cli.main import run
from broker.documents.schema import DRAFT, KINDS, explain, modeline, schema
from broker.errors import NotFoundError

NEW = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "$dynamicRef"}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            yield from nodes(one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one_of_draft_7(kind: str) -> None:
    made = schema(kind)
    jsonschema.Draft7Validator.check_schema(made)
    assert made["$schema"] == DRAFT
    assert made["$id"] == f"https://fedbroker.dev/schema/v1/{kind}.json"
    assert made["title"]
    assert made["additionalProperties"] is False
    assert not [one for one in nodes(made) if NEW & one.keys()]
    assert not [one for one in nodes(made) if "$ref" in one and len(one) > 1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_schema_says_what_it_is_for(kind: str) -> None:
    for node in nodes(schema(kind)):
        if node.get("type") != "object" or "properties" not in node:
            continue
        for name, one in node["properties"].items():
            assert one.get("description"), name


def test_a_reference_leads_somewhere() -> None:
    for kind in KINDS:
        made = schema(kind)
        named = {one["$ref"] for one in nodes(made) if "$ref" in one}
        assert named == {f"#/definitions/{name}" for name in made["definitions"]}


def test_a_schema_is_made_once() -> None:
    assert schema("policy") is schema("policy")


def test_a_field_is_explained_by_its_path() -> None:
    told = explain("policy", "rules.residency")
    assert told.type == "mapping"
    assert [name for name, _, _ in told.fields][:2] == ["country", "bloc"]
    assert explain("policy", "rules[].residency.of").allowed == (
        "machine, aggregator, bucket, checkpoint, log",
    )
    assert explain("task", "num_nodes").allowed == ("at least 1, at most 1000000",)
    assert explain("policy", "classes.is").type == "text or list of text"
    assert explain("config", "clouds").type == "mapping of names"
    told = explain("config", "clouds.reservations")
    assert [(name, must) for name, _, must in told.fields if must] == [
        ("id", True),
        ("instance_type", True),
        ("count", True),
    ]
    assert explain("policy", "").fields


def test_every_field_of_every_file_can_be_explained() -> None:
    def walk(kind: str, path: str) -> int:
        told = explain(kind, path)
        assert told.type, path
        assert told.description, path
        inner = [f"{path}.{name}".removeprefix(".") for name, _, _ in told.fields]
        return 1 + sum(walk(kind, one) for one in inner if one.count(".") < 5)

    assert sum(walk(kind, "") for kind in KINDS) > 150


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("rulez", "no field `rulez` in a policy file"),
        ("rules.spott", "no field `spott` in `rules` of a policy file"),
        ("policy.x", "no field `x` in `policy` of a policy file"),
    ],
)
def test_a_field_that_is_not_there_has_a_suggestion(path: str, words: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        explain("policy", path)
    assert missing.value.message == words
    assert missing.value.hint == {"rulez": "did you mean `rules`?"}.get(
        path, "did you mean `spot`?" if "spott" in path else None
    )


def test_a_line_for_editors_names_the_schema_or_its_place() -> None:
    assert modeline("task") == (
        "# yaml-language-server: $schema=https://fedbroker.dev/schema/v1/task.json"
    )
    assert modeline("task", "s/task.json") == "# yaml-language-server: $schema=s/task.json"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_prints_a_schema(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", kind]) == 0
    assert json.loads(capsys.readouterr().out) == schema(kind)
    assert run(["schema", kind, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["data"]) == ("broker/schema/v1", schema(kind))


def test_the_command_explains_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "policy", "--field", "rules.budget"]) == 0
    text = capsys.readouterr().out
    assert "What each project may spend in a month." in text
    assert "usd_per_month *" in text
    assert run(["schema", "policy", "--field", "rules.spot.allow", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["type"], data["required"]) == ("true or false", False)
    assert run(["schema", "policy", "--field", "rules.residency.of"]) == 0
    assert "machine, aggregator" in capsys.readouterr().out


def test_a_wrong_field_leaves_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "task", "--field", "resource"]) == 10
    assert "did you mean `resources`?" in capsys.readouterr().err
    assert run(["schema", "tusk"]) == 2


def test_the_command_writes_a_schema_for_an_editor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["schema", "policy", "--write", "schemas"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "schemas/policy.json\n"
    assert "# yaml-language-server: $schema=schemas/policy.json" in printed.err
    assert json.loads((tmp_path / "schemas" / "policy.json").read_text()) == schema("policy")
    (tmp_path / "file").touch()
    assert run(["schema", "policy", "--write", "file"]) == 2
    assert "cannot write file/policy.json" in capsys.readouterr().err
