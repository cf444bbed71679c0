"""What was agreed to becomes a run and leases; what the app does not know is refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pytest

from broker.errors import UsageError
from broker.federation.admit import Agreed, admit_federation, seating
from broker.federation.app import App, build, overrides
from broker.federation.cohort import choose
from broker.model import Decision, Demand, Lease, LeaseState, Run, RunState
from tests.federation.conftest import (
    APP,
    NOW,
    Story,
    aggregator_plan,
    cloud_offer,
    federation,
    ids,
    site_offer,
)

HOSPITALS = Path(__file__).resolve().parents[2] / "examples" / "hospitals" / "app"


def test_one_run_the_aggregators_lease_and_one_for_each_site() -> None:
    fresh = ids()
    fed = federation(budget_usd=Decimal("1.50"))
    cohort = choose(
        [site_offer("oslo"), site_offer("lyon"), site_offer("x", datasets=())], fed, Decision
    )
    agreed = Agreed(fed, APP, cohort, aggregator_plan())
    run, *leases = admit_federation(agreed, NOW, lambda prefix: f"{prefix}_{next(fresh)}")
    assert isinstance(run, Run)
    assert (run.kind, run.state, run.name) == ("fed", RunState.PENDING, "hospitals")
    assert run.spec["budget_usd"] == "1.50"
    assert run.spec["app"]["sha256"] == hashlib.sha256(b"bundle").hexdigest()
    assert run.plan["policies"] == ["eu.yaml"]
    assert [one["offer"]["region"] for one in run.spec["not_chosen"]] == ["x"]
    aggregator, *sites = [one for one in leases if isinstance(one, Lease)]
    assert (aggregator.role, aggregator.rank) == ("aggregator", 0)
    assert aggregator.candidates == (cloud_offer(), cloud_offer("b"))
    assert [(one.role, one.rank, one.state) for one in sites] == [
        ("site", 1, LeaseState.PENDING),
        ("site", 2, LeaseState.PENDING),
    ]
    assert [len(one.candidates) for one in sites] == [1, 1]
    assert run.spec["seats"][sites[0].id] == {
        "node_id": "nd_lyon",
        "name": "lyon",
        "dataset": "ct",
    }
    assert {one.run_id for one in [aggregator, *sites]} == {run.id}
    json.dumps(run.spec)


def test_a_federation_waits_as_a_whole_for_the_hour_of_its_aggregator() -> None:
    later = NOW + timedelta(hours=3)
    (placement,) = aggregator_plan().placements
    plan = replace(aggregator_plan(), placements=(replace(placement, start_after=later),))
    cohort = choose([site_offer(name) for name in ("oslo", "lyon")], federation(), Decision)
    demand = Demand("located", (), project="research")
    agreed = Agreed(federation(), APP, cohort, plan, demand)
    run, *leases = admit_federation(agreed, NOW, Story().new_id)
    assert {one.not_before for one in leases if isinstance(one, Lease)} == {later}
    assert isinstance(run, Run)
    assert run.spec["project"] == "research"
    assert run.spec["demand"]["name"] == "located"


def test_the_cohort_is_a_plan_with_a_decision_over_every_node() -> None:
    offers = [site_offer("oslo"), site_offer("lyon", price=None), site_offer("x", datasets=())]
    cohort = choose(offers, federation(), Decision)
    plan = seating(cohort, Demand("site", ()), ("eu.yaml",))
    assert [(one.offer.region, one.usd_per_hour) for one in plan.placements] == [
        ("lyon", None),
        ("oslo", Decimal(0)),
    ]
    assert [(one.offer.region, one.allowed) for one in plan.decisions] == [
        ("lyon", True),
        ("oslo", True),
        ("x", False),
    ]
    assert (plan.considered, plan.allowed, plan.policies) == (3, 2, ("eu.yaml",))


def test_without_a_budget_none_is_written() -> None:
    assert "budget_usd" not in Story().run.spec


def test_the_apps_settings_are_overridden_and_its_rounds_set_where_it_has_them() -> None:
    assert overrides(APP, 7, {"lr": 1}) == {"num-server-rounds": 7, "lr": 1}
    assert overrides(App("a", b"", {"lr": 0.1}), 7, {}) == {}
    assert overrides(APP, 7, {"num-server-rounds": 9}) == {"num-server-rounds": 9}


def test_a_setting_that_the_app_does_not_declare_is_refused() -> None:
    with pytest.raises(UsageError, match="`momentum`") as caught:
        overrides(APP, 3, {"momentum": 0.9})
    assert caught.value.hint == "declared: lr, num-server-rounds"
    with pytest.raises(UsageError) as caught:
        overrides(App("a", b""), 3, {"x": 1})
    assert caught.value.hint == "declared: none"


MANIFEST = """
[project]
name = "tiny"
version = "1"
[tool.flwr.app]
publisher = "me"
[tool.flwr.app.components]
serverapp = "tiny.s:app"
clientapp = "tiny.c:app"
[tool.flwr.app.config]
lr = 0.1
[tool.flwr.app.config.deep]
on = true
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-app"
    files = {
        "pyproject.toml": MANIFEST,
        "tiny/s.py": "app = 1\n",
        "tiny/c.py": "app = 2\n",
        "tiny/data.json": "{}",
        "README.md": "hi",
        "LICENSE": "free",
        "tiny/rows.npz": "data",
        "tiny/test_s.py": "no",
        "tiny/s_test.py": "no",
        ".venv/lib/x.py": "no",
        "build/x.py": "no",
        "tiny/__pycache__/x.py": "no",
        "deep/LICENSE": "no",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "tiny" / "link.py").symlink_to("/etc/hostname")
    return folder


