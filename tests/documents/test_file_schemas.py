"""Law: the schema that an editor has and the loader give one verdict of every file."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from broker.documents.config import load_config
from broker.documents.federation import load_federation
from broker.documents.loader import parse
from broker.documents.policies import load_policies
from broker.documents.schema import schema
from broker.documents.task import load_task
from broker.errors import DocumentError

ROOT = Path(__file__).resolve().parents[2]
WHOLE = Path(__file__).parent / "whole"
LOADERS: dict[str, Callable[[Path], object]] = {
    "task": load_task,
    "policy": lambda path: load_policies([path]),
    "federation": load_federation,
    "config": load_config,
}
# What draft 7 cannot say. Everything else that a loader refuses, its schema must refuse.
BEYOND = {
    "DOC012": "class names that differ in case alone: keys are compared as they are written",
    "POL020": "two rules with one id: the equality of fields of list entries",
    "POL022": "a class whose parent no file defines: that needs all the files",
    "POL023": "classes that descend from each other: a walk over keys",
    "POL024": "an expression's syntax and types: another language",
    "POL026": "a time zone that does not exist: the machine's own table",
    "TSK010": "an accelerator that no catalog knows: the catalog changes",
    "FED020": "an app's folder that is not there: the file system",
    "FED021": "fewer sites wanted than the minimum: two numbers compared",
    "CFG021": "a policy pattern without files: the file system",
    "CFG023": "a reservation that stands twice: the equality of fields of list entries",
}
# The same for values, which no mutation makes: their codes mean other things too.
BEYOND_VALUES = {
    "ten years": "a duration above ten years: the sum of its parts",
    "nine decimals": "an amount with more than nine decimals, as a number: multipleOf is not exact",
    "alternatives": "more than 256 alternatives of resources or 64 accelerators, multiplied",
    "calendar": "a day that its month does not have, such as the 30th of February",
}
POOL: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 7, -1, 2.0, 2.5, 101, 70000, 10**6, 10**6 + 1, 10**9, 10**9 + 1),
    *("", " ", "text", "two words", "NO", "no", "UK", "Norway", "US-VA", "6h", "0h", "6", "1d2h"),
    *("5usd", "$5", "$5$", "usd 5 usd", "5eur", "-3", "4+", "0+", "+4", "1000001", "aws", "asw"),
    *("aws/eu-north-1", "aws/eu-north-1/x", "edge/oslo-01", "asw/eu-north-1", "*", "*/x", "/"),
    *("spot", "SPOT", "spt", "organisation", "organization", "22:00-06:00", "06:00-06:00"),
    *("24:00-06:00", "Mon-Fri 20:00-06:00", "mon,wed 00:00-24:00", "Mo 1:00-2:00", "25:00-26:00"),
    *("A100:8", "A100:0", "A100:x", ":8", "limits.x", "Budget", "budget", "s3://b/p", "s3:", "a/b"),
    *("2027-01-31", "2027-13-01", "31.1.2027", "postgresql://a@b/c", "mysql://a@b/c", "x" * 64),
    *([], {}, ["x"], [1], ["NO", "SE"], [[]], [{}], {"x": 1}, {"site": "a", "project": "b"}),
    *({"uri": "s3://b", "place": "NO"}, {"place": "NO"}, {"country": "NO"}, ["spot", "spt"]),
)
KEYS = ("zzz", "id", "when", "require", "spot", "name", "country", "max_usd_per_hour", "is", "1")


def kind_of(path: Path) -> str:
    if path.parent == WHOLE:
        return path.stem
    text = path.read_text(encoding="utf-8")
    marks = {"policy": r"^policy:", "federation": r"^rounds:", "cases": r"^cases:"}
    return next(
        (kind for kind, mark in marks.items() if re.search(mark, text, re.MULTILINE)), "task"
    )


def shipped() -> Iterator[Path]:
    yield from sorted(WHOLE.glob("*.yaml"))
    for folder in ("examples", "policies"):
        found = sorted((ROOT / folder).rglob("*.yaml"))
        yield from (path for path in found if kind_of(path) in LOADERS)


SHIPPED = list(shipped())


def refused(kind: str, path: Path) -> tuple[list[str], bool]:
    """What the loader says, and whether a schema could have said it."""
    try:
        LOADERS[kind](path)
    except DocumentError as exc:
        said = [f"{one.code} {one.message}" for one in exc.diagnostics]
        return said, any(one.code not in BEYOND for one in exc.diagnostics)
    return [], False


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    steps = list(value) if isinstance(value, dict) else []
    steps = list(range(len(value))) if isinstance(value, list) else steps
    for step in steps:
        yield from paths(value[step], (*above, step))


def mutated(value: Any, dice: random.Random) -> Any:
    """A copy with one thing wrong, or merely different."""
    copy = json.loads(json.dumps(value))
    path = dice.choice([one for one in paths(copy) if one])
    parent = copy
    for step in path[:-1]:
        parent = parent[step]
    last, old = path[-1], parent[path[-1]]
    act = dice.choice(["replace", "replace", "drop", "add", "rename", "spell", "double", "empty"])
    if act == "drop":
        del parent[last]
    elif act == "add" and isinstance(old, dict):
        old[dice.choice(KEYS)] = dice.choice(POOL)
    elif act == "rename" and isinstance(parent, dict):
        parent[dice.choice([last[:-1] or "x", last + "s", last.upper()])] = parent.pop(last)
    elif act == "spell" and isinstance(old, str):
        at = dice.randrange(len(old) + 1)
        parent[last] = old[:at] + dice.choice(["", "!", " ", "x", "0"]) + old[at + 1 :]
    elif act == "double" and isinstance(old, list):
        parent[last] = [*old, *old]
    elif act == "empty":
        parent[last] = type(old)() if isinstance(old, list | dict | str) else None
    else:
        parent[last] = dice.choice(POOL)
    return copy


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_file_is_valid_by_its_schema(path: Path) -> None:
    kind = kind_of(path)
    document = parse(path.read_text(encoding="utf-8"), path, path.name)
    jsonschema.Draft7Validator(schema(kind)).validate(document.root.value)
    said, _ = refused(kind, path)
    assert not [one for one in said if one[:6] not in BEYOND]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_changed_file_gets_one_verdict(path: Path, tmp_path: Path) -> None:
    kind = kind_of(path)
    dice = random.Random(f"{kind} {path.stem}")
    value = parse(path.read_text(encoding="utf-8"), path, path.name).root.value
    judge = jsonschema.Draft7Validator(schema(kind))
    for _ in range(100 if path.parent == WHOLE else 20):
        one = mutated(value, dice)
        file = tmp_path / "one.yaml"
        file.write_text(json.dumps(one), encoding="utf-8")
        said, by_shape = refused(kind, file)
        errors = [f"{error.json_path}: {error.message}" for error in judge.iter_errors(one)]
        assert bool(errors) == by_shape, f"{said}\n{errors}\n{json.dumps(one)}"


def test_the_shipped_cases_are_valid_by_their_schema() -> None:
    """That schema is looser than the loader: which fields of a case go together it does not say."""
    judge = jsonschema.Draft7Validator(schema("cases"))
    for path in sorted((ROOT / "policies").rglob("cases.yaml")):
        judge.validate(parse(path.read_text(encoding="utf-8"), path, path.name).root.value)
    assert not judge.is_valid({"cases": [{"nmae": "x"}]})


def test_what_a_schema_cannot_say_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "policy-language.md").read_text(encoding="utf-8")
    for code, reason in BEYOND.items():
        assert code in text, reason
    for words in BEYOND_VALUES:
        assert words in text
