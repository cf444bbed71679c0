"""What a command says and bounds before it starts something, and what is shown of it afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from broker.cli import status, up
from broker.fleet import Fleet
from broker.model import Dataset, Lease, LeaseState, Node, NodeState, Run
from broker.store import MemoryStore
from tests.admission.conftest import NOW, OFFER, Desk, asked


def test_the_least_of_both_budgets_bounds_the_run() -> None:
    demand, _ = asked()
    bounded = up._bounded_by(demand, Decimal(5), always=True)
    assert bounded.budget_usd == 5
    assert up._bounded_by(bounded, Decimal(9), always=True).budget_usd == 5
    assert up._bounded_by(bounded, Decimal(2), always=True).budget_usd == 2
    assert up._bounded_by(demand, None, always=True) == demand
    assert up._bounded_by(demand, Decimal(5), always=False) == demand


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (None, "Start at 1.2000 $/h."),
        (Decimal(12), "Start at 1.2000 $/h, ended at 12.00 $ at the latest."),
    ],
)
def test_the_question_says_where_it_ends(stop: Decimal | None, words: str) -> None:
    assert up.start_words(Decimal("1.2"), stop) == words


def test_status_shows_whose_run_it_is_what_bounds_it_and_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "utc_now", lambda: NOW)
    run, lease = Desk().rows(asked(10, budget_usd=Decimal(40)))
    assert isinstance(run, Run)
    assert isinstance(lease, Lease)
    run = replace(run, spec={**run.spec, "budget_usd": "10"})
    later = NOW + timedelta(hours=10)
    lease = replace(lease, not_before=later, reason="waits until 22:00 UTC: rule green (g.yaml:3)")
    pairs = [(run, [lease])]
    wide = status._table(pairs, wide=True).splitlines()
    assert wide[0].split()[-4:] == ["PROJECT", "BUDGET", "HARD", "STOP"]
    assert wide[1].split()[-3:] == ["research", "40", "10"]
    assert "on-demand" in wide[2]
    plain = status._table(pairs, wide=False)
    assert plain.endswith(f"{run.id}  waits until 22:00 UTC: rule green (g.yaml:3)")
    started = replace(lease, not_before=None, reason="", state=LeaseState.LAUNCHING)
    assert "waits" not in status._table([(run, [started])], wide=False)
    found = status._json(run, [lease])
    assert (found["project"], found["budget_usd"], found["hard_stop_usd"]) == (
        "research",
        "40",
        "10",
    )
    assert found["leases"][0]["not_before"] == later.isoformat()


def test_an_edge_offer_names_its_node_and_the_classes_of_its_data() -> None:
    store = MemoryStore()
    data = (Dataset("scans", 9, data_class="phi"), Dataset("labs", 3))
    store.commit(Node("nd_1", "oslo-01", "edge", NOW, NodeState.ONLINE, datasets=data))
    (offer,) = Fleet(store).offers()
    assert (offer.node, offer.classes) == ("oslo-01", (("scans", "phi"),))
    assert (OFFER.node, OFFER.classes) == ("", ())
