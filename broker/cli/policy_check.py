"""`broker policy check`: every error, and what a linter would say, in the form that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from broker.cli.output import Format, emit, note, show_error, table
from broker.cli.policy_files import policy_files
from broker.cli.reports import Check, Level, Mark, Report, github, junit, mark_json, sarif
from broker.errors import DocumentError
from broker.model import Location

if TYPE_CHECKING:
    from broker.policy.rules import Policy


def check_files(
    paths: Sequence[Path], *, strict: bool, report: Report | None, output: Format
) -> None:
    """Leaves with 2 when a file is invalid, or a warning is found and `strict`."""
    from broker.documents.policies import load_policies

    files = policy_files(paths)
    try:
        policy = load_policies(files)
    except DocumentError as error:
        refuse(error, [str(path) for path in files], report)
    marks = warnings(policy)
    if report in (Report.GITHUB, Report.SARIF, Report.JUNIT):
        show(report, marks, policy.files)
    else:
        _show_result(policy, marks, Format.JSON if report is Report.JSON else output)
    if strict and marks:
        raise typer.Exit(2)


def refuse(error: DocumentError, files: Sequence[str], report: Report | None) -> NoReturn:
    """What is wrong with the files, as the result of the command where a report is asked for."""
    if report in (None, Report.TEXT):
        raise error
    if report is Report.JSON:
        show_error(error, Format.JSON)
    else:
        show(report, [Mark(Level.ERROR, one) for one in error.diagnostics], files)
    raise typer.Exit(error.exit_code)


def show(report: Report | None, marks: Sequence[Mark], files: Sequence[str]) -> None:
    """The marks as a GitHub, SARIF or JUnit report on stdout."""
    if report is Report.GITHUB:
        text = github(marks)
    elif report is Report.SARIF:
        from importlib.metadata import version

        text = sarif(marks, meanings(), version("fedbroker"))
    else:
        text = junit("policy check", _checks(marks, files))
    if text:
        print(text)


def warnings(policy: Policy) -> list[Mark]:
    from broker.cli.policy_lint import lint

    return [Mark(Level.WARNING, one) for one in lint(policy)]


def meanings() -> dict[str, str]:
    """Every code that a policy or case file can carry, and what it means."""
    from broker.cli.policy_lint import MEANINGS
    from broker.documents.codes import CODES

    ours = {code: words for code, words in CODES.items() if code.startswith(("DOC", "POL", "CAS"))}
    return {**ours, **MEANINGS}


def _checks(marks: Sequence[Mark], files: Sequence[str]) -> list[Check]:
    """One for each file, those that only a problem names included."""
    every = dict.fromkeys([*files, *(mark.problem.location.file for mark in marks)])
    return [
        Check(
            name=file,
            group="policy",
            where=Location(file),
            failures=tuple(mark for mark in marks if mark.problem.location.file == file),
        )
        for file in every
    ]


def _show_result(policy: Policy, marks: Sequence[Mark], output: Format) -> None:
    counts = [
        sum(bool(rule.location and rule.location.file == file) for rule in policy.rules)
        for file in policy.files
    ]
    rows = list(zip(policy.files, policy.names, counts, strict=True))
    if output is not Format.JSON:
        for mark in marks:
            note(f"{mark.render()}\n")
    emit(
        "policy-check",
        {
            "files": [{"file": file, "policy": name, "rules": n} for file, name, n in rows],
            "rules": len(policy.rules),
            "classes": sorted({one.name for one in policy.classes}),
            "findings": [mark_json(mark) for mark in marks],
        },
        lambda: f"{table(['FILE', 'POLICY', 'RULES'], rows)}\n{_total(policy, marks)}",
        output=output,
        warnings=[_line(mark) for mark in marks] if output is Format.JSON else (),
        names=policy.files,
    )


def _total(policy: Policy, marks: Sequence[Mark]) -> str:
    rules, files = _counted(len(policy.rules), "rule"), _counted(len(policy.files), "file")
    return f"{rules} in {files}: no errors, {_counted(len(marks), 'warning')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _line(mark: Mark) -> str:
    return f"{mark.problem.code} {mark.problem.location}: {mark.problem.message}"
