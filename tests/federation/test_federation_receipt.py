"""A receipt says who took part, what was learnt, what crossed and what it cost; always the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from broker.federation.receipt import receipt, render, to_text
from broker.model import Event, LeaseState, OrderState
from tests.federation.conftest import COUNTRIES, NOW, Story


def round_event(story: Story, number: int, **data: Any) -> Event:
    link = story.links()[-1]
    shown = {
        "kind": "round",
        "round": number,
        "sites": sorted(COUNTRIES),
        "aggregated": True,
        "seconds": 2.5,
        "accuracy": 0.9 + number / 100,
        "loss": 0.5,
        "seq": number,
        "node_id": "nd_a",
        **data,
    }
    return Event(f"ev_{number}", NOW, link.id, story.run.id, "fed.round", "", shown)


def finished(story: Story) -> Story:
    story.training()
    data = {
        "result": {"metrics": {"global_accuracy": 0.979, "per_site": {"oslo": 0.9, "lyon": 0.8}}},
        "traffic": {"nd_oslo": {"name": "oslo", "bytes_up": 1200, "bytes_down": 3400}},
        "audit": {"head": "ab", "lines": 7},
        "artifacts": [{"name": "model.npz", "bytes": 3, "sha256": "cd", "content_b64": "eA=="}],
    }
    story.events += [round_event(story, number) for number in (2, 1)]
    story.report(story.links()[-1], OrderState.SUCCEEDED, data=data)
    story.settle()
    story.stop_unwanted()
    story.settle()
    story.change_lease("aggregator", usd_spent=Decimal("0.02"))
    for name in ("aggregator", *COUNTRIES):
        story.change_lease(name, state=LeaseState.CLOSED, closed_at=NOW)
    story.settle()
    return story


def of(story: Story) -> dict[str, Any]:
    return receipt(
        story.run, list(story.leases.values()), list(story.orders.values()), story.events
    )


def test_a_receipt_of_a_success(story: Story) -> None:
    found = of(finished(story))
    assert found["run"]["state"] == "succeeded"
    assert found["ended"] is not None
    assert [site["name"] for site in found["sites"]] == ["berlin", "lyon", "oslo"]
    assert found["sites"][2] == {
        "node_id": "nd_oslo",
        "name": "oslo",
        "country": "NO",
        "dataset": "ct",
        "rows": 100,
        "bytes_up": 1200,
        "bytes_down": 3400,
    }
    assert [item["round"] for item in found["rounds"]] == [1, 2]
    assert found["rounds"][0]["metrics"] == {"accuracy": 0.91, "loss": 0.5}
    assert found["metrics"]["global_accuracy"] == 0.979
    assert Decimal(found["usd"]) == Decimal("0.02")
    assert [item["role"] for item in found["machines"]] == ["aggregator", "site", "site", "site"]
    assert found["policies"] == ["eu.yaml"]
    assert found["audit"] == {"head": "ab", "lines": 7}
    assert found["artifacts"] == [{"name": "model.npz", "bytes": 3, "sha256": "cd"}]
    assert found["app"]["run_config"] == {"num-server-rounds": 3, "lr": 0.5}


def test_the_same_rows_give_the_same_bytes_in_any_order_of_events(story: Story) -> None:
    finished(story)
    first = to_text(of(story))
    story.events.reverse()
    assert to_text(of(story)) == first
    assert json.loads(first) == of(story)
    assert "content_b64" not in first


def test_a_run_that_never_began_has_a_receipt_too(story: Story) -> None:
    story.run = replace(story.run, spec={**story.run.spec, "not_chosen": []})
    found = of(story)
    assert found["sites"] == []
    assert found["rounds"] == []
    assert found["ended"] is None
    assert found["usd"] == "0"
    assert found["aggregators"] == 0
    assert "cost 0 USD" in render(found)


def test_rounds_of_an_aggregator_that_was_lost_do_not_count(story: Story) -> None:
    story.training()
    story.events.append(round_event(story, 1))
    story.change_lease("aggregator", attempt=None, state=LeaseState.PENDING)
    story.settle()
    story.runs_on("aggregator", "2")
    story.settle()
    story.events.append(replace(round_event(story, 1, accuracy=0.5), id="ev_9"))
    found = of(story)
    assert found["aggregators"] == 2
    assert [item["metrics"]["accuracy"] for item in found["rounds"]] == [0.5]


def test_the_text_says_it_on_one_screen(story: Story) -> None:
    finished(story)
    story.run = replace(
        story.run,
        ended_at=NOW + timedelta(minutes=1),
        reason="all is well",
        spec={
            **story.run.spec,
            "not_chosen": [
                {
                    "offer": {"region": "boston", "node_id": "nd_b"},
                    "reasons": [{"rule": "eu-only", "saw": "US", "wanted": "EU"}],
                }
            ],
        },
    )
    text = render(of(story))
    assert "hospitals  succeeded (all is well)" in text
    assert "oslo    NO       100   1,200     3,400" in text
    assert "1      berlin, lyon, oslo  yes         2.5      accuracy 0.91 loss 0.5" in text
    assert "per_site lyon 0.8, oslo 0.9" in text
    assert "not chosen boston: eu-only: US, wanted EU" in text
    assert "policies eu.yaml" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_is_not_known_is_a_question_mark(story: Story) -> None:
    found = of(finished(story))
    found["sites"][0] |= {"rows": None, "country": None}
    found["rounds"][0] |= {"seconds": None, "aggregated": False}
    found["policies"] = []
    found["metrics"] = {"note": "none"}
    text = render(found)
    assert "berlin  ?        ?" in text
    assert "no          0.0" in text
    assert "policies none" in text
    assert "note none" in text
