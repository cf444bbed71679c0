"""What leaves the command: results on stdout, everything else on stderr, one shape for failures.

`-o json` makes stdout one document: `{"schema": "broker/<what>/v1", "data": ..., "warnings": [...]}`,
or `{"schema": "broker/error/v1", "error": {...}}` with a non-zero exit. The format is read from
the arguments before they are parsed, so that a wrong argument is answered in the same format.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.errors import BrokerError, DocumentError

if TYPE_CHECKING:
    from broker.diagnostics import Diagnostic
    from broker.model import Location

DOCS = "docs/errors.md"


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    NAME = "name"


OutputOption = Annotated[
    Format,
    typer.Option(
        "--output", "-o", help="table, wide, json, jsonl, csv or name.", show_default=False
    ),
]


def format_of(argv: Sequence[str]) -> Format:
    """The format asked for anywhere before `--`; `table` when it is none or not one of ours."""
    found = "table"
    for position, word in enumerate(argv):
        if word == "--":
            break
        if word in ("-o", "--output") and position + 1 < len(argv):
            found = argv[position + 1]
        elif word.startswith("--output="):
            found = word.removeprefix("--output=")
        elif word.startswith("-o") and not word.startswith("--") and len(word) > 2:
            found = word[2:].removeprefix("=")
    return next((format_ for format_ in Format if format_ == found), Format.TABLE)


def emit(
    schema: str,
    data: Any,
    human: Callable[[], str] | str,
    *,
    output: Format,
    warnings: Iterable[str] = (),
    names: Iterable[str] = (),
) -> None:
    """Print one result. `data` is plain JSON; `human` is the text for a person."""
    warned = list(warnings)
    if output is Format.JSON:
        _write(json.dumps({"schema": f"broker/{schema}/v1", "data": data, "warnings": warned}))
        return
    for text in warned:
        note(f"warning: {text}")
    if output is Format.JSONL:
        rows = data if isinstance(data, list) else [data]
        _write("\n".join(json.dumps(row) for row in rows))
    elif output is Format.CSV:
        _write(_csv(data if isinstance(data, list) else [data]))
    elif output is Format.NAME:
        _write("\n".join(names))
    else:
        _write(human() if callable(human) else human)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each row; a list is joined with `;`, a mapping is JSON, None is empty."""
    import csv
    import io

    header = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _flat(value) for name, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n") if header else ""


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return ";".join(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def note(text: str) -> None:
    """Progress, hints and warnings: for a person, never part of the result."""
    print(text, file=sys.stderr, flush=True)


def show_error(error: BrokerError, output: Format) -> None:
    """A failure in the asked format: JSON on stdout, words on stderr."""
    if output in (Format.JSON, Format.JSONL):
        _write(json.dumps({"schema": "broker/error/v1", "error": error_json(error)}))
    else:
        note(error_text(error))


def error_json(error: BrokerError) -> dict[str, Any]:
    """The members follow RFC 9457; `errors` lists every problem of a file."""
    body: dict[str, Any] = {
        "type": f"{DOCS}#{error.code.lower()}",
        "title": error.title,
        "detail": error.message,
        "code": error.code,
        "exit_code": error.exit_code,
        "location": _location(error.location),
        "hint": error.hint,
        "retryable": error.retryable,
        "docs": f"{DOCS}#{error.code.lower()}",
    }
    if isinstance(error, DocumentError):
        body["errors"] = [_diagnostic(item) for item in error.diagnostics]
    return body


def error_text(error: BrokerError) -> str:
    if isinstance(error, DocumentError):
        from broker.diagnostics import render_all

        return render_all(error.diagnostics)
    lines = [f"error[{error.code}]: {error.message}"]
    if error.location:
        lines.append(f"   --> {error.location}")
    if error.hint:
        lines.append(f"   = tip: {error.hint}")
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain aligned columns: the same in a pipe and on a terminal; numbers stand to the right."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [all(_numeric(row[column]) for row in cells[1:]) for column in range(len(header))]
    return "\n".join(_line(row, widths, right) for row in cells)


def mapping(pairs: Mapping[str, object]) -> str:
    """`key  value` lines with the values under each other."""
    width = max((len(key) for key in pairs), default=0)
    return "\n".join(f"{key:<{width}}  {_cell(value)}" for key, value in pairs.items())


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        text.rjust(width) if to_right else text.ljust(width)
        for text, width, to_right in zip(row, widths, right, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _cell(value: object) -> str:
    """User text is shown as it is, but control characters never reach the terminal."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)


def _numeric(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).replace(",", "").lstrip("-").isdigit()


def _location(where: Location | None) -> dict[str, Any] | None:
    return {"file": where.file, "line": where.line, "col": where.col} if where else None


def _diagnostic(item: Diagnostic) -> dict[str, Any]:
    return {
        "code": item.code,
        "detail": item.message,
        "location": _location(item.location),
        "hint": item.tip,
    }


def _write(text: str) -> None:
    if text:
        print(text, flush=True)
