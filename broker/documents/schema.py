"""The shapes of our files as JSON Schema of draft 7, which is what editors read.

Made from the shapes that the loader checks with, so both give one verdict; what a schema cannot
say stands in `docs/policy-language.md`. `$id` names a schema and is no promise of a web page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

from broker.diagnostics import suggest
from broker.errors import NotFoundError

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
BASE: Final = "https://fedbroker.dev/schema/v1"
Json = dict[str, Any]
_OF_NAMES: Final = ("properties", "patternProperties", "$defs", "dependencies")


@dataclass(frozen=True, slots=True)
class File:
    """A kind of file. With `nulls` an empty value means that nothing is said."""

    shape: str  # "module:Shape"
    title: str
    description: str
    nulls: bool = False


FILES: Final = {
    "task": File(
        "broker.documents.task:TaskShape", "Task", "What to run, on what, with which data."
    ),
    "policy": File(
        "broker.documents.policy_shape:PolicyShape",
        "Policy",
        "Rules about where demands may go; every rule of every file applies.",
    ),
    "cases": File(
        "broker.documents.case_shape:CasesShape",
        "Policy cases",
        "What a policy should say of demands and offers.",
    ),
    "federation": File(
        "broker.documents.federation:FederationShape",
        "Federation",
        "A Flower app, the sites that it trains on, and where its aggregator may stand.",
    ),
    "config": File(
        "broker.documents.config_file:ConfigShape",
        "Configuration",
        "Clouds, policies and the agents' gateway of one home.",
        nulls=True,
    ),
}
KINDS: Final = tuple(FILES)


@dataclass(frozen=True, slots=True)
class Explained:
    """One field, for a person. `allowed` are bounds and words; `fields` those of a mapping."""

    path: str
    type: str
    description: str
    required: bool
    allowed: tuple[str, ...] = ()
    fields: tuple[tuple[str, str, bool], ...] = ()  # (name, description, required)


@cache
def schema(kind: str) -> Json:
    """The JSON Schema of a kind of file, one of `KINDS`. Do not change it: it is made once."""
    file = FILES[kind]
    module, _, name = file.shape.partition(":")
    shape = getattr(import_module(module), name)
    made: Json = shape.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    clean = _clean(made, nulls=file.nulls)
    parts = clean.pop("$defs", {})
    for unwanted in ("title", "description"):
        clean.pop(unwanted, None)
    head = {"$schema": DRAFT, "$id": f"{BASE}/{kind}.json", "title": file.title}
    return {**head, "description": file.description, **clean, "definitions": parts}


def modeline(kind: str, where: str = "") -> str:
    """The first line of a file that tells an editor its schema: by its `$id`, or where it lies."""
    return f"# yaml-language-server: $schema={where or f'{BASE}/{kind}.json'}"


def explain(kind: str, path: str) -> Explained:
    """A field by its dotted path, such as `rules.residency`. NotFoundError: there is none."""
    whole = schema(kind)
    options: list[Json] = [whole]
    found: Json = whole
    required = True
    for depth, name in enumerate(filter(None, path.replace("[]", "").split("."))):
        known = dict(_members(whole, options))
        if name not in known:
            before = ".".join(path.split(".")[:depth])
            words = f"no field `{name}` in {f'`{before}` of ' if before else ''}a {kind} file"
            raise NotFoundError(words, hint=suggest(name, known))
        found, required = known[name]
        options = [found]
    return Explained(
        path=path,
        type=" or ".join(dict.fromkeys(_types(whole, found))),
        description=_described(whole, found),
        required=required,
        allowed=tuple(dict.fromkeys(_allowed(whole, found))),
        fields=tuple(
            (name, _described(whole, one), must) for name, (one, must) in _members(whole, [found])
        ),
    )


def _clean(node: Any, *, nulls: bool) -> Any:
    """Without what draft 7 does not know, what an editor need not show, and empty values."""
    if isinstance(node, list):
        return [_clean(one, nulls=nulls) for one in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: _named(one, nulls=nulls) if key in _OF_NAMES else _clean(one, nulls=nulls)
        for key, one in node.items()
        if key != "title" and not (key == "default" and one in (None, {}, [], ()))
    }
    if "patternProperties" in made:  # the names that a mapping may have, and no others
        made.setdefault("additionalProperties", False)
    return _with_reference(_without_null(made, nulls=nulls))


def _named(schemas: Json, *, nulls: bool) -> Json:
    """Of schemas by name, which may be called like a keyword."""
    return {name: _clean(one, nulls=nulls) for name, one in schemas.items()}


def _without_null(node: Json, *, nulls: bool) -> Json:
    options = node.get("anyOf")
    if not options or nulls:
        return node
    left = [one for one in options if one != {"type": "null"}]
    if len(left) == 1:
        return {**left[0], **{key: one for key, one in node.items() if key != "anyOf"}}
    return {**node, "anyOf": left}


def _with_reference(node: Json) -> Json:
    """In draft 7 whatever stands beside a `$ref` is ignored."""
    if "$ref" not in node or len(node) == 1:
        return node
    beside = {key: one for key, one in node.items() if key != "$ref"}
    return {"allOf": [{"$ref": node["$ref"]}], **beside}


def _parts(whole: Json, node: Json) -> Iterator[Json]:
    """The node and all that it refers to or is made of, lists and named entries looked through."""
    yield node
    if "$ref" in node:
        yield from _parts(whole, whole["definitions"][node["$ref"].rpartition("/")[2]])
    if "properties" in node:
        return  # what else stands there only says which of its fields go together
    for one in (*node.get("allOf", ()), *node.get("anyOf", ())):
        yield from _parts(whole, one)


def _members(whole: Json, options: list[Json]) -> Iterator[tuple[str, tuple[Json, bool]]]:
    """The fields below: of a mapping, of each entry of a list, of each named entry."""
    for option in options:
        for part in _parts(whole, option):
            for name, one in part.get("properties", {}).items():
                yield name, (one, name in part.get("required", ()))
            yield from _members(whole, _below(part))


def _below(node: Json) -> list[Json]:
    """What the entries of a list or the values of a mapping of any names are."""
    options = [node.get("items"), node.get("additionalProperties")]
    options += node.get("patternProperties", {}).values()
    return [one for one in options if isinstance(one, dict)]


def _types(whole: Json, node: Json) -> Iterator[str]:
    for part in _parts(whole, node):
        if "items" in part:
            inner = list(dict.fromkeys(_types(whole, part["items"])))
            words = inner[0] if len(inner) == 1 else f"({' or '.join(inner)})"
            yield f"list of {words}"
        elif _below(part):
            yield "mapping of names"
        elif "type" in part:
            names = part["type"] if isinstance(part["type"], list) else [part["type"]]
            yield from (TYPES[name] for name in names if name != "null")


TYPES: Final[Mapping[str, str]] = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
    "null": "nothing",
}
_BOUNDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
}


def _allowed(whole: Json, node: Json) -> Iterator[str]:
    for part in _parts(whole, node):
        if "enum" in part:
            yield ", ".join(str(one) for one in part["enum"])
        bounds = [f"{words} {part[key]}" for key, words in _BOUNDS.items() if key in part]
        if bounds:
            yield ", ".join(bounds)
        if "examples" in part:
            yield "for example " + ", ".join(f"`{_shown(one)}`" for one in part["examples"])
        if "items" in part:
            yield from _allowed(whole, part["items"])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {one}" for key, one in value.items()) + "}"
    return str(value)


def _described(whole: Json, node: Json) -> str:
    return next((part["description"] for part in _parts(whole, node) if "description" in part), "")
