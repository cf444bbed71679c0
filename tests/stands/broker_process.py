"""A broker that can be killed: real engine, ledger on disk, `aws` on a sandbox. A script.

It imports what is slow once, then reads one JSON command a line on stdin and forks for each: the
child does the work and may die of its failpoint; the answer is {"status": exit status} (negative:
killed by that signal). Time is virtual: each tick is STEP later, and nothing ever waits.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from broker.model import FINAL, Demand, Lease, LeaseState, Market, Offer, Placement, Plan, Run, Task
from broker.store import Ledger
from providers.aws import Aws
from providers.aws_session import AwsSession, AwsSettings

STEP = timedelta(seconds=2)
TICKS_MAX = 40
QUIET_TICKS = 4  # two sightings of an orphan, the grace, and its end
REGION = "us-east-1"
SCRIPT = "exec sleep 1000"
NODES = 2


def offer(zone: str, shape: str) -> Offer:
    return Offer("aws", REGION, zone, shape, Market.SPOT, 2, 4)


class Broker:
    """One broker process at work."""

    def __init__(self, command: dict[str, Any], session: AwsSession) -> None:
        from broker import runs  # late: they read the failpoint's environment when imported
        from broker.converge import Limits
        from broker.engine import Engine, Pace

        self.command = command
        self.store = Ledger(f"sqlite:///{command['folder']}/ledger.db")
        self.now = datetime.now(UTC) + timedelta(hours=command["hours"])
        self.engine = Engine(
            self.store,
            {"aws": Aws(AwsSettings.of(command["settings"]), session)},
            {"task": runs.advance},
            lambda _: SCRIPT,
            limits=Limits(grace=timedelta(seconds=1), backoff=(1,)),
            pace=Pace(threads=0, sweep_every=timedelta(0)),
            monotonic=lambda: 0.0,
        )

    def tick(self) -> None:
        self.now += STEP
        report = self.engine.tick(self.now)
        assert not report.problems, report.problems

    def until(self, *states: LeaseState) -> None:
        for _ in range(TICKS_MAX):
            self.tick()
            if {lease.state for lease in self.store.find(Lease)} <= set(states):
                return
        raise AssertionError(f"the leases do not come to {states}")

    def settle(self) -> None:
        """Tick until there is nothing to do and nothing suspicious for long enough."""
        quiet = 0
        for _ in range(TICKS_MAX):
            self.now += STEP
            quiet = 0 if self.engine.tick(self.now) else quiet + 1
            if quiet == QUIET_TICKS:
                return
        raise AssertionError("it does not come to rest")

    def admit(self) -> None:
        """What `broker up` writes, acknowledged by a file once it is written."""
        from broker import planned
        from broker.failpoints import failpoint
        from broker.ids import new_id

        offers = [offer(f"{REGION}a", self.command["shape"]), offer(f"{REGION}b", "c6i.xlarge")]
        plan = Plan((Placement("t", NODES, offers[0], tuple(offers[1:])),), (), 2, 2)
        task = Task(Demand("t", (), nodes=NODES, budget_usd=Decimal(100)), "true")
        rows = planned.admit(plan, task, self.now, lambda p: new_id(p, self.now, os.urandom(5)))
        failpoint("command.before-commit")
        self.store.commit(*rows)
        failpoint("command.after-commit")
        self.acknowledge("up")

    def give_back(self) -> None:
        """What `broker down` writes."""
        from broker.failpoints import failpoint

        (run,) = self.store.find(Run)
        failpoint("command.before-commit")
        self.store.commit(replace(run, wanted=False))
        failpoint("command.after-commit")
        self.acknowledge("down")

    def acknowledge(self, what: str) -> None:
        (Path(self.command["folder"]) / f"{what}.acknowledged").touch()


def up(broker: Broker) -> None:
    broker.admit()
    broker.until(LeaseState.RUNNING)


def run_on(broker: Broker) -> None:
    """After a preemption: until all run again."""
    broker.until(LeaseState.RUNNING)


def down(broker: Broker) -> None:
    broker.give_back()
    broker.until(*FINAL)


def settle(broker: Broker) -> None:
    broker.settle()


ACTS = {"up": up, "down": down, "run_on": run_on, "settle": settle}


def warm(line: str) -> AwsSession:
    """Clients take a tenth of a second to make and may be shared by forks until they are used."""
    session = AwsSession(AwsSettings.of(json.loads(line)["settings"]))
    session.ec2(REGION)
    session.launcher(REGION)
    return session


def child(command: dict[str, Any], session: AwsSession) -> None:
    os.environ.update(command.get("environment", {}))
    sys.stderr = (Path(command["folder"]) / "stderr").open("a", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), 2)
    broker = Broker(command, session)
    ACTS[command["act"]](broker)


def main() -> None:
    session = None
    for line in sys.stdin:
        session = session or warm(line)
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line), session)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    main()
