"""`up` on `aws@sandbox`: boto3 against an emulator of EC2 whose instances are real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sandbox")]

TASK = """\
name: work
resources: {{cpus: 2+, memory: 4+, use_spot: false, infra: aws@sandbox/eu-north-1}}
budget: 5usd
run: |
  {run}
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from broker.sandbox.starter import Sandbox

    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as one:
        yield one


@pytest.fixture
def cloud(shell: Any, sandbox: Any) -> Any:
    """A shell whose configuration knows the sandbox."""
    shell.home.mkdir()
    (shell.home / "config.yaml").write_text(
        "clouds:\n"
        "  aws@sandbox:\n"
        "    provider: aws\n"
        f"    endpoint: {sandbox.endpoint}\n"
        "    regions: [eu-north-1]\n"
        "    profile: sandbox\n"
        f"    credentials_file: {sandbox.credentials_file}\n"
    )
    yield shell
    sandbox.control(capacity={})


def states(shell: Any) -> list[str]:
    return [one["kind"] for one in shell("events", "work", "-o", "json").data]


def test_a_task_runs_on_an_instance_that_ends_with_it(cloud: Any) -> None:
    cloud.write("t.yaml", TASK.format(run="echo from the cloud"))
    done = cloud("up", "t.yaml", "--yes")
    assert (done.code, done.out) == (0, "from the cloud\n"), done.err
    assert "aws@sandbox" in done.err
    (run,) = cloud("status", "--all", "-o", "json").data
    assert run["leases"][0]["state"] == "closed"
    assert run["leases"][0]["instance_id"] is None or run["leases"][0]["usd_spent"] != "0"


def test_a_sold_out_offer_falls_through_to_the_next(cloud: Any, sandbox: Any) -> None:
    plan = cloud.write("t.yaml", TASK.format(run="echo here")) and cloud(
        "plan", "t.yaml", "-o", "json"
    )
    first, second, *_ = [
        plan.data["placements"][0]["offer"],
        *plan.data["placements"][0]["fallbacks"],
    ]
    sandbox.control(capacity={f"{first['instance_type']}@{first['zone']}": 0})
    done = cloud("up", "t.yaml", "--yes")
    assert (done.code, done.out) == (0, "here\n"), done.err
    assert "InsufficientInstanceCapacity" in done.err
    assert f"{second['zone']}/{second['instance_type']}" in done.err


def test_a_preempted_lease_is_replaced_and_the_task_runs_again(
    cloud: Any, sandbox: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    run = f"if [ -e {mark} ]; then echo second; else touch {mark}; sleep 1000; fi"
    cloud.write("t.yaml", TASK.format(run=run))
    assert cloud("up", "t.yaml", "--yes", "--detach").code == 0
    eventually(mark.exists)
    (row,) = cloud("status", "-o", "json").data
    sandbox.interrupt(row["leases"][0]["instance_id"])
    eventually(lambda: cloud("status", "--all", "-o", "json").data[0]["state"] == "succeeded", 120)
    (after,) = cloud("status", "--all", "-o", "json").data
    assert after["leases"][0]["preemptions"] == 1
    assert "second" in cloud("logs", "work").out
    assert "lease.preempted" in states(cloud)


def test_a_task_that_reaches_its_budget_is_ended(cloud: Any) -> None:
    cloud.write("t.yaml", TASK.format(run="sleep 1000"))
    done = cloud("up", "t.yaml", "--yes", "--max-cost", "0.00001")
    assert done.code == 1
    assert "budget" in done.err
    (row,) = cloud("status", "--all", "-o", "json").data
    assert (row["state"], row["leases"][0]["state"]) == ("cancelled", "closed")


def test_money_without_a_bound_is_refused(cloud: Any) -> None:
    cloud.write("t.yaml", TASK.format(run="true").replace("budget: 5usd\n", ""))
    done = cloud("up", "t.yaml", "--yes")
    assert done.code == 7
    assert "--max-cost" in done.err


def test_a_check_of_the_cloud_logs_in(cloud: Any) -> None:
    done = cloud("cloud", "check", "aws@sandbox")
    assert (done.code, "login works" in done.out) == (0, True)


BUDGET = """\
policy: months
rules:
  - id: month
    budget: {{usd_per_month: {usd}}}
"""


def test_a_month_holds_what_a_run_may_cost_and_settles_what_it_did(cloud: Any) -> None:
    cloud.write("t.yaml", TASK.format(run="echo paid") + "duration: 1h\n")
    cloud.write("p.yaml", BUDGET.format(usd=20))
    done = cloud("up", "t.yaml", "--yes", "--policy", "p.yaml")
    assert (done.code, done.out) == (0, "paid\n"), done.err
    (account,) = cloud("budget", "list", "--policy", "p.yaml", "-o", "json").data
    assert float(account["held"]) == 0
    assert 0 < float(account["settled"]) < 1
    why = cloud("why", "work", "-o", "json").data
    assert "month" in str(why)


def test_a_month_that_is_too_small_refuses_the_run_and_leases_nothing(cloud: Any) -> None:
    cloud.write("t.yaml", TASK.format(run="echo never") + "duration: 1h\n")
    cloud.write("p.yaml", BUDGET.format(usd="0.0001"))
    done = cloud("up", "t.yaml", "--yes", "--policy", "p.yaml")
    assert done.code == 7
    assert "p.yaml:" in done.err
    assert cloud("status", "--all", "-o", "json").data == []
