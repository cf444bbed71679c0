"""`broker policy`: rules are checked, run against cases, told in words, compared and laid out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from broker.codec import to_json
from broker.home import home_at
from broker.model import (
    Data,
    Demand,
    Lease,
    LeaseState,
    Market,
    Offer,
    Price,
    Resources,
    Run,
    Site,
)
from broker.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
GOOD = """\
policy: p
classes:
  personal: {}
  phi: {is: [personal], purposes: [care, research]}
rules:
  - id: stays
    when: {data_class: [personal]}
    require: {country: [NO, SE]}
    why: Patients live there.
  - id: green
    prefer: {country: [NO]}
  - id: monthly
    budget: {usd_per_month: 500, warn_at: [50, 80]}
  - id: nights
    disruption: {allow: ["Mon-Fri 20:00-06:00"], timezone: Europe/Oslo, max_at_once: 1}
"""
ODD = """\
policy: odd
classes:
  phi: {}
  pii: {}
rules:
  - id: misspelt
    when: {region: [eu-north-11], data_class: [pii]}
    deny: {accelerator: [A10O]}
  - id: wide
    require: {country: [NO, SE]}
  - id: narrow
    require: {country: [SE, NO, DK]}
  - id: nowhere
    require: {country: [NO], bloc: [EU]}
  - id: everywhere
    prefer: {kind: [cloud, edge, local]}
  - id: idle
    when: {role: [aggregator], data_class: [pii]}
    residency: {country: [NO], of: [machine]}
"""
BAD = """\
policy: bad
rules:
  - id: a
    require: {contry: [NO]}
  - id: a, b%
    deny: {market: [sopt]}
"""
CASES = """\
policies: [policy.yaml]
cases:
  - name: health data stays in the north
    demand: {data_class: phi, purpose: care, duration: 6h}
    offer: {cloud: gcp, region: us-east1, usd_per_hour: 1.2}
    expect: deny
    by: [stays]
  - name: and may be in Norway
    demand: {data_class: phi, purpose: care, duration: 6h}
    offer: {node: oslo-01, country: NO}
    expect: allow
    prefers: [green]
  - name: nothing is left
    demand: {duration: 1h}
    standing: {spent: {monthly: 499}}
    offer: {cloud: gcp, region: us-east1, accelerator: 'L4:1', usd_per_hour: 2}
    expect: deny
    by: [monthly]
  - name: work is not moved by day
    disrupt: {at: '2026-11-20T10:00:00Z', project: x}
    expect: deny
    by: [nights]
  - name: but by night
    disrupt: {at: '2026-11-20T22:00:00Z', project: x}
    expect: allow
