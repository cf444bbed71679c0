"""`broker doctor`: is everything there, and what would mend it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit
from broker.errors import BrokerError
from broker.model import FINAL, Artefact, InstanceState, Lease, Node, NodeState

if TYPE_CHECKING:
    from broker.policy import Rule

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

EXTRAS = {"aws": "boto3", "fed": "flwr", "demo": "moto"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` is ok, warn or fail; `fix` is the command that mends it."""

    level: str
    name: str
    text: str
    fix: str = ""


@app.command()
def doctor(
    *,
    leaks: Annotated[
        bool, typer.Option("--leaks", help="List every cloud for our machines.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check the installation, the home, the catalog, the engine, the fleet and the clouds.

    Example: `broker doctor --leaks`
    """
    context = Context()
    findings = [*_all(context), *(_leaks(context) if leaks else ())]
    bad = sum(one.level == "fail" for one in findings)
    emit(
        "doctor",
        {"findings": [asdict(one) for one in findings], "failures": bad},
        "\n".join(_line(one) for one in findings),
        output=output,
        names=[one.name for one in findings if one.level != "ok"],
    )
    if bad:
        raise typer.Exit(1)


def _all(context: Context) -> Iterator[Finding]:
    checks: list[Callable[[Context], Iterator[Finding]]] = [
        _python,
        _extras,
        _home,
        _config,
        _catalog,
        _engine,
        _fleet,
    ]
    for check in checks:
        try:
            yield from check(context)
        except BrokerError as error:
            yield Finding("fail", check.__name__.strip("_"), error.message, error.hint or "")


def _python(_: Context) -> Iterator[Finding]:
    yield Finding("ok", "fedbroker", f"{version('fedbroker')}, Python {sys.version.split()[0]}")


def _extras(_: Context) -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(
                "warn", extra, f"{module} is not installed", f'pip install "fedbroker[{extra}]"'
            )
            continue
        try:
            yield Finding("ok", extra, f"{module} {version(module)}")
        except PackageNotFoundError:
            yield Finding("ok", extra, module)


def _home(context: Context) -> Iterator[Finding]:
    home = context.home.make()
    free = shutil.disk_usage(home.state).free / 2**30
    level = "ok" if free > 1 else "warn"
    yield Finding(level, "home", f"{home.state}, {free:.0f} GiB free")


def _config(context: Context) -> Iterator[Finding]:
    clouds = ", ".join(context.config.clouds) or "none enabled"
    rules = context.policy().rules
    said = f"{context.home.config}: clouds {clouds}; {len(rules)} policy rules"
    yield Finding("ok", "config", said)
    if not context.config.country and any(_binds_logs(rule) for rule in rules):
        words = "rules say where logs may be, and where this broker keeps its own is not known"
        yield Finding("warn", "country", words, f"`country: NO` in {context.home.config}")


def _binds_logs(rule: Rule) -> bool:
    from broker.policy.rules import Residency

    return isinstance(rule.terms, Residency) and Artefact.LOG in rule.terms.of


def _catalog(context: Context) -> Iterator[Finding]:
    status = context.catalog.status()
    oldest = min((one.as_of for one in status.providers if one.as_of), default=None)
    count = sum(one.offers for one in status.providers)
    if oldest is None:
        yield Finding("fail", "catalog", "no offers", "broker catalog refresh")
        return
    days = (datetime.now(UTC).date() - date.fromisoformat(oldest)).days
    level = "ok" if days <= context.config.max_price_age_d else "warn"
    fix = "" if level == "ok" else "broker catalog refresh"
    yield Finding(level, "catalog", f"{count} offers, prices {days} days old", fix)


def _engine(context: Context) -> Iterator[Finding]:
    from broker.host import holder, open_work

    found = holder(context.home)
    work = open_work(context.store, utc_now()) if context.ledger_exists else {}
    busy = ", ".join(f"{count} {what}" for what, count in work.items() if count) or "nothing open"
    if found is not None:
        who = f"{found.get('mode', 'engine')} process {found.get('pid', '?')}"
        yield Finding("ok", "engine", f"{who}; {busy}")
    elif any(work.values()):
        yield Finding("warn", "engine", f"not running; {busy}", "broker engine")
    else:
        yield Finding("ok", "engine", "not running, nothing is open")


def _fleet(context: Context) -> Iterator[Finding]:
    nodes = context.store.find(Node, kind="edge") if context.ledger_exists else []
    online = sum(node.state is NodeState.ONLINE for node in nodes)
    yield Finding("ok", "edge", f"{len(nodes)} nodes, {online} online")


def _leaks(context: Context) -> Iterator[Finding]:
    """Machines with our tag that no open lease knows."""
    known = {
        lease.attempt.id
        for lease in context.store.find(Lease)
        if lease.attempt and lease.state not in FINAL
    }
    for name, provider in context.providers.items():
        try:
            seen = [one for one in provider.instances() if one.state is not InstanceState.GONE]
        except Exception as error:  # noqa: BLE001 - a cloud that cannot be listed is a finding
            yield Finding(
                "fail", f"leaks {name}", f"cannot be listed: {error}", f"broker cloud check {name}"
            )
            continue
        lost = [one.id for one in seen if one.attempt_id not in known]
        if lost:
            yield Finding(
                "fail", f"leaks {name}", f"{len(lost)} unknown: {', '.join(lost)}", "broker engine"
            )
        else:
            yield Finding("ok", f"leaks {name}", f"{len(seen)} machines, all of them leased")


def _line(one: Finding) -> str:
    fix = f"\n        fix: {one.fix}" if one.fix else ""
    return f"{one.level:<5} {one.name:<12} {one.text}{fix}"
