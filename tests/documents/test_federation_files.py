"""Law: a federation file gives two demands that policy judges by role, and a checked app folder."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from broker.documents.federation import (
    Sites,
    aggregator_demand,
    load_federation,
    site_demand,
)
from broker.model import AtLeast, Data

Files = Callable[..., Path]
Problems = Callable[..., list[str]]
WHOLE = """\
name: hospitals
app: app
rounds: 5
data: {class: phi, datasets: [bc-oslo, bc-lyon], purpose: research}
sites:
  min: 2
  wanted: 3
  where: {country: [NO, fr]}
aggregator:
  resources:
    any_of:
      - {cpus: 4+, infra: aws}
      - {cpus: 2+, infra: local}
run_config: {local-epochs: 1, lr: 0.1, secure: false, note: NO}
duration: 90m
budget: 3usd
"""


@pytest.fixture
def a_federation(a_file: Files) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = a_file(text, "fed.yaml")
        (path.parent / "app").mkdir()
        return path

    return make


def test_every_field_arrives(a_federation: Callable[[str], Path]) -> None:
    path = a_federation(WHOLE)
    fed = load_federation(path)
    assert (fed.name, fed.app, fed.rounds) == ("hospitals", path.parent / "app", 5)
    assert fed.sites == Sites(2, 3, frozenset({"NO", "FR"}))
    assert fed.data == Data("phi", ("bc-oslo", "bc-lyon"), "research")
    assert fed.run_config == {"local-epochs": 1, "lr": 0.1, "secure": False, "note": "NO"}
    assert (fed.duration_h, fed.budget_usd) == (Decimal("1.5"), Decimal(3))
    assert str(fed.locations["sites.min"]) == "fed.yaml:6:8"


def test_the_aggregator_is_asked_for_like_a_task(a_federation: Callable[[str], Path]) -> None:
    demand = aggregator_demand(load_federation(a_federation(WHOLE)))
    assert (demand.name, demand.role, demand.nodes) == ("hospitals-aggregator", "aggregator", 1)
    assert [one.cloud for one in demand.alternatives] == ["aws", "local"]
    assert demand.alternatives[0].cpus == AtLeast(4, or_more=True)
    assert demand.data.data_class == "phi"
    assert demand.budget_usd == Decimal(3)
    assert str(demand.location) == "fed.yaml:9:1"


def test_a_site_is_asked_for_its_data(a_federation: Callable[[str], Path]) -> None:
    demand = site_demand(load_federation(a_federation(WHOLE)))
    assert (demand.name, demand.role) == ("hospitals-site", "site")
    assert demand.data.datasets == ("bc-oslo", "bc-lyon")
    assert len(demand.alternatives) == 1
    assert str(demand.location) == "fed.yaml:5:1"


def test_what_is_left_out_has_a_meaning(a_federation: Callable[[str], Path]) -> None:
    path = a_federation("app: app\nrounds: 1\ndata: {datasets: bc}\nsites: {min: 2}\n")
    fed = load_federation(path)
    assert (fed.name, fed.run_config, fed.budget_usd) == ("fed", {}, None)
    assert fed.sites == Sites(2, None, frozenset())
    assert aggregator_demand(fed).location == fed.location
    assert len(fed.aggregator) == 1


def test_the_app_must_be_a_folder(a_federation: Callable[[str], Path], problems: Problems) -> None:
    path = a_federation(WHOLE.replace("app: app", "app: fed.yaml"))
    assert problems(load_federation, path) == [
        "FED020 2:6 `app`: there is no folder `fed.yaml` beside this file"
    ]


def test_an_impossible_aggregator_is_told_in_this_files_words(
    a_federation: Callable[[str], Path], problems: Problems
) -> None:
    path = a_federation(WHOLE.replace("cpus: 4+", "accelerators: X9"))
    (found,) = problems(load_federation, path, frozenset({"H100"}))
    assert found.startswith("FED010 12:24 `aggregator.resources.any_of[0].accelerators`")
