"""Changes the configuration file without losing its comments and order.

Values are set through ruamel's round trip. A key is taken out by its lines, because the round trip
counts the comment above the next key to the one before it and would drop both. What comes out is
read again before it is written: it must say exactly what was meant.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.documents.atomic import write_private
from broker.documents.check import check
from broker.documents.config_file import (
    AREA,
    CATALOGS,
    EMPTY,
    KNOWN,
    ConfigShape,
    read_or_none,
)
from broker.documents.loader import parse, shown
from broker.documents.schema import modeline
from broker.errors import DocumentError, NotFoundError, UsageError

CLOUDS: Final = "clouds"
DRAFT: Final = Path("draft")


def set_cloud(
    path: str | os.PathLike[str],
    name: str,
    mapping: Mapping[str, Any],
    catalogs: Collection[str] = CATALOGS,
) -> None:
    """Add or replace one entry of `clouds`; the file is made when there is none, for editors too.

    UsageError: the entry would not be valid. DocumentError: the present file cannot be read.
    """
    _check_entry(name, mapping, catalogs)
    text = _text(Path(path)) if Path(path).exists() else modeline("config")
    before = _plain(text)
    clouds = before.get(CLOUDS) or {}
    for key in clouds.get(name) or {}:
        if key not in mapping:
            text = _without(text, (CLOUDS, name, key))
    meant = {**before, CLOUDS: {**clouds, name: _lists(mapping)}}
    _save(Path(path), _with(text, name, _lists(mapping)), meant)


def remove_cloud(path: str | os.PathLike[str], name: str) -> None:
    """Take one entry out of `clouds`. NotFoundError: there is none."""
    text = _text(Path(path))
    before = _plain(text)
    clouds = before.pop(CLOUDS, None) or {}
    if name not in clouds:
        words = f"no cloud `{name}` in {shown(path)}"
        raise NotFoundError(words, hint="`broker cloud list` shows them")
    left = {key: value for key, value in clouds.items() if key != name}
    meant = {**before, CLOUDS: left} if left else before
    _save(Path(path), _without(text, (CLOUDS, name)), meant)


def _check_entry(name: str, mapping: Mapping[str, Any], catalogs: Collection[str]) -> None:
    try:
        document = parse(_dump({CLOUDS: {name: _lists(mapping)}}), DRAFT, "entry")
        check(document, ConfigShape, AREA, context={KNOWN: catalogs})
    except DocumentError as exc:
        raise UsageError(exc.message, code=exc.code, hint=exc.hint) from exc


def _lists(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(val) if isinstance(val, tuple) else val for key, val in mapping.items()}


def _text(path: Path) -> str:
    """The file's text once it is known to be a sound mapping; empty when there is none."""
    if not path.exists():
        return ""
    document = read_or_none(path)
    if document is None:
        return path.read_text(encoding="utf-8")
    root = document.root.value
    sound = isinstance(root, dict) and isinstance(root.get(CLOUDS) or {}, dict)
    if document.problems or not sound:
        check(document, ConfigShape, AREA, nulls=True)
    return "\n".join(document.lines)


def _plain(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = parse(text, DRAFT, "draft").root.value
    except DocumentError as exc:
        if exc.code == EMPTY:
            return {}
        raise
    return found


def _without(text: str, path: Sequence[str]) -> str:
    """The text without one key; without the mapping around it, when that would be left empty."""
    document = parse(text, DRAFT, "draft")
    parent = document.node(path[:-1])
    if len(parent.keys) == 1 and len(path) > 1:
        return _without(text, path[:-1])
    if not parent.block:
        return _deleted(text, path)
    start = parent.keys[path[-1]].line
    around = [document.node(path[:depth]).keys.values() for depth in range(len(path))]
    below = [where.line for keys in around for where in keys if where.line > start]
    stop = min(below, default=len(document.lines) + 1)
    while stop - 1 > start and _is_remark(document.lines[stop - 2]):
        stop -= 1
    return "\n".join(document.lines[: start - 1] + document.lines[stop - 1 :])


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _deleted(text: str, path: Sequence[str]) -> str:
    """The same for a mapping in braces, which has no lines of its own."""
    tree = node = _yaml().load(text)
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return _dump(tree)


def _with(text: str, name: str, mapping: Mapping[str, Any]) -> str:
    tree = _yaml().load(text) if _plain(text) else _remarks(text)
    clouds = tree.get(CLOUDS)
    if not clouds:
        clouds = tree[CLOUDS] = {}
    entry = clouds.setdefault(name, {})
    for key, value in mapping.items():
        if entry.get(key) != value:
            entry[key] = value
    return _dump(tree)


def _remarks(text: str) -> Any:
    """An empty tree under the comments of a text that holds nothing else."""
    from ruamel.yaml.comments import CommentedMap

    tree = CommentedMap()
    lines = [line.strip().removeprefix("#").removeprefix(" ") for line in text.splitlines()]
    if any(lines):
        tree.yaml_set_start_comment("\n".join(lines))
    return tree


def _save(path: Path, text: str, meant: Mapping[str, Any]) -> None:
    if not _says(text, meant):
        words = f"{shown(path)} is written in a way that cannot be changed without harm"
        raise UsageError(words, hint="change it in an editor")
    write_private(path, text)


def _says(text: str, meant: Mapping[str, Any]) -> bool:
    try:
        return _plain(text) == meant
    except DocumentError:
        return False


def _dump(tree: Any) -> str:
    out = io.StringIO()
    _yaml().dump(tree, out)
    return out.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
