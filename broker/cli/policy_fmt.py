"""`broker policy fmt`: the one layout of policy files, written or only compared."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from broker.cli.output import Format, emit
from broker.cli.policy_files import policy_files
from broker.diagnostics import Diagnostic
from broker.errors import DocumentError, UsageError


@dataclass(frozen=True, slots=True)
class Formatted:
    path: Path
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


def format_files(paths: Sequence[Path], *, check: bool, diff: bool, output: Format) -> None:
    """Nothing is written while one file is invalid. Leaves with 1 where `check` finds a change."""
    found = _format(policy_files(paths))
    changed = [one for one in found if one.changed]
    if not check:
        for one in changed:
            _write(one)
    emit(
        "policy-fmt",
        {
            "files": [{"file": str(one.path), "changed": one.changed} for one in found],
            "written": not check,
        },
        lambda: _text(found, check=check, diff=diff),
        output=output,
        names=[str(one.path) for one in changed],
    )
    if check and changed:
        raise typer.Exit(1)


def _format(files: Sequence[Path]) -> list[Formatted]:
    """All of them; what is wrong with any at once."""
    from broker.documents.fmt import format_policy
    from broker.documents.loader import read, shown

    found: list[Formatted] = []
    problems: list[Diagnostic] = []
    for path in files:
        try:
            read(path)  # says in its own words what cannot be opened
            text = path.read_bytes().decode("utf-8")
            found.append(Formatted(path, text, format_policy(text, shown(path))))
        except DocumentError as error:
            problems += error.diagnostics
    if problems:
        raise DocumentError(problems)
    return found


def _write(one: Formatted) -> None:
    """In one step, so that the file has the old text or the new one; its mode stays."""
    target = one.path.resolve()
    draft = target.with_name(f".{target.name}.draft")
    try:
        draft.write_text(one.after, encoding="utf-8", newline="")
        shutil.copymode(target, draft)
        draft.replace(target)
    except OSError as error:
        raise UsageError(
            f"cannot write {one.path}: {error.strerror}",
            code="USE015",
            hint="`--check` only compares",
        ) from error


def _text(found: Sequence[Formatted], *, check: bool, diff: bool) -> str:
    changed = [one for one in found if one.changed]
    lines = [_diff(one) for one in changed] if diff else []
    lines += [f"{'would format' if check else 'formatted'} {one.path}" for one in changed]
    done = len(found) - len(changed)
    lines.append(f"{done} of {len(found)} files {'are' if check else 'were'} in form already")
    return "\n".join(lines)


def _diff(one: Formatted) -> str:
    before, after = (text.splitlines() for text in (one.before, one.after))
    lines = difflib.unified_diff(before, after, str(one.path), str(one.path), lineterm="")
    return "\n".join(lines)
