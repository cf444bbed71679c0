"""A plan says why: every rule over the chosen offer, what each rule costs, what would admit more; any
other offer can be traced, a plan that cannot be made derives why, and a run keeps its decisions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from broker.catalog import Catalog
from broker.cli.context import Context
from broker.cli.planning import located
from broker.home import home_at
from broker.model import (
    Artefact,
    Attempt,
    Decision,
    Demand,
    Explanation,
    Finding,
    Kind,
    Lease,
    LeaseState,
    Location,
    Market,
    Offer,
    Price,
    Reason,
    Refusal,
    Run,
    Storage,
    Verdict,
)
from broker.store import Ledger

TASK = """name: t
resources:
  accelerators: L4:1
  use_spot: false
data: {class: phi}
duration: 6h
budget: 12usd
run: 'true'
"""
POLICY = """policy: p
rules:
  - id: phi-stays
    when: {data_class: [phi]}
    require:
      country: [NO, SE]
    why: Health data stays where its patients live.
  - id: clean
    when: {data_class: [phi]}
    require: {max_carbon_g_per_kwh: 250}
"""
PLAN = ("plan", "t.yaml", "-p", "p.yaml")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled catalog, made once for this module."""
    path = tmp_path_factory.mktemp("built") / "catalog.db"
    Catalog(path).ensure()
    return path


@pytest.fixture
def ready(broker: Callable, write: Callable, home: Path, built: Path) -> Callable:
    """`broker` in a home with a catalog and in a folder with a task and its policy."""
    shutil.copyfile(built, home_at(home).make().catalog)
    write("t.yaml", TASK)
    write("p.yaml", POLICY)
    return broker


def test_an_explained_plan_counts_every_rule_and_shows_what_each_saw(ready: Callable) -> None:
    done = ready(*PLAN, "--explain")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert any(line.startswith("Task") and "data class phi" in line for line in lines)
    assert any("hard stop 12.00 $ (t.yaml:7:9)" in line for line in lines)
    assert any("at most" in line for line in lines if line.startswith("Cost"))
    stays = [line.split() for line in lines if "phi-stays" in line]
    assert any(line[3] == "p.yaml:6:16" for line in stays if line[0].isdigit())
    assert any(line[:2] == ["passes", "phi-stays"] and "SE" in line for line in stays)
    assert "The price of each rule" in lines
    assert any(line.startswith("  - relax phi-stays (p.yaml:6:16)") for line in lines)


def test_an_explained_plan_as_json_adds_up(ready: Callable) -> None:
    data = ready(*PLAN, "--explain", "-o", "json").json["data"]
    assert data["allowed"] + sum(one["count"] for one in data["blames"]) == data["considered"]
    (placement,) = data["placements"]
    assert placement["usd_expected"] <= placement["usd_most"] <= 12
    tried = [placement["offer"]["key"], *(one["key"] for one in placement["fallbacks"])]
    assert [one["offer"]["key"] for one in data["decisions"]] == tried
    assert all(one["allowed"] for one in data["decisions"])
    verdicts = {one["rule"]: one["verdict"] for one in data["decisions"][0]["findings"]}
    assert verdicts.items() >= {"accelerators": "passes", "phi-stays": "passes"}.items()
    assert all(way["relax"] and way["offers"] for way in data["ways_out"])
    for toll in data["tolls"]:
        saved = placement["usd_per_hour"] - toll["cheapest"]["usd_per_hour"]
        assert toll["usd_per_hour"] == pytest.approx(saved)
    plain = ready(*PLAN, "-o", "json").json["data"]
    assert plain["placements"] == data["placements"]
    assert "blames" not in plain


def test_a_refused_offer_is_traced_to_the_line_that_refuses_it(ready: Callable) -> None:
    done = ready(*PLAN, "--offer", "gcp/us-central1/g2-standard-4")
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.startswith("gcp us-central1")
    assert head.endswith("refused")
    shown = "\n".join(lines)
    assert "  --> p.yaml:6:16\n   |\n 6 |       country: [NO, SE]\n" in shown
    assert "|                ^^^^^^^^ saw country US (source: " in shown
    assert "= because phi-stays wants country in [NO, SE]: Health data stays" in shown
    assert "= also refused by: clean (p.yaml:10:37): wants carbon at most 250 g/kWh" in shown
    assert "= no single change admits this offer; the smallest set is {phi-stays, clean}" in shown
    assert "Every rule, in order" in lines


