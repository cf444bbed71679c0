"""Kill -9 anywhere, start again: the cloud holds exactly what the ledger says. Nothing is orphaned,
nothing doubled, nothing that was acknowledged is lost.

Real engine, real ledger on disk, real boto3, an independent emulator of EC2, real processes; only
time is virtual. One case is: bring the world to where the scenario begins, run the scenario in a
broker that kills itself at one failpoint, start another broker, let it settle, count.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from broker.model import FINAL, Lease, LeaseState, Run
from broker.sandbox.starter import Sandbox
from broker.store import Ledger
from tests.stands import broker_process, ec2

pytestmark = pytest.mark.slow

# How often each scenario passes each failpoint of the engine; a name without its moment stands for
# both sides of the commit. `test_the_table_is_what_happens` keeps it true.
SCENARIOS: dict[str, dict[str, int]] = {
    "up": {
        "command": 1,
        "list.before-call": 2,
        "list.after-call": 2,
        "launch": 2,
        "launch.before-call": 2,
        "launch.after-call": 2,
        "outcome": 2,
        "save": 2,
    },
    "failover": {
        "command": 1,
        "list.before-call": 2,
        "list.after-call": 2,
        "launch": 4,
        "launch.before-call": 4,
        "launch.after-call": 2,
        "outcome": 4,
        "save": 2,
    },
    "recover": {
        "list.before-call": 3,
        "list.after-call": 3,
        "launch": 1,
        "launch.before-call": 1,
        "launch.after-call": 1,
        "outcome": 1,
        "save": 2,
    },
    "down": {
        "command": 1,
        "list.before-call": 4,
        "list.after-call": 4,
        "run": 3,
        "terminate": 2,
        "terminate.before-call": 2,
        "terminate.after-call": 2,
        "save": 2,
    },
}
WORLDS = {
    "honest": {},
    "replies are lost": {"drop": 2},
    "tokens are ignored": {"forgetful": True},
    "both": {"drop": 2, "forgetful": True},
}
SOLD_OUT = {f"c6i.large@{broker_process.REGION}a": 0}


@dataclass
class Case:
    """One world of its own: a folder with a ledger, and an owner in the shared cloud."""

    sandbox: Sandbox
    zygote: subprocess.Popen[str]
    folder: Path
    owner: str
    image: str
    hours: int = 0

    def run(self, act: str, **environment: str) -> int:
        """Exit status of a broker process that does this act."""
        self.hours += 1
        settings = self.sandbox.settings("aws", [broker_process.REGION], self.owner)
        command = {
            "act": act,
            "folder": str(self.folder),
            "hours": self.hours,
            "shape": "c6i.large",
            "settings": {**settings, "image": self.image},
            "environment": environment,
        }
        assert self.zygote.stdin
        assert self.zygote.stdout
        print(json.dumps(command), file=self.zygote.stdin, flush=True)
        status: int = json.loads(self.zygote.stdout.readline())["status"]
        return status

    def must(self, act: str, **environment: str) -> None:
        status = self.run(act, **environment)
        assert status == 0, (self.folder / "stderr").read_text()

    def begin(self, scenario: str) -> str:
        """Bring the world to where the scenario begins; the act that carries it out."""
        if scenario == "failover":
            self.sandbox.control(capacity=SOLD_OUT)
        if scenario in {"recover", "down"}:
            self.must("up")
        if scenario == "recover":
            self.sandbox.interrupt(self.held()[0].id)
        return {"recover": "run_on", "down": "down"}.get(scenario, "up")

    def held(self) -> list[ec2.Held]:
        found = ec2.inventory(self.sandbox, self.owner, broker_process.REGION)
        return [item for item in found if item.listed_alive or item.runs]

    def acknowledged(self, what: str) -> bool:
        return (self.folder / f"{what}.acknowledged").exists()

    def rows(self) -> tuple[list[Run], list[Lease]]:
        with Ledger(f"sqlite:///{self.folder}/ledger.db") as ledger:
            return ledger.find(Run), ledger.find(Lease)

    def differences(self) -> list[str]:
        """What is in the cloud and not in the ledger, or vice versa; [] = the law holds."""
        runs, leases = self.rows()
        held = self.held()
        counts = Counter(item.lease for item in held)
        expected = {
            (lease.id, lease.attempt.id, lease.attempt.instance_id)
            for lease in leases
            if lease.attempt and lease.state not in FINAL
        }
        found = {(item.lease, item.token, item.id) for item in held}
        return [
            *(f"orphan {item}" for item in sorted(found - expected)),
            *(f"lost {item}" for item in expected - found),
            *(f"doubled {lease}" for lease, count in counts.items() if count > 1),
            *(f"no process {item.id}" for item in held if not item.runs),
            *(f"forgot {what}" for what in self._unmet(runs, leases)),
        ]

    def _unmet(self, runs: list[Run], leases: list[Lease]) -> Iterator[str]:
        if self.acknowledged("up") and len(leases) != broker_process.NODES:
            yield "an acknowledged up"
        if self.acknowledged("down") and any(run.wanted for run in runs):
            yield "an acknowledged down"
        for lease in leases:
            wanted = LeaseState.RUNNING if runs[0].wanted else LeaseState.CLOSED
            if lease.state is not wanted:
                yield f"{lease.id}, which is {lease.state} and not {wanted}"


@cache
def an_image(sandbox: Sandbox) -> str:
    images = ec2.client(sandbox, broker_process.REGION).describe_images(
        Filters=[{"Name": "architecture", "Values": ["x86_64"]}]
    )
    return str(images["Images"][0]["ImageId"])


@pytest.fixture(scope="session")
def zygote() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, broker_process.__file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture
def case(
    sandbox: Sandbox, zygote: subprocess.Popen[str], tmp_path: Path, owner: str
) -> Iterator[Case]:
    client = ec2.client(sandbox, broker_process.REGION)
    made = Case(sandbox, zygote, tmp_path, owner, an_image(sandbox))
    yield made
    for item in made.held():
        client.terminate_instances(InstanceIds=[item.id.rpartition("/")[2]])


def passes(scenario: str) -> dict[str, int]:
    """How often each failpoint is passed, by its whole name."""
    both = ("before-commit", "after-commit")
    return {
        name: count
        for key, count in SCENARIOS[scenario].items()
        for name in ([key] if "." in key else [f"{key}.{moment}" for moment in both])
    }


def deaths(*scenarios: str) -> list[tuple[str, str]]:
    """Every place at which each scenario is to be killed, each time it comes there: "name:nth"."""
    return [
        (scenario, f"{name}:{nth}")
        for scenario in scenarios
        for name, count in passes(scenario).items()
        for nth in range(1, count + 1)
    ]


LAUNCHES = [item for item in deaths("up") if item[1].startswith(("launch", "outcome"))]


def die_and_settle(case: Case, scenario: str, death: str, world: str = "honest") -> None:
    act = case.begin(scenario)
    case.sandbox.control(**WORLDS[world])
    status = case.run(act, BROKER_FAILPOINT=death)
    # With lost replies the broker takes other ways and may not come by that place.
    assert status in ({-signal.SIGKILL} if world == "honest" else {-signal.SIGKILL, 0})
    case.must("settle")
    assert case.differences() == []


@pytest.mark.parametrize(("scenario", "death"), deaths(*SCENARIOS))
def test_killed_anywhere_the_cloud_is_what_the_ledger_says(
    case: Case, scenario: str, death: str
) -> None:
    die_and_settle(case, scenario, death)


@pytest.mark.parametrize("world", ["replies are lost", "tokens are ignored"])
@pytest.mark.parametrize(("scenario", "death"), LAUNCHES)
def test_killed_while_the_cloud_is_at_its_worst_too(
    case: Case, scenario: str, death: str, world: str
) -> None:
    die_and_settle(case, scenario, death, world)


@pytest.mark.crash
@pytest.mark.parametrize("world", ["replies are lost", "tokens are ignored", "both"])
@pytest.mark.parametrize(("scenario", "death"), deaths(*SCENARIOS))
def test_every_death_in_every_world(case: Case, scenario: str, death: str, world: str) -> None:
    die_and_settle(case, scenario, death, world)


@pytest.mark.crash
@pytest.mark.parametrize(
    "second",
    ["list.after-call:1", "launch.before-call:1", "launch.after-call:1", "outcome.after-commit:1"],
)
@pytest.mark.parametrize(("scenario", "death"), deaths("up", "recover"))
def test_killed_again_while_it_recovers(case: Case, scenario: str, death: str, second: str) -> None:
    act = case.begin(scenario)
    assert case.run(act, BROKER_FAILPOINT=death) == -signal.SIGKILL
    assert case.run("settle", BROKER_FAILPOINT=second) in {-signal.SIGKILL, 0}
    case.must("settle")
    assert case.differences() == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_table_is_what_happens(case: Case, scenario: str) -> None:
    """A new failpoint in the engine must join the matrix."""
    act, record = case.begin(scenario), case.folder / "record"
    case.must(act, BROKER_FAILPOINT_RECORD=str(record))
    assert Counter(record.read_text().split()) == passes(scenario)
    assert case.differences() == []


@pytest.mark.parametrize("scenario", ["up", "recover"])
def test_control_without_a_second_broker_the_kill_shows(case: Case, scenario: str) -> None:
    act = case.begin(scenario)
    assert case.run(act, BROKER_FAILPOINT="launch.after-call:1") == -signal.SIGKILL
    assert any(words.startswith("orphan") for words in case.differences())


def test_control_a_stranger_is_never_touched(case: Case) -> None:
    stranger = replace(case, folder=case.folder / "other", owner=f"{case.owner}-other")
    stranger.folder.mkdir()
    stranger.must("up")
    before: list[Any] = stranger.held()
    case.must("up")
    case.must("down")
    case.must("settle")
    assert stranger.held() == before
    assert stranger.differences() == []
    stranger.must("down")
    assert stranger.held() == []
