"""`broker schema`: the JSON Schema of a kind of file, for editors; or what one field takes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.output import Format, OutputOption, emit, note

if TYPE_CHECKING:
    from broker.documents.schema import Explained

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


class FileKind(StrEnum):
    TASK = "task"
    POLICY = "policy"
    CASES = "cases"
    FEDERATION = "federation"
    CONFIG = "config"


@app.command()
def schema(
    kind: Annotated[FileKind, typer.Argument(help="task, policy, cases, federation or config.")],
    *,
    field: Annotated[
        str | None, typer.Option(help="Explain this field, e.g. `rules.residency`.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the schema into this folder, for an editor.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print the JSON Schema (draft 7) of a kind of file, or explain one field of it.

    The `$id` of a schema names it; nothing is fetched from there. With `--write` the schema is put
    into a folder, and the line to put on top of your files is printed.

    Example: `broker schema policy --field rules.residency`
    """
    from broker.documents import schema as schemas

    if field is not None:
        told = schemas.explain(kind, field)
        emit("schema-field", _json(kind, told), lambda: _text(kind, told), output=output)
    elif write is not None:
        _write(kind, write, output)
    else:
        import json

        made = schemas.schema(kind)
        emit("schema", made, lambda: json.dumps(made, indent=2), output=output, names=[made["$id"]])


def _write(kind: FileKind, folder: Path, output: Format) -> None:
    """The file is replaced when it is there: it holds nothing that anybody wrote."""
    import json

    from broker.documents.schema import modeline, schema
    from broker.errors import UsageError

    path = folder / f"{kind}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema(kind), indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        words = f"cannot write {path}: {exc.strerror}"
        raise UsageError(words, code="USE016", hint="name a folder that can be written") from exc
    line = modeline(kind, str(path))
    emit(
        "schema-file",
        {"file": str(path), "modeline": line},
        str(path),
        output=output,
        names=[str(path)],
    )
    note(f"put this line on top of a {kind} file; the path is relative to that file:\n{line}")


def _json(kind: FileKind, told: Explained) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "field": told.path,
        "type": told.type,
        "description": told.description,
        "required": told.required,
        "allowed": list(told.allowed),
        "fields": [
            {"name": name, "description": words, "required": must}
            for name, words, must in told.fields
        ],
    }


def _text(kind: FileKind, told: Explained) -> str:
    from broker.cli.output import mapping, table

    head = {
        "file": kind.value,
        "field": told.path,
        "type": told.type,
        "required": "yes" if told.required else "no",
    }
    parts = [mapping(head), told.description]
    if told.allowed:
        parts.append("\n".join(["allowed", *(f"  {one}" for one in told.allowed)]))
    if told.fields:
        rows = [(f"{name}{' *' if must else ''}", words) for name, words, must in told.fields]
        parts.append(table(("FIELD", "MEANING"), rows))
    return "\n\n".join(part for part in parts if part)
