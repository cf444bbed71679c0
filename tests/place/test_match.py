"""The law: an offer satisfies an alternative exactly when no check speaks against it, and a refusal
names the first field that fails, what it saw, what it wanted and where the file says so."""

from __future__ import annotations

import pytest

from broker.model import AtLeast, Kind, Location, Market, Resources
from broker.place.match import CHECKS, depth, fits, reasons, refusal, shape

GPU = {"accelerator": "A100", "accelerator_count": 8.0}


@pytest.mark.parametrize(
    ("resources", "offer"),
    [
        (Resources(), {}),
        (Resources(), GPU),
        (Resources(cpus=AtLeast(2)), {}),
        (Resources(cpus=AtLeast(1, or_more=True), memory_gib=AtLeast(8)), {}),
        (Resources(accelerator="A100", accelerator_count=8), GPU),
        (Resources(accelerator="A100"), GPU),
        (Resources(cloud="aws", region="eu-north-1"), {}),
        (Resources(zone="eu-north-1a"), {"zone": "eu-north-1a"}),
        (Resources(instance_type="m5.large"), {}),
        (Resources(market=Market.SPOT), {"market": Market.SPOT}),
        (Resources(market=Market.ON_DEMAND), {"market": Market.OWNED}),
        (Resources(market=Market.ON_DEMAND), {"market": Market.RESERVED}),
        (Resources(market=Market.RESERVED), {"market": Market.RESERVED}),
    ],
)
def test_an_offer_that_has_all_that_is_asked_fits(resources, offer, an_offer) -> None:
    made = an_offer(**offer)
    assert fits(resources, made)
    assert refusal([resources], made) is None
    assert reasons(resources, made) == ()


@pytest.mark.parametrize(
    ("resources", "offer", "rule", "saw", "wanted"),
    [
        (Resources(accelerator="A100", accelerator_count=8), {}, "accelerators", "none", "A100:8"),
        (
            Resources(accelerator="A100", accelerator_count=4),
            GPU,
            "accelerators",
            "A100:8",
            "A100:4",
        ),
        (Resources(accelerator="H100"), GPU, "accelerators", "A100:8", "H100"),
        (Resources(cloud="gcp"), {}, "infra", "aws/eu-north-1", "gcp"),
        (Resources(cloud="aws@lab"), {}, "infra", "aws/eu-north-1", "aws@lab"),
        (Resources(region="eu-west-1"), {}, "infra", "aws/eu-north-1", "*/eu-west-1"),
        (Resources(zone="a"), {"zone": "b"}, "infra", "aws/eu-north-1/b", "*/*/a"),
        (Resources(market=Market.SPOT), {}, "market", "on-demand", "spot"),
        (Resources(market=Market.SPOT), {"market": Market.OWNED}, "market", "owned", "spot"),
        (Resources(market=Market.SPOT), {"market": Market.RESERVED}, "market", "reserved", "spot"),
        (
            Resources(instance_type="m5.xlarge"),
            {},
            "instance_type",
            "m5.large",
            "m5.xlarge",
        ),
        (
            Resources(instance_type="m5.xlarge"),
            {"instance_type": ""},
            "instance_type",
            "none",
            "m5.xlarge",
        ),
        (Resources(cpus=AtLeast(4)), {}, "cpus", "2", "4"),
        (Resources(cpus=AtLeast(4, or_more=True)), {}, "cpus", "2", "4+"),
        (Resources(cpus=AtLeast(1)), {"vcpus": None}, "cpus", "unknown", "1"),
        (Resources(memory_gib=AtLeast(16)), {}, "memory", "8 GiB", "16 GiB"),
        (
            Resources(memory_gib=AtLeast(0.5, or_more=True)),
            {"memory_gib": None},
            "memory",
            "unknown",
            "0.5+ GiB",
        ),
    ],
)
def test_a_refusal_says_what_it_saw_and_what_it_wanted(
    resources, offer, rule, saw, wanted, an_offer
) -> None:
    found = refusal([resources], an_offer(**offer))
    assert found is not None
    assert (found.kind, found.rule, found.saw, found.wanted) == (Kind.REQUEST, rule, saw, wanted)


def test_the_first_field_in_the_fixed_order_is_the_reason_and_all_are_told_on_demand(
    an_offer,
) -> None:
    asked = Resources(
        accelerator="A100", cloud="gcp", market=Market.SPOT, cpus=AtLeast(9), memory_gib=AtLeast(9)
    )
    assert refusal([asked], an_offer()).rule == "accelerators"
    rules = [reason.rule for reason in reasons(asked, an_offer())]
    assert rules == ["accelerators", "infra", "market", "cpus", "memory"]


def test_several_alternatives_are_refused_by_the_one_that_came_furthest(an_offer) -> None:
    near = Resources(cpus=AtLeast(4))
    far = Resources(accelerator="A100", cpus=AtLeast(8))
    assert refusal([far, near], an_offer()).wanted == "4"
    also_near = Resources(cpus=AtLeast(16))
    assert refusal([far, near, also_near], an_offer()).wanted == "4"
    assert refusal([far, Resources()], an_offer()) is None


def test_a_demand_without_alternatives_takes_anything(an_offer) -> None:
    assert refusal([], an_offer()) is None


@pytest.mark.parametrize("field", ["use_spot", "market"])
def test_the_reason_points_at_the_field_in_the_file(field: str, an_offer) -> None:
    where = Location("task.yaml", 6, 3)
    asked = Resources(market=Market.SPOT, locations={field: where})
    assert refusal([asked], an_offer()).location == where
    assert refusal([Resources(market=Market.SPOT)], an_offer()).location is None


def test_every_check_can_describe_what_was_not_asked(an_offer) -> None:
    words = [check.wanted(Resources()) for check in CHECKS]
    assert words == ["none", "*", "any", "any", "any", "any"]
    assert depth(Resources(), an_offer(), CHECKS[:2]) == 2


def test_a_shape_is_written_as_a_request_is() -> None:
    assert shape("L4", 0.5) == "L4:0.5"
    assert shape(None, 0) == "none"
