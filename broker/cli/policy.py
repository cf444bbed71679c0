"""`broker policy`: check, explain, test, compare and format the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.output import Format, OutputOption
from broker.cli.reports import ReportOption

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="Policy files, or folders of them.", show_default=False)
]


@app.callback()
def policy() -> None:
    """Rules in YAML: check them, read them in plain words, test them, see what a change does."""


@app.command()
def check(
    paths: PathsArgument = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    report: ReportOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say all that is wrong with policy files, and warn of rules that cannot do what they mean.

    Without a file those of the configuration are checked; of a folder every YAML file with
    `policy:` at its top. Leaves with 2 when a file is invalid.

    Example: `broker policy check policies --format github`
    """
    from broker.cli.policy_check import check_files

    check_files(paths or [], strict=strict, report=report, output=output)


@app.command("test")
def run_cases(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Case files, or folders of them.", show_default=False),
    ] = None,
    *,
    min_coverage: Annotated[
        int, typer.Option(min=0, max=100, help="Per cent of the rules that cases must cover.")
    ] = 100,
    report: ReportOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run the cases of case files, and say which rules no case covers.

    A case names a demand, an offer, and what the rules should say. A rule is covered when one case
    sees it decide and another sees it hold back. Without a file every one below the current folder
    is run. Leaves with 1 when a case fails or rules are not covered, 2 when a file is invalid.

    Example: `broker policy test policies --min-coverage 90`
    """
    from broker.cli.policy_test import run_files

    run_files(paths or [], least=min_coverage, report=report, output=output)


@app.command()
def explain(
    rule: Annotated[
        str | None, typer.Argument(help="Id of one rule, to see it in depth.", show_default=False)
    ] = None,
    paths: PathsArgument = None,
    *,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say in plain words what each rule applies to and what it wants.

    With the id of a rule also how many of today's offers it refuses by itself.

    Example: `broker policy explain phi-stays examples/eu-phi.yaml`
    """
    from broker.cli.policy_explain import explain_rules

    explain_rules(rule, paths or [], output=output)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A policy file, or a folder of them.")],
    new: Annotated[Path, typer.Argument(help="The same, changed.")],
    *,
    task: Annotated[
        list[Path] | None, typer.Option("--task", "-t", help="See the effect on this task.")
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Leave with 3 when something changes.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show which rules change, and what that does to today's offers and to what is running.

    Without a task the effect is counted for one machine and hour of each class of data.

    Example: `broker policy diff policies.old policies --task examples/finetune.yaml`
    """
    from broker.cli.policy_diff import diff_policies

    diff_policies((old, new), task or [], exit_code=exit_code, output=output)


@app.command()
def fmt(
    paths: PathsArgument = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; leave with 1 when a file would change.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Print what would change.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Bring policy files into one form: order of fields, indent, quotes. Comments stay.

    Example: `broker policy fmt policies --check --diff`
    """
    from broker.cli.policy_fmt import format_files

    format_files(paths or [], check=check, diff=diff, output=output)
