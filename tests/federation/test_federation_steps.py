"""A federation goes from leases to orders to a result, and ends from the outside in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.federation import advance
from broker.federation.steps import _supernode
from broker.model import LeaseState, NodeState, OrderState, RunState
from tests.federation.conftest import COUNTRIES, NOW, Story, federation


def test_nothing_is_ordered_before_machine_and_sites_are_there(story: Story) -> None:
    assert story.tick() == []
    for name in COUNTRIES:
        story.runs_on(name)
    assert story.tick() == []
    story.runs_on("aggregator")
    story.settle()
    assert [order.kind for order in story.orders.values()] == ["superlink"]
    assert story.run.state is RunState.RUNNING


def test_the_superlink_learns_its_sites_and_the_app(story: Story) -> None:
    story.everybody()
    story.settle()
    (link,) = story.links()
    assert link.node_id == "nd_aggregator_1"
    assert link.attempt_id == "at_aggregator_1"
    assert link.spec["app"]["name"] == "hospitals"
    assert link.spec["run_config"] == {"num-server-rounds": 3, "lr": 0.5}
    assert (link.spec["rounds"], link.spec["min_sites"]) == (3, 2)
    assert link.spec["sites"][0] == {
        "node_id": "nd_berlin",
        "name": "berlin",
        "flower_key": "key",
        "country": "DE",
        "dataset": "ct",
        "rows": 100,
    }


def test_sites_are_told_where_to_dial_once_the_superlink_serves(story: Story) -> None:
    story.everybody()
    story.settle()
    assert story.at("oslo") == []
    story.serves("10.0.0.1:5")
    story.settle()
    for name in COUNTRIES:
        (order,) = story.at(name)
        assert order.node_id == f"nd_{name}"
        assert order.spec == {
            "aggregator": "10.0.0.1:5",
            "aggregator_name": "nd_agg.node.fedbroker",
            "dataset": "ct",
            "nap_s": 0.5,
            "superlink": story.links()[0].id,
        }
    assert story.tick() == []


def test_a_federation_starts_without_a_late_site_when_enough_waited_long_enough(
    story: Story,
) -> None:
    for name in ("aggregator", "oslo", "lyon"):
        story.runs_on(name)
    assert story.tick() == []
    story.tick(61)
    (link,) = story.links()
    assert {site["name"] for site in link.spec["sites"]} == {"oslo", "lyon"}
    story.runs_on("berlin")
    story.serves()
    story.settle()
    assert story.at("berlin") == []


def test_a_site_without_a_flower_key_takes_no_part(story: Story) -> None:
    story.everybody()
    story.runs_on("oslo", key="")
    assert story.tick() == []
    story.tick(61)
    assert {site["name"] for site in story.links()[0].spec["sites"]} == {"berlin", "lyon"}


def test_too_few_sites_with_flower_fail_with_their_names(story: Story) -> None:
    story.everybody()
    story.runs_on("oslo", key="")
    story.runs_on("lyon", key="")
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "1 of at least 2 sites are left: no Flower on lyon, oslo"


def test_success_keeps_the_record_and_closes_from_the_outside_in(story: Story) -> None:
    story.training()
    record = {"result": {"metrics": {"accuracy": 1.0}}, "traffic": {"nd_oslo": {"bytes_up": 1}}}
    (link,) = story.links()
    story.report(link, OrderState.SUCCEEDED, data={**link.data, **record})
    story.settle()
    assert story.run.state is RunState.CLOSING
    assert story.run.outcome is RunState.SUCCEEDED
    assert story.run.result == record
    assert all(not order.wanted for order in story.orders.values() if order.kind == "supernode")
    assert all(lease.wanted for lease in story.leases.values())
    assert set(story.stop_unwanted()) == {"supernode"}
    story.settle()
    assert not any(lease.wanted for lease in story.leases.values())
    for name in ("aggregator", *COUNTRIES):
        story.change_lease(name, state=LeaseState.CLOSED)
    story.settle()
    assert story.run.state is RunState.SUCCEEDED
    assert float(story.run.result["usd_spent"]) == 0
    assert story.tick() == []


def test_a_failed_superlink_fails_the_run_with_its_words(story: Story) -> None:
    story.training()
    story.report(story.links()[0], OrderState.FAILED, detail="1 of 3 rounds aggregated")
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "1 of 3 rounds aggregated"


def test_a_superlink_that_was_stopped_by_nobody_fails_the_run(story: Story) -> None:
    story.training()
    story.report(story.links()[0], OrderState.CANCELLED)
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "the aggregator is cancelled"


def cancel(story: Story, reason: str = "") -> None:
    story.run = replace(story.run, wanted=False, reason=reason)


def test_cancelling_stops_supernodes_then_the_superlink_then_the_leases(story: Story) -> None:
    story.training()
    cancel(story)
    story.settle()
    (link,) = story.links()
    assert link.wanted
    assert set(story.stop_unwanted()) == {"supernode"}
    story.settle()
    assert not story.links()[0].wanted
    assert all(lease.wanted for lease in story.leases.values())
    assert story.stop_unwanted() == ["superlink"]
    story.settle()
    assert not any(lease.wanted for lease in story.leases.values())
    assert story.run.outcome is RunState.CANCELLED
    assert story.run.reason == "cancelled"


def test_a_budget_that_is_spent_is_the_reason_of_the_end(story: Story) -> None:
    story.training()
    cancel(story, "the budget of 1 $ is reached")
    story.settle()
    assert story.run.reason == "the budget of 1 $ is reached"


def test_agents_that_do_not_answer_hold_nothing_up_for_long(story: Story) -> None:
    story.training()
    cancel(story)
    story.settle()
    story.tick(11)
    assert not story.links()[0].wanted
    story.tick(10)
    assert not any(lease.wanted for lease in story.leases.values())


def test_a_lost_aggregator_starts_again_on_the_new_machine_with_fresh_orders(
    story: Story,
) -> None:
    story.training()
    first = {order.id for order in story.orders.values()}
    story.change_lease("aggregator", attempt=None, state=LeaseState.PENDING, preemptions=1)
    story.settle()
    assert story.links()[0].state is OrderState.LOST
    assert story.run.state is RunState.PENDING
    assert story.run.reason == "recovering"
    assert all(not story.orders[one].wanted or one == story.links()[0].id for one in first)
    assert story.tick() == []
    story.runs_on("aggregator", "2")
    story.settle()
    assert len(story.links()) == 2
    assert story.run.state is RunState.RUNNING
    story.serves("10.0.0.2:6")
    story.settle()
    fresh = story.at("oslo")[-1]
    assert fresh.id not in first
    assert fresh.spec["aggregator"] == "10.0.0.2:6"
    assert fresh.spec["superlink"] == story.links()[1].id


def test_an_aggregator_lost_too_often_fails_the_run(story: Story) -> None:
    story.everybody()
    for number in range(2, 6):
        story.settle()
        assert story.run.outcome is None
        story.change_lease("aggregator", attempt=None, state=LeaseState.PENDING)
        story.settle()
        story.runs_on("aggregator", str(number))
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "the aggregator's machine was lost 4 times"


def test_no_machine_for_the_aggregator_fails_the_run(story: Story) -> None:
    story.change_lease("aggregator", state=LeaseState.FAILED, reason="sold out")
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "no aggregator: sold out"


def test_an_aggregator_given_back_cancels_the_run(story: Story) -> None:
    story.training()
    story.change_lease("aggregator", wanted=False)
    story.settle()
    assert story.run.outcome is RunState.CANCELLED


def test_sites_below_the_minimum_fail_the_run_with_the_reason_of_each(story: Story) -> None:
    story.training()
    story.change_lease("oslo", state=LeaseState.FAILED, reason="revoked")
    story.settle()
    assert story.run.outcome is None
    story.change_lease("lyon", wanted=False)
    story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "1 of at least 2 sites are left: lyon: running; oslo: revoked"


def test_a_site_that_fails_is_tried_again_some_times_and_then_is_out(story: Story) -> None:
    story.training()
    for tries in (1, 2):
        story.report(story.at("oslo")[-1], OrderState.FAILED, detail="broke")
        story.settle()
        assert len(story.at("oslo")) == tries + 1
    story.report(story.at("oslo")[-1], OrderState.FAILED, detail="broke")
    story.settle()
    assert len(story.at("oslo")) == 3
    assert story.run.outcome is None
    for _ in range(3):
        story.report(story.at("lyon")[-1], OrderState.FAILED)
        story.settle()
    assert story.run.outcome is RunState.FAILED
    assert story.run.reason == "1 of at least 2 sites are left: lyon: failed; oslo: broke"


def test_a_site_whose_lease_ended_before_its_order_is_out(story: Story) -> None:
    story.everybody()
    story.settle()
    story.change_lease("oslo", state=LeaseState.FAILED)
    story.serves()
    story.settle()
    assert story.at("oslo") == []
    assert len(story.at("lyon")) == 1


def test_a_site_that_is_not_heard_gets_no_new_order_until_it_is(story: Story) -> None:
    story.training()
    story.report(story.at("oslo")[-1], OrderState.FAILED)
    story.change_node("nd_oslo", state=NodeState.LOST)
    assert story.tick() == []
    story.change_node("nd_oslo", state=NodeState.ONLINE)
    story.settle()
    assert len(story.at("oslo")) == 2


def test_a_machine_whose_agent_is_never_heard_is_given_up(story: Story) -> None:
    for name in COUNTRIES:
        story.runs_on(name)
    story.runs_on("aggregator")
    story.change_node("nd_aggregator_1", state=NodeState.INVITED)
    for name in COUNTRIES:
        story.change_node(f"nd_{name}", seen_at=NOW + timedelta(hours=1))
    story.tick(601)
    attempt = story.lease("aggregator").attempt
    assert attempt is not None
    assert attempt.abandoned
    assert any(event.kind == "lease.abandoned" for event in story.events)


def test_an_order_that_its_agent_has_not_taken_yet_is_waited_for(story: Story) -> None:
    story.everybody()
    story.settle()
    assert story.links()[0].state is OrderState.PENDING
    assert story.tick(30) == []


@pytest.mark.parametrize("count", [1, 10, 40, 200])
def test_idle_supernodes_of_a_large_federation_sleep_longer(count: int) -> None:
    story = Story(federation())
    story.everybody()
    story.settle()
    story.serves()
    (link,) = story.links()
    site = link.spec["sites"][0]
    link.spec["sites"][:] = [site] * count
    assert _supernode(link, "ct")["nap_s"] == {1: 0.5, 10: 0.5, 40: 2.0, 200: 3.0}[count]


def test_an_ended_run_moves_no_more(story: Story) -> None:
    story.everybody()
    story.run = replace(story.run, state=RunState.FAILED)
    assert story.tick() == []


def test_the_same_world_gives_the_same_move(story: Story) -> None:
    """A crash before the commit changes nothing: what was decided is decided again."""
    story.everybody()
    first, again = (
        [type(row) for row in advance(story.world())],
        [type(row) for row in advance(story.world())],
    )
    assert first == again
    assert story.orders == {}


def test_a_superlink_that_ended_a_moment_ago_may_have_ended_with_its_machine(story: Story) -> None:
    """The cloud tells later that it took the machine; until then the end is no verdict."""
    story.training()
    story.report(story.links()[0], OrderState.FAILED, detail="killed", finished_at=story.now)
    assert story.tick() == []
    story.change_lease("aggregator", attempt=None, state=LeaseState.PENDING, preemptions=1)
    story.settle()
    assert (story.run.state, story.run.outcome) == (RunState.PENDING, None)
    story.runs_on("aggregator", "2")
    story.settle()
    assert len(story.links()) == 2


def test_a_superlink_that_ended_on_a_living_machine_fails_the_run_in_the_end(story: Story) -> None:
    story.training()
    story.report(story.links()[0], OrderState.FAILED, detail="broke", finished_at=story.now)
    story.tick(11)
    story.settle()
    assert (story.run.outcome, story.run.reason) == (RunState.FAILED, "broke")
