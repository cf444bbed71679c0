"""Problems in the forms that other programs read: GitHub annotations, SARIF 2.1.0, JUnit XML.

Each form is a function from values to text; which of them is wanted is the option `--format`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

if TYPE_CHECKING:
    from broker.diagnostics import Diagnostic
    from broker.model import Location


class Report(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


ReportOption = Annotated[
    Report | None,
    typer.Option("--format", help="text, json, github, sarif or junit.", show_default=False),
]


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Mark:
    """A problem and how bad it is."""

    level: Level
    problem: Diagnostic

    def render(self) -> str:
        """As a person reads it: `error[POL002]: ...` or `warning[POL101]: ...`."""
        return self.problem.render().replace(Level.ERROR, self.level, 1)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, a file or a case, and what is wrong with it."""

    name: str
    group: str
    where: Location
    failures: tuple[Mark, ...] = ()


def github(marks: Iterable[Mark]) -> str:
    """One workflow command for each: the lines show up at the files of a pull request."""
    return "\n".join(_command(mark) for mark in marks)


def sarif(marks: Sequence[Mark], rules: Mapping[str, str], version: str) -> str:
    """A log of one run. `rules` are the meanings of all codes that may occur."""
    ids = sorted({*rules, *(mark.problem.code for mark in marks)})
    driver = {
        "name": "fedbroker",
        "version": version,
        "rules": [{"id": id_, "shortDescription": {"text": rules.get(id_, id_)}} for id_ in ids],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(mark, ids.index(mark.problem.code)) for mark in marks],
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(log, indent=2)


def junit(suite: str, checks: Sequence[Check]) -> str:
    """One test case for each check; what is only a warning fails nothing."""
    cases = [_testcase(check) for check in checks]
    failed = sum(bool(_errors(check)) for check in checks)
    counts = f'tests="{len(checks)}" failures="{failed}" errors="0" skipped="0"'
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f"<testsuites {counts}>",
            f'  <testsuite name="{_xml(suite)}" {counts}>',
            *cases,
            "  </testsuite>",
            "</testsuites>",
        ]
    )


def mark_json(mark: Mark) -> dict[str, Any]:
    where = mark.problem.location
    return {
        "level": mark.level.value,
        "code": mark.problem.code,
        "detail": mark.problem.message,
        "location": {"file": where.file, "line": where.line, "col": where.col},
        "hint": mark.problem.tip,
    }


def _command(mark: Mark) -> str:
    where = mark.problem.location
    fields = {
        "file": where.file,
        "line": where.line,
        "col": where.col,
        "endColumn": where.col + max(1, where.span),
        "title": mark.problem.code,
    }
    named = ",".join(f"{name}={_property(str(value))}" for name, value in fields.items())
    return f"::{mark.level} {named}::{_data(_words(mark.problem))}"


def _words(problem: Diagnostic) -> str:
    return f"{problem.message}\n{problem.tip}" if problem.tip else problem.message


def _data(text: str) -> str:
    """As GitHub's own toolkit escapes the message of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """As GitHub's own toolkit escapes the value of a property."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _result(mark: Mark, index: int) -> dict[str, Any]:
    where = mark.problem.location
    region = {
        "startLine": where.line,
        "startColumn": where.col,
        "endColumn": where.col + max(1, where.span),
    }
    place = {"artifactLocation": {"uri": _uri(where.file)}, "region": region}
    return {
        "ruleId": mark.problem.code,
        "ruleIndex": index,
        "level": mark.level.value,
        "message": {"text": _words(mark.problem)},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    """A reference relative to where the command ran; an absolute path as a file URI."""
    return f"file://{quote(file)}" if file.startswith("/") else quote(file)


def _testcase(check: Check) -> str:
    where = check.where
    opening = (
        f'    <testcase classname="{_xml(check.group)}" name="{_xml(check.name)}"'
        f' file="{_xml(where.file)}" line="{where.line}"'
    )
    errors = _errors(check)
    if not errors:
        return f"{opening}/>"
    first = errors[0].problem
    text = "\n\n".join(mark.render() for mark in errors)
    failure = f'<failure type="{_xml(first.code)}" message="{_xml(first.message)}">'
    return f"{opening}>\n      {failure}{_xml(text)}</failure>\n    </testcase>"


def _errors(check: Check) -> list[Mark]:
    return [mark for mark in check.failures if mark.level is Level.ERROR]


def _xml(text: str) -> str:
    """Escaped, without the characters that XML 1.0 cannot hold."""
    return html.escape(
        "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    )
