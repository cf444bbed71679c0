"""`broker policy test`: runs case files, shows what failed and which rules no case covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from broker.cli.output import Format, emit, table
from broker.cli.policy_check import meanings, refuse
from broker.cli.policy_files import case_files
from broker.cli.reports import Check, Level, Mark, Report, github, junit, sarif
from broker.diagnostics import Diagnostic
from broker.documents.cases import Suite, Tables, load_cases
from broker.errors import DocumentError
from broker.model import Finding, Location, Verdict
from broker.policy.cases import Outcome, run_case
from broker.policy.coverage import Cover, cover, per_cent

FAILED = "CAS101"
UNCOVERED = "CAS102"
MEANINGS = {FAILED: "a case fails", UNCOVERED: "no case covers a rule"}
SILENT = frozenset({Verdict.IDLE, Verdict.INDIFFERENT, Verdict.PASSES})


@dataclass(frozen=True, slots=True)
class Results:
    suites: tuple[Suite, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]
    covers: tuple[Cover, ...]
    least: int

    @property
    def every(self) -> list[Outcome]:
        return [one for outcomes in self.outcomes for one in outcomes]

    @property
    def failed(self) -> list[Outcome]:
        return [one for one in self.every if not one.passed]

    @property
    def uncovered(self) -> list[Cover]:
        return [one for one in self.covers if not one.covered]

    @property
    def per_cent(self) -> int:
        return per_cent(self.covers)

    @property
    def passed(self) -> bool:
        return not self.failed and self.per_cent >= self.least


def run_files(paths: Sequence[Path], *, least: int, report: Report | None, output: Format) -> None:
    """Leaves with 1 when a case fails or too few rules are covered, 2 when a file is invalid."""
    files = case_files(paths)
    suites, problems = _load(files)
    if problems:
        refuse(DocumentError(problems), [str(path) for path in files], report)
    results = run(suites, least)
    if report in (Report.GITHUB, Report.SARIF, Report.JUNIT):
        if text := _report(results, report):
            print(text)
    else:
        _show(results, Format.JSON if report is Report.JSON else output)
    if not results.passed:
        raise typer.Exit(1)


def run(suites: Sequence[Suite], least: int) -> Results:
    outcomes = tuple(
        tuple(run_case(suite.policy, case) for case in suite.cases) for suite in suites
    )
    policies = [suite.policy for suite in suites]
    covers = cover(zip(policies, outcomes, strict=True))
    return Results(tuple(suites), outcomes, covers, least)


def _load(files: Sequence[Path]) -> tuple[list[Suite], list[Diagnostic]]:
    from broker.catalog.accelerators import chip
    from broker.catalog.regions import country_sites, place, site
    from broker.model import Site

    tables = Tables(site, lambda code: country_sites().get(code, Site()), place, chip)
    suites: list[Suite] = []
    problems: dict[Diagnostic, None] = {}  # two case files may name the same wrong policy
    for file in files:
        try:
            suites.append(load_cases(file, tables))
        except DocumentError as error:
            problems |= dict.fromkeys(error.diagnostics)
    return suites, list(problems)


def _show(results: Results, output: Format) -> None:
    emit(
        "policy-test",
        _json(results),
        lambda: "\n".join(_lines(results)),
        output=output,
        names=[f"{one.case.location.file}:{one.case.location.line}" for one in results.failed],
    )


def _lines(results: Results) -> Iterator[str]:
    """Failures first, then the files, then what no case covers."""
    for outcome in results.failed:
        yield from _failure(outcome)
        yield ""
    rows = [
        [suite.file, len(outcomes), sum(one.passed for one in outcomes)]
        for suite, outcomes in zip(results.suites, results.outcomes, strict=True)
    ]
    yield table(["FILE", "CASES", "PASSED"], rows)
    yield ""
    if results.uncovered:
        yield "Rules that are not covered:"
        found = [[f"{one.rule.location}", one.rule.id, _missing(one)] for one in results.uncovered]
        yield table(["WHERE", "RULE", "MISSING"], found)
        yield ""
    yield _total(results)


def _failure(outcome: Outcome) -> Iterator[str]:
    yield f"failed: {outcome.case.name}"
    yield f"   --> {outcome.case.location}"
    for words in outcome.failures:
        yield f"   {words}"
    for finding in _telling(outcome):
        yield f"     {_finding(finding)}"


def _telling(outcome: Outcome) -> list[Finding]:
    """What decided, and what was expected to."""
    expected = outcome.case.expected.by or ()
    return [one for one in outcome.findings if one.verdict not in SILENT or one.rule in expected]


def _finding(finding: Finding) -> str:
    words = f"{finding.rule} {finding.verdict}"
    saw = f": saw {finding.saw}" if finding.saw else ""
    wanted = f", wanted {finding.wanted}" if finding.wanted else ""
    where = f"  ({finding.location})" if finding.location else ""
    return f"{words}{saw}{wanted}{where}"


def _missing(one: Cover) -> str:
    return ", ".join(one.missing)


def _total(results: Results) -> str:
    count, failed = len(results.every), len(results.failed)
    covered = len(results.covers) - len(results.uncovered)
    words = f"{count} cases, {failed} failed; {covered} of {len(results.covers)} rules covered"
    wanted = f", {results.least} % wanted" if results.per_cent < results.least else ""
    return f"{words} ({results.per_cent} %{wanted})"


def _report(results: Results, report: Report) -> str:
    marks = [*_failed_marks(results), *_uncovered_marks(results)]
    if report is Report.GITHUB:
        return github(marks)
    if report is Report.SARIF:
        from importlib.metadata import version

        return sarif(marks, {**meanings(), **MEANINGS}, version("fedbroker"))
    return junit("policy test", _checks(results))


def _failed_marks(results: Results) -> list[Mark]:
    return [_failed_mark(one) for one in results.failed]


def _failed_mark(outcome: Outcome) -> Mark:
    words = "; ".join(outcome.failures)
    told = "\n".join(_finding(one) for one in _telling(outcome)) or None
    problem = Diagnostic(FAILED, f"{outcome.case.name}: {words}", outcome.case.location, told)
    return Mark(Level.ERROR, problem)


def _uncovered_marks(results: Results) -> list[Mark]:
    """Errors when too few rules are covered, else only remarks."""
    level = Level.ERROR if results.per_cent < results.least else Level.WARNING
    return [_uncovered_mark(one, level) for one in results.uncovered]


def _uncovered_mark(one: Cover, level: Level) -> Mark:
    where = one.rule.location or Location("policy")
    words = f"rule {one.rule.id} is not covered: {_missing(one)}"
    return Mark(level, Diagnostic(UNCOVERED, words, where))


def _checks(results: Results) -> list[Check]:
    """A test case for each case, and one for each rule's coverage."""
    cases = [
        Check(
            one.case.name,
            one.case.location.file,
            one.case.location,
            () if one.passed else (_failed_mark(one),),
        )
        for one in results.every
    ]
    marks = {mark.problem.message: mark for mark in _uncovered_marks(results)}
    rules = [_coverage_check(one, marks) for one in results.covers]
    return [*cases, *rules]


