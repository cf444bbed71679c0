"""Reads one YAML file within bounds: everything is refused or known, with its place, at once.

The tree is built from the parser's stream of events, so a file that is too deep, too long or full
of aliases is refused while it is read and nothing is ever expanded. Scalars mean what YAML 1.2
says (see `scalars`), so that `[NO, SE]` are two countries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from broker.diagnostics import Diagnostic
from broker.documents.builder import Builder, StopReading
from broker.documents.tree import Document, source_line
from broker.errors import DocumentError
from broker.model import Location

MAX_BYTES: Final = 256 * 1024
LINE_END: Final = re.compile(r"\r\n|\n|\r")
TIPS: Final = {
    "\\t": "indent with spaces: YAML does not allow tabs there",
    "mapping values are not allowed": "put a text with `: ` in quotes, and check the indent",
    "could not find expected ':'": "a key needs a colon and a space behind it",
    "block end": "check the indent of this line and the lines above",
    "stream end": "a quote or bracket is not closed",
    "special characters": "leave it out; in double quotes it may stand as an escape like \\x1b",
    "cannot start any token": "put a text that starts with this character in quotes",
}


def read(path: str | os.PathLike[str]) -> Document:
    """The file as a tree. DocumentError: it cannot be read, is not YAML or is out of bounds.

    Repeated keys, tags and impossible numbers are kept in `problems`, so that a shape check can
    add its own; all else ends here.
    """
    file = shown(path)
    return parse(_text(Path(path), file), Path(path), file)


def parse(text: str, path: Path, file: str) -> Document:
    """A document from text that is already read."""
    lines = tuple(LINE_END.split(text))
    builder = Builder(file, lines)
    try:
        for event in _events(text):
            builder.take(event)
    except StopReading:
        pass
    except Exception as exc:  # noqa: BLE001  whatever the parser trips over is a fault of the text
        builder.problems.append(_syntax(exc, builder, text))
        builder.broken = True
    if not builder.problems and (builder.root is None or builder.root.value is None):
        builder.problems.append(_alone("DOC015", "the file is empty", file))
    if builder.root is None or builder.broken or builder.root.value is None:
        raise DocumentError(builder.problems)
    return Document(path, file, lines, builder.root, tuple(builder.problems))


def shown(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: relative where it lies below the current folder."""
    text = os.fspath(path)
    if not Path(text).is_absolute():
        return os.path.normpath(text)
    relative = os.path.relpath(text)
    return text if relative.startswith("..") else relative


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML

    events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
    return events


def _text(path: Path, file: str) -> str:
    raw = _bytes(path, file)
    if len(raw) > MAX_BYTES:
        tip = "split it, or move long scripts into files of their own"
        raise DocumentError([_alone("DOC005", "the file is larger than 256 KiB", file, tip)])
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise DocumentError([_not_utf8(raw, exc.start, file)]) from exc


def _bytes(path: Path, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        tip = _neighbour(path)
        raise DocumentError([_alone("DOC002", f"there is no file {file}", file, tip)]) from exc
    except IsADirectoryError as exc:
        tip = "name a file in it"
        raise DocumentError([_alone("DOC003", f"{file} is a folder", file, tip)]) from exc
    except (OSError, ValueError) as exc:
        words = getattr(exc, "strerror", None) or str(exc)
        raise DocumentError([_alone("DOC004", f"cannot read {file}: {words}", file)]) from exc


def _neighbour(path: Path) -> str | None:
    """A YAML file of a similar name in the same folder."""
    from broker.diagnostics import suggest

    try:
        names = [item.name for item in path.parent.iterdir() if item.suffix in {".yaml", ".yml"}]
    except OSError:
        return None
    tip = suggest(path.name, names)
    return tip if tip and tip.startswith("did you mean") else None


def _not_utf8(raw: bytes, at: int, file: str) -> Diagnostic:
    before = raw[:at].decode("utf-8", errors="replace")
    return Diagnostic(
        "DOC006",
        f"byte {raw[at]:#04x} is not UTF-8 text",
        _location_at(before, len(before), file),
        "save the file as UTF-8",
    )


def _location_at(text: str, at: int, file: str) -> Location:
    lines = LINE_END.split(text[:at])
    return Location(file, len(lines), len(lines[-1]) + 1)


def _alone(code: str, message: str, file: str, tip: str | None = None) -> Diagnostic:
    return Diagnostic(code, message, Location(file), tip)


def _syntax(exc: Exception, builder: Builder, text: str) -> Diagnostic:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    words = getattr(exc, "problem", None) or getattr(exc, "context", None)
    if mark is not None:
        location = Location(builder.file, mark.line + 1, mark.column + 1)
    elif hasattr(exc, "position"):  # a character that YAML does not allow at all
        location, words = (
            _location_at(text, exc.position, builder.file),
            str(getattr(exc, "reason", "")),
        )
    else:  # such as an escape that no character has
        location = builder.last
    words = " ".join(str(words or "what follows here cannot be read").split())
    tip = next((tip for part, tip in TIPS.items() if part in words), None)
    return Diagnostic("DOC007", words, location, tip, source_line(builder.lines, location))
