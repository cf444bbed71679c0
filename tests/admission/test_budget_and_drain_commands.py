"""What budgets hold is shown in words and JSON; work is not disturbed outside the hours for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker import admission, disruption
from broker.cli import budget as budget_command
from broker.cli.main import run as broker
from broker.home import home_at
from broker.model import (
    Account,
    Allocation,
    Demand,
    Lease,
    Location,
    Node,
    NodeState,
    Run,
    RunState,
)
from broker.policy import Policy, Rule, Verb
from broker.policy.rules import Disruption, Window
from broker.store import Ledger, MemoryStore
from tests.admission.conftest import NOW, Desk, asked, team

BUDGETS = """
policy: team
rules:
  - id: team
    budget: {usd_per_month: 100, warn_at: [50]}
  - id: radius
    blast_radius: {max_machines: 4, max_usd_per_hour: 9}
  - id: eu
    deny: {country: [US]}
"""
HOURS = """
policy: hours
rules:
  - id: nights
    disruption: {allow: ["Mon-Fri 20:00-06:00"], timezone: Europe/Oslo}
"""
NODE = Node("nd_oslo", "oslo-01", "edge", NOW, NodeState.ONLINE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(budget_command, "utc_now", lambda: NOW)
    monkeypatch.setattr("broker.cli.edge.utc_now", lambda: NOW)
    (tmp_path / "team.yaml").write_text(BUDGETS)
    (tmp_path / "hours.yaml").write_text(HOURS)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{home_at(home).make().ledger}") as opened:
        yield opened


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The exit code of a command, what it prints, and what it says."""

    def call(*words: str) -> tuple[int, str, str]:
        code = broker(list(words))
        found = capsys.readouterr()
        return code, found.out, found.err

    return call


# ----------------------------------------------------------------------------------------- budgets


def test_budgets_are_listed_before_anybody_used_them(home: Path, said: Any) -> None:
    code, out, _ = said("budget", "list", "-p", "team.yaml")
    assert code == 0
    assert out.splitlines()[1].split() == [
        *("team", "default", "2026-11", "100.00", "$", "0.00", "$", "0.00", "$"),
        *("100.00", "$", "0", "%", "0"),
    ]
    assert said("budget", "list")[1] == "No rule with `budget:` is in force.\n"
    assert not home_at(home).ledger.exists(), "looking makes no ledger"


def test_what_runs_hold_and_spent_is_shown_by_project(ledger: Ledger, said: Any) -> None:
    agreed = asked(30)
    run, *_ = admission.admit(ledger, team("100"), [agreed], Desk().rows(agreed), NOW)
    (account,) = ledger.find(Account)
    ledger.commit(replace(account, settled=Decimal("12.50")))
    old = Account("team/research/2026-10/usd", "team", "research", "2026-10", "usd", Decimal(70))
    ledger.commit(old)
    code, out, _ = said("budget", "list", "-p", "team.yaml", "-o", "json")
    assert code == 0
    default, research = json.loads(out)["data"]
    assert default["project"] == "default"
    assert research == {
        "id": "team/research/2026-11/usd",
        "rule": "team",
        "project": "research",
        "period": "2026-11",
        "unit": "usd",
        "limit": "100",
        "held": "30",
        "settled": "12.50",
        "left": "57.50",
        "used_per_cent": 42,
        "runs": {run.id: "30"},
    }
    code, out, _ = said("budget", "show", "team", "-p", "team.yaml")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:4]] == [
        ["team", "research", "2026-10"],
        ["team", "default", "2026-11"],
        ["team", "research", "2026-11"],
    ]
    assert f"{run.id}  holds 30.00 $ of research 2026-11" in out
    assert "set by team.yaml:4:9" in out


