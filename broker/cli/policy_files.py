"""Which files a policy command is about: those named, those below a folder, those configured."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from broker.errors import UsageError

SUFFIXES: Final = frozenset({".yaml", ".yml"})
MAX_BYTES: Final = 256 * 1024  # a file beyond is none of ours: the loader refuses it


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """The configuration's policy files where none is named. UsageError: a folder without any."""
    named = list(paths)
    return below(named, "policy") if named else _configured()


def case_files(paths: Iterable[Path]) -> list[Path]:
    """Those below the current folder where none is named."""
    return below(list(paths) or [Path()], "cases")


def below(paths: Iterable[Path], key: str) -> list[Path]:
    """Files as they are; of a folder every YAML file with this key at its top, in order of names."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in _walk(path) if _has(file, key)]
        if not inside:
            raise UsageError(
                f"no file below {path} has `{key}:` at its top",
                code="USE014",
                hint=f"name a file, or a folder with files that start with `{key}:`",
            )
        found += inside
    return found


def _configured() -> list[Path]:
    from broker.cli.context import Context

    config = Context().config
    if not config.policy_files:
        raise UsageError(
            "no policy file is named and the configuration has none",
            code="USE014",
            hint="name files or folders, or list them in the configuration's `policies`",
        )
    return [Path(file) for file in config.policy_files]


def _walk(folder: Path) -> Iterator[Path]:
    """What is hidden is left out, and links to folders are not followed."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == "node_modules":
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _walk(entry)
        elif entry.suffix in SUFFIXES:
            yield entry


def _has(file: Path, key: str) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(MAX_BYTES)
    except OSError:
        return False
    top = rf"^{key}\s*:".encode()
    return re.search(top, start.removeprefix(codecs.BOM_UTF8), re.MULTILINE) is not None