def test_the_trace_of_an_allowed_offer_refuses_nothing(ready: Callable) -> None:
    key = ready(*PLAN, "-o", "name").out.strip()
    data = ready(*PLAN, "--offer", key, "-o", "json").json["data"]
    assert data["offer"]["key"] == key
    assert data["allowed"]
    assert data["smallest_change"] is None
    assert {one["verdict"] for one in data["findings"]} <= {"passes", "does not apply"}


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        ("awz/us-east-1/g6.xlarge", 10, "did you mean `aws`?"),
        ("aws/us-eastt-1/g6.xlarge", 10, "did you mean `us-east-1`?"),
        ("aws/us-east-1/g6.xlage", 10, "did you mean `g6.xlarge`?"),
        ("aws/us-east-1/g6", 2, "aws/us-east-1/g6.xlarge, "),
    ],
)
def test_an_offer_that_is_not_one_says_which_could_be_meant(
    word: str, code: int, says: str, ready: Callable
) -> None:
    done = ready(*PLAN, "--offer", word)
    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_a_plan_that_cannot_be_made_derives_why_and_lists_ways_out(
    ready: Callable, write: Callable
) -> None:
    write("p.yaml", POLICY.replace("[NO, SE]", "[NO, IS]"))
    done = ready(*PLAN, "-o", "json")
    assert done.code == 6
    hint = done.json["error"]["hint"].splitlines()
    assert hint[0] == "Health data stays where its patients live."
    because = " ".join(line.strip() for line in hint)
    assert "Because accelerators wants L4:1 (t.yaml:3:17), which refuses" in because
    assert "phi-stays wants country in [NO, IS] (p.yaml:6:16), which refuses" in because
    assert "no placement exists. Ways out, each enough alone:" in because
    ways = [line for line in hint if line.strip().startswith("- ")]
    assert any("relax phi-stays (p.yaml:6:16)" in line and "$/h" in line for line in ways)
    told = ready(*PLAN)
    assert told.code == 6
    assert "no placement exists." in told.err


def test_a_project_is_named_on_the_command_line_or_in_the_configuration(
    ready: Callable, write: Callable, home: Path
) -> None:
    write(
        "p.yaml",
        POLICY + "  - id: poor\n    when: {project: [research]}\n"
        "    require: {max_usd_per_hour: 0.01}\n",
    )
    assert ready(*PLAN).code == 0
    done = ready(*PLAN, "--project", "research")
    assert done.code == 7
    assert "poor" in done.err
    home_at(home).config.write_text("project: research\n")
    assert ready(*PLAN).code == 7
    assert ready(*PLAN, "--project", "care").code == 0


RESIDENCY = """policy: p
rules:
  - id: phi-eea
    when: {data_class: [phi]}
    residency: {bloc: [EEA]}
  - id: night
    carbon: {shift: {within: 20h, hours: ["%s"]}}
    why: Cleaner at night.
"""


def test_logs_of_no_known_place_are_told_with_the_setting_that_mends_it(
    ready: Callable, write: Callable, home: Path
) -> None:
    write("p.yaml", RESIDENCY % "00:00-24:00")
    done = ready(*PLAN)
    assert done.code == 6
    assert "= tip: `country: NO` in the configuration says where this broker keeps" in done.err
    home_at(home).config.write_text("country: NO\n")
    assert ready(*PLAN).code == 0


def test_work_that_can_wait_starts_in_the_hours_of_the_policy(
    ready: Callable, write: Callable, home: Path
) -> None:
    home_at(home).config.write_text("country: NO\n")
    later = (datetime.now(UTC).hour + 3) % 24
    write("p.yaml", RESIDENCY % f"{later:02}:00-{(later + 1) % 24:02}:00")
    write("t.yaml", TASK + "start_within: 20h\n")
    done = ready(*PLAN)
    start = next(line for line in done.out.splitlines() if line.startswith("Start"))
    assert f" {later:02}:00 UTC: rule night (p.yaml:7:" in start
    assert start.endswith(": Cleaner at night.")
    (placement,) = ready(*PLAN, "-o", "json").json["data"]["placements"]
    assert datetime.fromisoformat(placement["start_after"]).hour == later
    write("t.yaml", TASK)  # control: what cannot wait starts at once
    assert "Start" not in ready(*PLAN).out


