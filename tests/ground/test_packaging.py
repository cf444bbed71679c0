"""What is shipped: three packages, one licence, a version, and help that the README repeats truly."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (name,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(name) as wheel:
        tops = {entry.split("/")[0] for entry in wheel.namelist()}
        names = set(wheel.namelist())
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "broker",
        "providers",
        "edge",
    }
    assert "broker/py.typed" in names
    assert "broker/catalog/data/snapshot.csv.gz" in names
    assert "broker/catalog/data/regions.csv" in names
    assert "broker/examples/hospitals/fed.yaml" in names


def test_a_package_of_the_same_name_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "__init__.py").write_text("")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    probe = [sys.executable, "-c", "from broker.cli.main import main; main(['--version'])"]
    done = subprocess.run(
        probe, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "`providers` of fedbroker is shadowed by" in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_cost_less_than_a_third_of_flowers_help(argument: str) -> None:
    """CPU time of both in one run, the least of some: a busy machine slows both."""
    ours = min(cpu_s("broker.cli.main", argument) for _ in range(3))
    theirs = min(cpu_s("flwr.cli.app", "--help") for _ in range(2))
    assert ours <= theirs / 3


def cpu_s(module: str, argument: str) -> float:
    entry = "main" if module.startswith("broker") else "app"
    code = f"import sys; sys.argv[1:] = ['{argument}']; from {module} import {entry} as run; run()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_no_folder_of_tests_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