def test_a_bundle_holds_the_app_and_nothing_that_lies_beside_it(tiny: Path) -> None:
    app = build(tiny)
    with zipfile.ZipFile(BytesIO(app.fab)) as bundle:
        names = bundle.namelist()
        content = bundle.read(".info/CONTENT").decode()
        assert bundle.read("pyproject.toml").decode() == MANIFEST
    assert names == [
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "tiny/c.py",
        "tiny/data.json",
        "tiny/s.py",
        ".info/CONTENT",
    ]
    digest = hashlib.sha256(b"app = 1\n").hexdigest()
    assert content.splitlines()[-1] == f"tiny/s.py,{digest},64"
    assert app.name == "tiny"
    assert app.config == {"lr": 0.1, "deep.on": True}


def test_the_same_files_make_the_same_bundle(tiny: Path, tmp_path: Path) -> None:
    import os
    import shutil

    again = tmp_path / "elsewhere"
    shutil.copytree(tiny, again, symlinks=True)
    for path in again.rglob("*.py"):
        if not path.is_symlink():
            os.utime(path, (0, 0))
            path.chmod(0o700)
    assert build(again).sha256 == build(tiny).sha256
    (again / "tiny" / "s.py").write_text("app = 3\n")
    assert build(again).sha256 != build(tiny).sha256


def test_flower_itself_reads_the_bundle(tiny: Path) -> None:
    """In an interpreter of its own: flwr is never loaded into this one."""
    import subprocess
    import sys

    probe = (
        "import sys; from flwr.common.config import get_fab_config;"
        "from flwr.cli.config_utils import get_fab_metadata;"
        "data = sys.stdin.buffer.read(); print(get_fab_metadata(data))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], input=build(tiny).fab, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "('me/tiny', '1')"


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        "not [ toml",
        "[project]\nname='x'",
        MANIFEST.replace("serverapp", "server"),
        MANIFEST.replace('name = "tiny"', 'name = ""'),
        MANIFEST.replace("[tool.flwr.app.components]", "[tool.flwr.app.other]"),
        "tool = 3",
    ],
)
def test_a_folder_without_a_flower_app_is_refused(tiny: Path, manifest: str | None) -> None:
    path = tiny / "pyproject.toml"
    path.unlink() if manifest is None else path.write_text(manifest)
    with pytest.raises(UsageError) as caught:
        build(tiny)
    assert caught.value.code == "FED031"


def test_a_bundle_over_the_limit_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.federation.app.LIMIT", 100)
    with pytest.raises(UsageError, match="at most 100"):
        build(tiny)


def test_an_app_with_rules_of_its_own_is_bundled_by_flower(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tiny / ".gitignore").write_text("secret.json\n")
    monkeypatch.setitem(sys.modules, "flwr.cli.build", None)
    with pytest.raises(UsageError) as caught:
        build(tiny)
    assert caught.value.code == "FED033"


def test_the_example_is_an_app(tmp_path: Path) -> None:
    app = build(HOSPITALS)
    assert app.name == "hospitals"
    assert app.config["num-server-rounds"] == 3
    assert len(app.fab) < 50_000