# ------------------------------------------------------------------------------------------- why

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def an_offer(zone: str) -> Offer:
    price = Price(Decimal(1), "2026-11-01", "list")
    return Offer("aws", "eu-north-1", zone, "g6.xlarge", Market.SPOT, 4, 16, price=price)


@pytest.fixture
def kept(home: Path) -> Run:
    """A run whose lease has moved on once."""
    first, second, third = map(an_offer, ("eu-north-1a", "eu-north-1b", "eu-north-1c"))
    where = Location("p.yaml", 6, 16)
    finding = Finding("phi-stays", Verdict.PASSES, "country SE", "country in [SE]", location=where)
    no = Reason(Kind.POLICY, "clean", "400", "at most 250", where)
    run = Run("run_1", "train", "task", {}, AT)
    lease = Lease(
        "ls_1",
        run.id,
        "task",
        0,
        (first, second, third),
        AT,
        state=LeaseState.RUNNING,
        attempt=Attempt("at_1", second, AT),
        failed={first.key: "InsufficientInstanceCapacity: none left"},
        preemptions=2,
        max_preemptions=3,
    )
    told = Explanation(
        "run_1:task",
        run.id,
        "task",
        AT,
        tuple(Decision(one, findings=(finding,)) for one in (first, second)),
        (Refusal(no, 41, third),),
        ("p.yaml",),
        "2026-10-01",
    )
    Ledger(f"sqlite:///{home_at(home).make().ledger}").commit(run, lease, told)
    return run


@pytest.mark.parametrize("word", ["run_1", "ru", "train", "ls_1", "ls_"])
def test_a_run_says_why_it_stands_where_it_stands(word: str, broker: Callable, kept: Run) -> None:
    done = broker("why", word)
    assert done.code == 0, done.err
    assert "stands on  aws/eu-north-1b/g6.xlarge/spot" in done.out
    assert "aws/eu-north-1a/g6.xlarge/spot: InsufficientInstanceCapacity: none left" in done.out
    assert "candidates 3, 2 left" in done.out
    assert "preempted  2 times of at most 3" in done.out
    rule = next(line for line in done.out.splitlines() if "phi-stays" in line)
    assert rule.split()[:3] == ["passes", "phi-stays", "p.yaml:6:16"]
    assert "policies p.yaml   catalog as of 2026-10-01" in done.out
    assert any(line.split()[:2] == ["41", "clean"] for line in done.out.splitlines() if line)


def test_why_is_one_document_for_programs(broker: Callable, kept: Run) -> None:
    done = broker("why", kept.id, "-o", "json")
    assert done.json["schema"] == "broker/why/v1"
    (lease,) = done.json["data"]["leases"]
    assert lease["decision"]["offer"]["key"] == lease["offer"]["key"]
    assert lease["candidates_left"] == [
        f"aws/eu-north-1{zone}/g6.xlarge/spot" for zone in ("b", "c")
    ]
    assert json.dumps(done.json["data"]["explanations"]).count("clean") == 1


@pytest.mark.parametrize("word", ["nothing", "ls_nothing"])
def test_why_of_what_is_not_there_says_so(word: str, broker: Callable, kept: Run) -> None:
    done = broker("why", word)
    assert (done.code, done.out) == (10, "")
    assert word in done.err


def test_why_in_a_home_without_runs_says_so(broker: Callable) -> None:
    assert broker("why", "train").code == 10


def test_a_demand_is_located_once_and_then_left_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_HOME", str(home))
    home_at(home).make().config.write_text("project: research\ncountry: NO\n")
    wish = Demand("t", (), storage=(Storage(Artefact.BUCKET, "gcp/europe-west3"),))
    found = located(Context(), wish, "default")
    assert [one.site.country for one in found.storage] == ["DE", "NO"]
    assert found.project == "default"
    assert located(Context(), found) == found
    assert located(Context(), wish).project == "research"