def test_a_blast_radius_is_shown_too(ledger: Ledger, said: Any) -> None:
    ledger.commit(
        Account("radius/a/open/machines", "radius", "a", "", "machines", Decimal(1)),
        Account("radius/a/open/usd_per_hour", "radius", "a", "", "usd_per_hour", Decimal(0)),
    )
    code, out, _ = said("budget", "show", "radius", "-p", "team.yaml")
    assert code == 0
    assert "4 machines" in out, "today's limit, not that of the last admission"
    assert "9.00 $/h" in out
    assert "100 %" in said("budget", "show", "radius")[1], "the rule is gone, its accounts are not"


def test_a_budget_that_nobody_knows_is_not_found(home: Path, said: Any) -> None:
    code, _, err = said("budget", "show", "nope", "-p", "team.yaml")
    assert code == 10
    assert "no budget `nope`" in err


# ------------------------------------------------------------------------------------------ drain


def at_work(store: Any, node: Node = NODE, number: int = 1, **more: Any) -> Run:
    """A run with a share of the node."""
    run = replace(Run(f"run_{number}", "train", "task", {}, NOW, RunState.RUNNING), **more)
    lease = Lease(f"ls_{number}", run.id, "task", 0, (), NOW)
    store.commit(node, run, lease, Allocation(f"at_{number}", node.id, lease.id, NOW))
    return run


def nights(**more: Any) -> Policy:
    window = Window(frozenset(range(5)), 20 * 60, 6 * 60)
    terms = Disruption((window,), "Europe/Oslo", **more)
    where = Location("hours.yaml", 5)
    return Policy((Rule("nights", Verb.DISRUPTION, terms=terms, location=where),))


def test_a_node_with_work_is_not_drained_outside_the_hours(ledger: Ledger, said: Any) -> None:
    at_work(ledger)
    code, _, err = said("edge", "drain", "oslo-01", "-p", "hours.yaml")
    assert code == 6
    assert "oslo-01 may not be drained now: train runs there, and nights saw Sat 13:00" in err
    assert "hours.yaml:5:" in err
    assert "it may from Mon 2026-11-23 19:00 UTC on; --force drains it all the same" in err
    assert ledger.find(Node)[0].state is NodeState.ONLINE
    assert said("edge", "drain", "oslo-01", "-p", "hours.yaml", "--force")[0] == 0
    assert ledger.find(Node)[0].state is NodeState.DRAINED


def test_an_idle_node_is_drained_at_any_time(ledger: Ledger, said: Any) -> None:
    run = at_work(ledger)
    ledger.commit(replace(ledger.find(Run)[0], state=RunState.SUCCEEDED))
    assert run.id == "run_1"
    assert said("edge", "drain", "oslo-01", "-p", "hours.yaml")[0] == 0


def test_in_the_hours_work_may_be_disturbed() -> None:
    store = MemoryStore()
    at_work(store)
    night = datetime(2026, 11, 23, 22, tzinfo=UTC)
    assert disruption.against_drain(store, nights(), NODE, night) is None
    assert disruption.against_drain(store, Policy(), NODE, NOW) is None


def test_only_so_many_nodes_with_work_are_drained_at_once() -> None:
    store, night = MemoryStore(), datetime(2026, 11, 23, 22, tzinfo=UTC)
    at_work(store)
    other = Node("nd_lyon", "lyon-01", "edge", NOW, NodeState.DRAINED)
    at_work(store, other, 2)
    idle = Node("nd_idle", "idle-01", "edge", NOW, NodeState.DRAINED)
    store.commit(idle)
    assert disruption.against_drain(store, nights(max_at_once=2), NODE, night) is None
    against = disruption.against_drain(store, nights(max_at_once=1), NODE, night)
    assert against is not None
    run, finding, opening = against
    assert (run.id, finding.rule, finding.saw) == ("run_1", "nights", "1 under way")
    assert opening is None, "no hour makes it one less"


def test_the_project_of_the_work_decides_which_rules_bind() -> None:
    store = MemoryStore()
    demand, _ = asked()
    from broker.planned import asked as kept

    run = at_work(store, spec=kept(demand))
    assert disruption.demand_of(run).project == "research"
    assert disruption.demand_of(replace(run, spec={})) == Demand("train", ())