def _coverage_check(one: Cover, marks: dict[str, Mark]) -> Check:
    where = one.rule.location or Location("policy")
    mark = marks.get(_uncovered_mark(one, Level.ERROR).problem.message)
    return Check(f"rule {one.rule.id} is covered", where.file, where, (mark,) if mark else ())


def _json(results: Results) -> dict[str, Any]:
    return {
        "cases": [_outcome_json(one) for one in results.every],
        "failed": len(results.failed),
        "coverage": {
            "per_cent": results.per_cent,
            "wanted": results.least,
            "rules": [_cover_json(one) for one in results.covers],
        },
        "passed": results.passed,
    }


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.case.name,
        "location": _location_json(outcome.case.location),
        "passed": outcome.passed,
        "verdict": "deny" if outcome.reasons else "allow",
        "refused_by": sorted(outcome.refused_by),
        "weight_usd_per_hour": float(outcome.weight),
        "start": _moment_json(outcome.start),
        "failures": list(outcome.failures),
        "findings": [_finding_json(one) for one in outcome.findings],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "verdict": finding.verdict.value,
        "saw": finding.saw,
        "wanted": finding.wanted,
        "location": _location_json(finding.location),
    }


def _cover_json(one: Cover) -> dict[str, Any]:
    return {
        "rule": one.rule.id,
        "location": _location_json(one.rule.location),
        "decided": one.decided,
        "held_back": one.held_back,
        "covered": one.covered,
    }


def _location_json(where: Location | None) -> dict[str, Any] | None:
    return {"file": where.file, "line": where.line, "col": where.col} if where else None


def _moment_json(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