"""
WRONG = CASES.replace("expect: allow\n    prefers", "expect: deny\n    prefers", 1).replace(
    "    by: [nights]\n", "    by: [stays]\n"
)
FILES = {
    "good": {"policy.yaml": GOOD},
    "odd": {"policy.yaml": ODD},
    "bad": {"policy.yaml": BAD},
    "cases": {"policy.yaml": GOOD, "cases.yaml": CASES},
    "wrong": {"policy.yaml": GOOD, "cases.yaml": WRONG},
}

# name -> (files, arguments, exit code)
SHOWN: dict[str, tuple[str, list[str], int]] = {
    "policy-check": ("good", ["check", "policy.yaml"], 0),
    "policy-check-warnings": ("odd", ["check", "policy.yaml"], 0),
    "policy-check-strict": ("odd", ["check", "policy.yaml", "--strict", "-o", "name"], 2),
    "policy-check-errors": ("bad", ["check", "policy.yaml"], 2),
    "policy-check-errors-github": ("bad", ["check", "policy.yaml", "--format", "github"], 2),
    "policy-check-errors-junit": ("bad", ["check", "policy.yaml", "--format", "junit"], 2),
    "policy-test": ("cases", ["test"], 0),
    "policy-test-wrong": ("wrong", ["test", "cases.yaml"], 1),
    "policy-test-wrong-github": ("wrong", ["test", ".", "--format", "github"], 1),
    "policy-test-wrong-junit": ("wrong", ["test", ".", "--format", "junit"], 1),
    "policy-explain": ("good", ["explain", "policy.yaml"], 0),
    "policy-explain-nothing": ("good", ["explain", "stay", "policy.yaml"], 10),
    "policy-fmt-diff": ("odd", ["fmt", "policy.yaml", "--check", "--diff"], 1),
    "policy-no-files": ("good", ["check"], 2),
}


@pytest.fixture
def lay(write: Callable, tmp_path: Path) -> Callable[[str], Path]:
    """Put these files into the folder where `broker` runs; returns the folder."""

    def put(name: str) -> Path:
        for file, text in FILES[name].items():
            write(file, text)
        return tmp_path / "work"

    return put


@pytest.mark.parametrize("name", SHOWN)
def test_the_answer_is_the_recorded_one(
    name: str, broker: Callable, lay: Callable, pytestconfig: pytest.Config
) -> None:
    files, arguments, code = SHOWN[name]
    lay(files)
    done = broker("policy", *arguments)
    shown = f"{done.out}--- stderr ---\n{done.err}" if done.err else done.out
    assert done.code == code, shown
    assert "Traceback" not in shown
    recorded = GOLDEN / f"{name}.txt"
    if pytestconfig.getoption("--update-golden"):
        recorded.write_text(shown)
    assert shown == recorded.read_text()


def test_a_folder_is_searched_for_policies(broker: Callable, lay: Callable) -> None:
    folder = lay("cases")
    (folder / "deep" / ".hidden").mkdir(parents=True)
    (folder / "deep" / "more.yml").write_text("# first\npolicy: more\nrules: []\n")
    (folder / "deep" / ".hidden" / "no.yaml").write_text("policy: hidden\nrules: 4\n")
    (folder / "task.yaml").write_text("name: t\nrun: |\n  policy: no\n")
    done = broker("policy", "check", ".", "-o", "json")
    assert [one["file"] for one in done.json["data"]["files"]] == ["deep/more.yml", "policy.yaml"]
    assert broker("policy", "check", ".", "-o", "name").out.split() == [
        "deep/more.yml",
        "policy.yaml",
    ]
    empty = broker("policy", "check", "deep/.hidden/..", "deep/.hidden", "-o", "json")
    assert empty.json["error"]["code"] == "POL004"  # control: what is named is read, hidden or not


def test_the_configurations_policies_are_checked_where_none_is_named(
    broker: Callable, lay: Callable, home: Path
) -> None:
    folder = lay("odd")
    home.mkdir(exist_ok=True)
    (home / "config.yaml").write_text(f"policies: [{folder}/policy.yaml]\n")
    done = broker("policy", "check", "-o", "json")
    assert [one["policy"] for one in done.json["data"]["files"]] == ["odd"]
    assert done.json["warnings"]


def test_errors_are_one_document_in_json(broker: Callable, lay: Callable) -> None:
    lay("bad")
    for arguments in (["-o", "json"], ["--format", "json"]):
        done = broker("policy", "check", "policy.yaml", *arguments)
        assert done.code == 2
        assert done.json["schema"] == "broker/error/v1"
        assert len(done.json["error"]["errors"]) == 3
        assert done.err == ""


def test_the_sarif_report_holds_what_the_standard_asks_for(broker: Callable, lay: Callable) -> None:
    lay("bad")
    done = broker("policy", "check", "policy.yaml", "--format", "sarif")
    log = done.json
    assert (done.code, log["version"]) == (2, "2.1.0")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"]
    assert {"POL002", "POL101", "DOC007", "CAS020"} <= {rule["id"] for rule in rules}
    assert all(rule["shortDescription"]["text"] for rule in rules)
    assert len(run["results"]) == 3
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "policy.yaml"
        region = place["region"]
        assert 1 <= region["startColumn"] < region["endColumn"]
        assert region["startLine"] >= 1


def test_the_junit_report_counts_what_failed(broker: Callable, lay: Callable) -> None:
    lay("wrong")
    done = broker("policy", "test", "--format", "junit")
    suite = ET.fromstring(done.out.encode()).find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.attrib["tests"]) == 9
    failed = [one for one in cases if one.find("failure") is not None]
    assert len(failed) == int(suite.attrib["failures"]) == 2


def test_cases_are_told_in_json_with_the_coverage(broker: Callable, lay: Callable) -> None:
    lay("cases")
    done = broker("policy", "test", "-o", "json")
    data = done.json["data"]
    assert (done.code, data["passed"], data["failed"]) == (0, True, 0)
    assert data["coverage"]["per_cent"] == 100
    first = data["cases"][0]
    assert (first["verdict"], first["refused_by"]) == ("deny", ["stays"])
    assert {"rule": "stays", "verdict": "refuses"}.items() <= next(
        one for one in first["findings"] if one["rule"] == "stays"
    ).items()


def test_rules_without_cases_fail_the_run_unless_less_is_wanted(
    broker: Callable, lay: Callable
) -> None:
    folder = lay("cases")
    (folder / "policy.yaml").write_text(GOOD + "  - id: new\n    deny: {market: [spot]}\n")
    done = broker("policy", "test")
    assert done.code == 1
    assert re.search(r"policy.yaml:16:9 +new +no case sees it refuse", done.out)
    assert broker("policy", "test", "--min-coverage", "80").code == 0
    report = broker("policy", "test", "--format", "github")
    assert (report.code, report.out.count("::error ")) == (1, 1)


def test_invalid_case_files_and_their_policies_leave_with_two(
    broker: Callable, lay: Callable
) -> None:
    folder = lay("bad")
    case = "  - {name: a, offer: {}, expect: deny}\n"
    (folder / "a.yaml").write_text(f"policies: [policy.yaml]\ncases:\n{case}")
    (folder / "b.yaml").write_text(f"policies: [policy.yaml]\ncases:\n{case}  - {{name: b}}\n")
    done = broker("policy", "test", "--format", "github")
    assert (done.code, done.err) == (2, "")
    titles = re.findall(r"title=(\w+)", done.out)
    assert sorted(titles) == ["CAS020", "POL002", "POL005", "POL005"]


def test_a_rule_is_explained_with_what_it_does_by_itself(broker: Callable, lay: Callable) -> None:
    lay("good")
    done = broker("policy", "explain", "stays", "policy.yaml", "-o", "json")
    alone = done.json["data"]["alone"]
    assert done.json["data"]["applies_to"].startswith("data of class personal")
    assert 0 < alone["refused"] < alone["offers"]
    assert alone["cheapest_left"]["country"] in {"NO", "SE"}
    assert alone["cheapest_refused"]["country"] not in {"NO", "SE"}
    shown = broker("policy", "explain", "green", "policy.yaml").out
    assert "By itself it refuses 0 of" in shown
    assert "It prefers" in shown


def test_a_change_is_told_with_its_effect(broker: Callable, lay: Callable) -> None:
    folder = lay("good")
    (folder / "new.yaml").write_text(GOOD.replace("[NO, SE]", "[NO]"))
    (folder / "task.yaml").write_text(
        "name: train\nresources: {cpus: 2+}\nproject: x\nduration: 1h\n"
        "data: {class: phi, purpose: care}\nrun: 'true'\n"
    )
    done = broker("policy", "diff", "policy.yaml", "new.yaml", "-t", "task.yaml", "-o", "json")
    data = done.json["data"]
    (change,) = data["changes"]
    assert (change["subject"], change["before"], change["after"]) == (
        "rule stays",
        "[NO, SE]",
        "[NO]",
    )
    assert change["location"] == {"file": "new.yaml", "line": 8, "col": 24}
    (effect,) = data["effects"]
    assert effect["demand"] == "train"
    assert effect["refused"] == effect["refused_by"]["stays"] > 0
    assert effect["allowed_before"] - effect["refused"] == effect["allowed_after"]
    text = broker("policy", "diff", "policy.yaml", "new.yaml", "--exit-code")
    assert text.code == 3
    assert "~ new.yaml:8  rule stays  require.country  [NO, SE] -> [NO]" in text.out
    for demand in ("any machine", "data class personal", "data class phi"):
        assert f"  {demand}\n" in text.out


def test_no_change_is_no_difference(broker: Callable, lay: Callable) -> None:
    folder = lay("good")
    (folder / "new.yaml").write_text(f"# a remark\n{GOOD}")
    done = broker("policy", "diff", "policy.yaml", "new.yaml", "--exit-code")
    assert (done.code, done.out) == (0, "no rule changes\n")


def running(state: LeaseState, data: Data, home: Path, role: str = "task") -> None:
    """A lease on a Swedish machine in the ledger of this home."""
    now = datetime.now(UTC)
    price = Price(Decimal("0.1"), now.date().isoformat(), "list")
    offer = Offer(
        "aws", "eu-north-1", None, "m5.large", Market.ON_DEMAND, 2, 8, price=price, site=Site("SE")
    )
    demand = Demand("train", (Resources(),), data=data, duration_h=Decimal(1))
    spec = {"demand": to_json(demand)}
    id_ = f"{state.value}{data.data_class or ''}"
    run = Run(f"run_{id_}", "train", "task", spec, now)
    lease = Lease(f"ls_{id_}", run.id, role, 0, (offer,), now, state=state)
    store = Ledger(f"sqlite:///{home_at(home).make().ledger}")
    store.commit(run, lease)


def test_leases_that_the_new_rules_refuse_are_named(
    broker: Callable, lay: Callable, home: Path
) -> None:
    folder = lay("good")
    (folder / "new.yaml").write_text(GOOD.replace("[NO, SE]", "[NO]"))
    phi = Data("phi", purpose="care")
    running(LeaseState.RUNNING, phi, home)
    running(LeaseState.RUNNING, Data(), home)  # control: not bound by the rule
    running(LeaseState.CLOSED, phi, home)  # control: no longer open
    running(LeaseState.STARTING, phi, home, role="site")  # control: its run says nothing of it
    done = broker("policy", "diff", "policy.yaml", "new.yaml", "-o", "json")
    data = done.json["data"]
    assert data["leases"] == 2
    assert [(one["lease"], one["by"]) for one in data["leases_refused"]] == [
        ("ls_runningphi", ["stays"])
    ]
    text = broker("policy", "diff", "policy.yaml", "new.yaml").out
    assert (
        "lease ls_runningphi (aws eu-north-1 m5.large on-demand) would be refused by stays" in text
    )


def test_formatting_writes_the_one_layout_once(broker: Callable, lay: Callable) -> None:
    folder = lay("odd")
    path = folder / "policy.yaml"
    path.chmod(0o640)
    assert broker("policy", "fmt", "policy.yaml", "--check").code == 1
    assert path.read_text() == ODD
    assert broker("policy", "fmt", "policy.yaml", "-o", "name").out == "policy.yaml\n"
    assert path.read_text() != ODD
    assert path.stat().st_mode & 0o777 == 0o640
    assert broker("policy", "fmt", "policy.yaml", "--check", "-o", "name").out == ""
    lay("bad")
    assert broker("policy", "fmt", "policy.yaml").code == 2
    assert path.read_text() == BAD


@pytest.mark.parametrize("verb", ["check", "test", "explain", "diff", "fmt"])
def test_every_command_shows_an_example(broker: Callable, verb: str) -> None:
    done = broker("policy", verb, "--help")
    assert done.code == 0
    assert f"Example: broker policy {verb}" in done.out


def test_the_hooks_name_commands_that_exist() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [one["id"] for one in hooks] == [
        "broker-policy-check",
        "broker-policy-test",
        "broker-policy-fmt",
    ]
    from broker.cli.policy import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    for one in hooks:
        assert one["entry"].split()[:2] == ["broker", "policy"]
        assert one["entry"].split()[2] in known
        assert (one["args"], one["pass_filenames"]) == (["policies"], False)
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = [step["run"] for step in action["runs"]["steps"] if "run" in step]
    assert sum("--format github" in step for step in steps) == 2
    assert not any("${{" in step for step in steps), "an input is never pasted into a script"
    assert json.dumps(action)
