"""The example keeps its promises: rows lie in one place only, sums stand for rows, and three
hospitals together beat the best of them alone, for (nearly) every way of dealing out the rows."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HOSPITALS = Path(__file__).resolve().parents[2] / "examples" / "hospitals"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> Iterator[ModuleType]:
    yield load("hospitals_model", HOSPITALS / "app" / "hospitals" / "model.py")
    del sys.modules["hospitals_model"]


@pytest.fixture(scope="module")
def make_data() -> Iterator[ModuleType]:
    yield load("hospitals_make_data", HOSPITALS / "make_data.py")
    del sys.modules["hospitals_make_data"]


def test_every_row_lies_in_one_place_only(make_data: ModuleType) -> None:
    sites, (held_out, _) = make_data.split()
    rows = [row.tobytes() for x, _ in sites.values() for row in x]
    rows += [row.tobytes() for row in held_out]
    assert len(rows) == len(set(rows)) == 135 + 57 + 110 + 143


def test_sites_differ_in_size_and_in_balance(make_data: ModuleType) -> None:
    sites, _ = make_data.split()
    shares = {name: float((y == make_data.MALIGNANT).mean()) for name, (_, y) in sites.items()}
    assert shares["oslo"] < 0.05
    assert shares["berlin"] > 0.7
    assert shares["lyon"] > 0.9


def test_the_shipped_held_out_quarter_is_the_scripts(make_data: ModuleType) -> None:
    shipped = json.loads((HOSPITALS / "app" / "hospitals" / "held_out.json").read_text())
    _, (x, y) = make_data.split()
    assert np.array_equal(np.array(shipped["x"]), x)
    assert np.array_equal(np.array(shipped["y"]), y)


def test_the_script_writes_what_it_says(
    make_data: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data.main([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "oslo.npz",
        "berlin.npz",
        "lyon.npz",
        "test.npz",
    }
    assert "oslo: 135 rows, 5 malignant" in capsys.readouterr().out


def test_sums_of_the_parts_give_the_scale_of_the_whole(
    model: ModuleType, make_data: ModuleType
) -> None:
    sites, _ = make_data.split()
    xs = [x for x, _ in sites.values()]
    scale = reduce(add, map(model.moments, xs)).scale()
    whole = np.concatenate(xs)
    assert np.allclose(scale.mean, whole.mean(axis=0))
    assert np.allclose(scale.spread, whole.std(axis=0))
    flat = model.moments(np.ones((4, 30))).scale()
    assert np.array_equal(flat.spread, np.ones(30))


def test_the_model_for_raw_features_judges_as_the_scaled_one(
    model: ModuleType, make_data: ModuleType
) -> None:
    sites, (x, y) = make_data.split()
    mine, labels = sites["oslo"]
    raw = model.alone(mine, labels)
    scale = model.moments(mine).scale()
    scaled = model.improve(model.zeros(), scale.of(mine), labels, 1000, 1.0)
    assert model.accuracy(raw, x, y) == model.accuracy(scaled, scale.of(x), y)
    assert model.loss(raw, x, y) == pytest.approx(model.loss(scaled, scale.of(x), y))


def together(model: ModuleType, sites: dict, rounds: int = 3) -> tuple[list, object]:
    """FedAvg as the app does it, in one process."""
    scale = reduce(add, [model.moments(x) for x, _ in sites.values()]).scale()
    weights = model.zeros()
    total = sum(len(y) for _, y in sites.values())
    for _ in range(rounds):
        updates = [
            (len(y), model.improve(weights, scale.of(x), y, 2, 1.0)) for x, y in sites.values()
        ]
        weights = [sum(n / total * u[part] for n, u in updates) for part in range(2)]
    return weights, scale


def test_the_seed_that_is_shipped_is_no_lucky_one(model: ModuleType, make_data: ModuleType) -> None:
    gaps = []
    for seed in range(20):
        sites, (x, y) = make_data.split(seed)
        weights, scale = together(model, sites)
        common = model.accuracy(weights, scale.of(x), y)
        best = max(model.accuracy(model.alone(*rows), x, y) for rows in sites.values())
        assert common > 0.90
        gaps.append(common - best)
    assert min(gaps) >= 0
    assert sum(gap > 0 for gap in gaps) >= 18
    assert float(np.mean(gaps)) > 0.02
