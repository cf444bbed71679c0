"""The `broker` command: the table of commands, and the one place where failures become exit codes."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import click
import typer

from broker.cli.lazy import Entry, LazyGroup
from broker.cli.output import Format, OutputOption, format_of, note, show_error
from broker.errors import BrokerError, UsageError

START, POOL, POLICY, RUN = "Start", "Pool", "Policy", "Run"
FLEET, FED, SERVE = "Fleet", "Federation", "Serve"


class Commands(LazyGroup):
    table = {  # noqa: RUF012 - click's own way to configure a group
        "demo": Entry("broker.cli.demo:app", "See it all work on this machine, for free.", START),
        "doctor": Entry(
            "broker.cli.doctor:app", "Check the installation and say what to mend.", START
        ),
        "offers": Entry("broker.cli.offers:app", "List what can be leased, with prices.", POOL),
        "catalog": Entry("broker.cli.catalog:app", "Where offers and prices come from.", POOL),
        "cloud": Entry("broker.cli.cloud:app", "Enable, disable and check clouds.", POOL),
        "policy": Entry(
            "broker.cli.policy:app", "Check, explain, test, compare and format rules.", POLICY
        ),
        "schema": Entry(
            "broker.cli.schema:app", "Print the JSON Schema of a kind of file.", POLICY
        ),
        "budget": Entry("broker.cli.budget:app", "What budgets hold, and what is left.", POLICY),
        "plan": Entry(
            "broker.cli.plan:app", "Choose the cheapest allowed offer, and say why.", RUN
        ),
        "up": Entry("broker.cli.up:app", "Plan, lease machines and run a task on them.", RUN),
        "status": Entry("broker.cli.status:app", "Show leases and runs.", RUN),
        "logs": Entry("broker.cli.logs:app", "Print or follow the logs of a run.", RUN),
        "why": Entry("broker.cli.why:app", "Why a run stands where it stands.", RUN),
        "events": Entry("broker.cli.events:app", "What happened, in order.", RUN),
        "down": Entry("broker.cli.down:app", "End runs and give their machines back.", RUN),
        "edge": Entry("broker.cli.edge:app", "Invite, list, drain and revoke edge nodes.", FLEET),
        "fed": Entry("broker.cli.fed:app", "Train with Flower where the data is.", FED),
        "engine": Entry(
            "broker.cli.engine:app", "Run the engine of this home.", SERVE, hidden=True
        ),
    }


app = typer.Typer(
    name="broker",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    suggest_commands=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"fedbroker {version('fedbroker')}")
        raise typer.Exit


@app.callback()
def broker(
    *,
    output: OutputOption = Format.TABLE,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan by policy, lease without leaks, train where the data is.

    One pool of cloud offers and enrolled edge nodes; rules in YAML that bind every placement.
    """


def main(argv: list[str] | None = None) -> None:
    """Run one command and leave with its exit code (see `docs/exit-codes.md`)."""
    gc.set_threshold(50_000, 20, 20)  # a command makes much and drops little: collect seldom
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:  # noqa: PLR0911 - one return per kind of failure
    output = format_of(argv)
    try:
        _check_packages()
        result = typer.main.get_command(app).main(argv, prog_name="broker", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        note("interrupted")
        return 130
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        note(help_wanted.format_message())
        return 2
    except click.ClickException as wrong:
        return _fail(_usage(wrong), output)
    except BrokerError as error:
        return _fail(error, output)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: a file instead of a traceback
        if interrupted(error):
            note("interrupted")
            return 130
        return _fail(_crash(), output)
    return result if isinstance(result, int) else 0


def interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C lies behind it: one that falls into a library's clean-up comes out as another."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(error: BrokerError, output: Format) -> int:
    show_error(error, output)
    return error.exit_code


def _usage(wrong: click.ClickException) -> UsageError:
    context = getattr(wrong, "ctx", None)
    hint = f"see `{context.command_path} --help`" if context else None
    return UsageError(wrong.format_message(), code="USE002", hint=hint)


def _crash() -> BrokerError:
    """A defect of ours. The traceback goes to a private file; the user gets its path."""
    handle, path = tempfile.mkstemp(prefix="broker-crash-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(traceback.format_exc())
    last = traceback.format_exception_only(*sys.exc_info()[:2])[-1].strip()
    return BrokerError(
        f"a defect in fedbroker: {last}", code="BRK002", hint=f"details are in {path}"
    )


def _check_packages() -> None:
    """`providers` and `edge` are common names: say so when something else shadows ours."""
    root = Path(__file__).resolve().parents[2]
    for name in ("providers", "edge"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or not origin.is_relative_to(root):
            raise UsageError(
                f"the package `{name}` of fedbroker is shadowed by {origin or 'nothing'}",
                code="USE003",
                hint="start `broker` in another folder, or remove that package from PYTHONPATH",
            )


if __name__ == "__main__":
    main()
