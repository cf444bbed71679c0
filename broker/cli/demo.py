"""`broker demo`: the whole product on one machine, against a sandbox; leaves nothing running.

Every process it starts stands in a machine folder of its own below the demo's folder, ends with
this process, and is swept by its marker, so that an end at any moment is a clean end.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from broker.cli.context import Context, utc_now
from broker.cli.output import Format, OutputOption, emit, note
from broker.errors import UsageError, WaitTimeoutError
from broker.home import home_at
from broker.host import Session
from broker.model import Node, NodeState, Run, RunState

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

SITES = (("oslo-01", "NO", "oslo"), ("berlin-02", "DE", "berlin"), ("lyon-03", "FR", "lyon"))
CLOUD = "aws@sandbox"
REGIONS = ("eu-north-1", "eu-central-1", "eu-west-3", "us-east-1")
ONLINE_S = 60
MARK = ".broker-demo"
DATASET = "breast-cancer"
STEPS = ("plan", "cloud", "sites", "federation")


@dataclass
class Stage:
    """What the demo has started, and how it is ended again, last first."""

    folder: Path
    context: Context
    started_at: float = field(default_factory=time.monotonic)

    def step(self, number: int, text: str) -> None:
        seconds = time.monotonic() - self.started_at
        note(f"[{number}/4] {STEPS[number - 1]:<11} {text}   {seconds:.1f} s")


@app.command()
def demo(
    *,
    folder: Annotated[Path, typer.Option(help="Where the demo's files go.")] = Path("broker-demo"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Plan, lease and train on this machine: a sandbox of AWS, three edge agents, Flower, a receipt.

    Nothing costs money, no account is used, nothing is left running.

    Example: `broker demo --folder /tmp/my-demo`
    """
    from broker.cli import fedrun

    signal.signal(signal.SIGINT, _interrupt)  # also where a script started us with it ignored
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    root = _fresh(folder.absolute())
    stage = Stage(root, Context(home_at(root / "home")))
    with contextlib.ExitStack() as ends:
        try:
            run, receipt = _play(stage, ends)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing may stop the stopping
    note(f"\nEverything is stopped. Files are in {folder}.  Next:")
    note(f"  export BROKER_HOME={root}/home")
    note(f"  broker fed plan {folder}/fed.yaml --policy {folder}/policy.yaml")
    note("  broker events; broker status --all")
    emit("demo", receipt, lambda: fedrun.receipt_text(receipt), output=output)
    if run.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fresh(folder: Path) -> Path:
    """An empty demo folder; only one that an earlier demo made is ever emptied."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise UsageError(
                f"{folder} is not empty and no demo made it",
                code="DEM001",
                hint="give another --folder",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


def _play(stage: Stage, ends: contextlib.ExitStack) -> tuple[Run, dict[str, Any]]:
    """The four steps. What ends a thing is on `ends` before the next thing is started."""
    from broker.cli import fedrun

    files = [stage.folder / "fed.yaml", stage.folder / "policy.yaml"]
    _write_files(stage.folder)
    _plan(stage, *files)
    _write_data(stage.folder)
    _sandbox(stage, ends)
    session = ends.enter_context(stage.context.session(hand_over=False))
    _sites(stage, session, ends)
    run = fedrun.start(stage.context, files[0], [files[1]])
    ends.callback(fedrun.end, session, run)
    session.poke()
    done = fedrun.follow(session, run, lambda words: stage.step(4, words))
    return done, fedrun.receipt(stage.context, done)


def _write_files(folder: Path) -> None:
    """Everything a reader may look at afterwards: policy, federation, app, each site's data."""
    source = _example()
    shutil.copytree(source / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("fed.yaml", "policy.yaml", "make_data.py"):
        shutil.copy(source / name, folder / name)


def _write_data(folder: Path) -> None:
    """Each site's rows, in a file of its own."""
    make = [sys.executable, str(folder / "make_data.py"), str(folder / "data")]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)


def _example() -> Path:
    """The hospitals example: in the wheel beside this package, in a checkout beside it."""
    import broker

    package = Path(broker.__file__).parent
    shipped = package / "examples" / "hospitals"
    return shipped if shipped.is_dir() else package.parent / "examples" / "hospitals"


def _plan(stage: Stage, fed: Path, policy: Path) -> None:
    """Where the aggregator would go, from the bundled catalog, before anything runs."""
    from broker.cli.planning import plan_aggregator
    from broker.cli.planview import plan_text
    from broker.documents.config import set_cloud

    entry = {"provider": "aws", "regions": list(REGIONS), "endpoint": "http://127.0.0.1:9"}
    set_cloud(stage.context.home.make().config, CLOUD, entry)
    demand, found = plan_aggregator(stage.context, fed, [policy])
    note(plan_text(demand, found) + "\n")
    chosen = found.placements[0].offer
    stage.step(1, f"{found.considered} offers -> {found.allowed} allowed, chose {chosen.key}")


def _sandbox(stage: Stage, ends: contextlib.ExitStack) -> None:
    from broker.documents.config import set_cloud
    from broker.sandbox.starter import Sandbox

    sandbox = ends.enter_context(Sandbox.start(stage.folder / "sandbox"))
    settings = sandbox.settings(CLOUD, REGIONS, "")
    entry = {key: settings[key] for key in ("regions", "endpoint", "profile", "credentials_file")}
    set_cloud(stage.context.home.config, CLOUD, {"provider": "aws", **entry})
    stage.context = Context(stage.context.home)  # reads the configuration anew
    stage.step(2, f"{CLOUD} serves EC2 at {sandbox.endpoint}")


def _sites(stage: Stage, session: Session, ends: contextlib.ExitStack) -> None:
    """Three agents, invited, started as machines of their own, and enrolled."""
    for name, country, data in SITES:
        _start_site(stage, name, country, stage.folder / "data" / f"{data}.npz", ends)
    names = {name for name, *_ in SITES}
    until = time.monotonic() + ONLINE_S
    for _ in session.watch(0.1):
        nodes = session.store.find(Node, kind="edge", state=NodeState.ONLINE)
        if {node.name for node in nodes if node.datasets} >= names:
            break
        if time.monotonic() > until:
            raise WaitTimeoutError(
                "the sites did not come online", hint=str(stage.folder / "sites")
            )
    rows = sum(data.rows for node in nodes for data in node.datasets)
    stage.step(3, f"{len(names)} sites online, enrolled over mTLS, {rows} rows that stay there")


def _start_site(
    stage: Stage, name: str, country: str, data: Path, ends: contextlib.ExitStack
) -> None:
    from broker import fleet
    from providers import machines

    secret, _ = fleet.invite(stage.context.store, name, country, now=utc_now())
    folder = stage.folder / "sites" / name
    ends.callback(machines.stop, folder)
    join = {"url": stage.context.enrol_url, "token": secret, "ca_pin": stage.context.ca.pin}
    options = ["--name", name, "--country", country, "--dataset", f"{DATASET}={data}"]
    words = [sys.executable, "-m", "edge", "run", "--join", "-", "--home", str(folder / "agent")]
    script = f"exec {shlex.join([*words, *options])} <<'JOIN'\n{json.dumps(join)}\nJOIN\n"
    machines.boot(folder, script, {}, host=machines.here())
