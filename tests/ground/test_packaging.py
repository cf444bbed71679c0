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
def test_help_and_version_cost_less_than_a_quarter_second_of_cpu(argument: str) -> None:
    """The best of three, so that a busy machine does not fail it; CPU time, not wall time."""
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "broker.cli.main", argument], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) <= 0.25, costs


def test_no_folder_of_tests_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
