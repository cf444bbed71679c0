"""A failure says what, where, why and what next; in words on stderr, as one document with `-o json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

TASK = "name: t\nresources: {cpus: 1+}\nrun: 'true'\n"

# name -> (files, arguments, exit code)
CASES: dict[str, tuple[dict[str, str], list[str], int]] = {
    "unknown-field": ({"t.yaml": TASK.replace("cpus", "cpsu")}, ["plan", "t.yaml"], 2),
    "wrong-type": ({"t.yaml": TASK + "num_nodes: many\n"}, ["plan", "t.yaml"], 2),
    "countries-stay-strings": (
        {
            "t.yaml": TASK + "data: {class: phi}\n",
            "p.yaml": "policy: p\nrules:\n  - id: north\n    when: {data_class: phi}\n"
            "    require: {country: [NO, SE], region: [nowhere-1]}\n",
        },
        ["plan", "t.yaml", "-p", "p.yaml"],
        6,
    ),
    "duplicate-key": ({"t.yaml": TASK + "name: again\n"}, ["plan", "t.yaml"], 2),
    "alias-bomb": (
        {"t.yaml": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + TASK},
        ["plan", "t.yaml"],
        2,
    ),
    "impossible-accelerator": (
        {"t.yaml": TASK.replace("cpus: 1+", "accelerators: H1OO:8")},
        ["plan", "t.yaml"],
        2,
    ),
    "unknown-policy-rule": (
        {"t.yaml": TASK, "p.yaml": "policy: p\nrules:\n  - id: a\n    require: {contry: [NO]}\n"},
        ["plan", "t.yaml", "-p", "p.yaml"],
        2,
    ),
    "missing-file": ({}, ["plan", "nowhere.yaml"], 2),
    "no-offer-fits": (
        {"t.yaml": TASK.replace("cpus: 1+", "cpus: 9999+")},
        ["plan", "t.yaml"],
        5,
    ),
    "over-the-cap": (
        {"t.yaml": TASK.replace("{cpus: 1+}", "{accelerators: A100:8, max_hourly_cost: 0.01}")},
        ["plan", "t.yaml"],
        7,
    ),
    "no-policy-for-the-class": (
        {"t.yaml": TASK + "data: {class: phi}\n"},
        ["plan", "t.yaml"],
        6,
    ),
    "cloud-not-enabled": ({"t.yaml": TASK}, ["up", "t.yaml", "--yes"], 4),
    "out-of-reach": (
        {"t.yaml": TASK.replace("{cpus: 1+}", "{cpus: 2+, infra: aws}")},
        ["up", "t.yaml", "--max-cost", "1usd", "--yes"],
        2,
    ),
    "no-such-run": ({}, ["logs", "run_nothing"], 10),
    "no-such-command": ({}, ["plam", "t.yaml"], 2),
    "no-such-option": ({"t.yaml": TASK}, ["plan", "t.yaml", "--fast"], 2),
}


def configure(name: str, home: Path) -> None:
    """A cloud that is enabled, for the case that gets as far as starting something there."""
    if name == "out-of-reach":
        home.mkdir(exist_ok=True)
        (home / "config.yaml").write_text(
            "clouds:\n  aws: {provider: aws, regions: [eu-north-1]}\n"
        )


@pytest.mark.parametrize("name", CASES)
def test_the_message_is_the_recorded_one(
    name: str, broker: Callable, write: Callable, home: Path, pytestconfig: pytest.Config
) -> None:
    configure(name, home)
    files, arguments, code = CASES[name]
    for file, text in files.items():
        write(file, text)
    done = broker(*arguments)
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    recorded = GOLDEN / f"{name}.txt"
    shown = done.err.replace(str(home), "HOME")
    if pytestconfig.getoption("--update-golden"):
        recorded.parent.mkdir(exist_ok=True)
        recorded.write_text(shown)
    assert shown == recorded.read_text()


@pytest.mark.parametrize("name", CASES)
def test_the_same_failure_is_one_json_document(
    name: str, broker: Callable, write: Callable, home: Path
) -> None:
    configure(name, home)
    files, arguments, code = CASES[name]
    for file, text in files.items():
        write(file, text)
    done = broker(*arguments, "-o", "json")
    assert done.code == code
    assert done.json["schema"] == "broker/error/v1"
    error = done.json["error"]
    assert error["exit_code"] == code
    assert error["detail"]
    if "-->" in (GOLDEN / f"{name}.txt").read_text():
        assert error["location"]["line"] >= 1


def test_no_run_is_started_by_a_refused_up(broker: Callable, write: Callable) -> None:
    write("t.yaml", TASK)
    assert broker("up", "t.yaml", "--yes").code == 4
    assert broker("status", "--all", "-o", "json").json["data"] == []
