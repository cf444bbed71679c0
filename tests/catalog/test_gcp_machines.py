"""The law: a GCP offer is a whole machine at the price of host and accelerator together; a host
that cannot be rented bare is never offered bare, and half a price is no price."""

from __future__ import annotations

import pytest

from broker.catalog.gcp import join
from broker.catalog.listing import Listing

HERE = ("us-central1", "us-central1-a")


def host(name: str, vcpus: float = 12, memory: float = 85, usd: int | None = 100) -> Listing:
    return Listing(*HERE, name, vcpus, memory, None, 0, usd, usd and usd // 10)


def part(accelerator: str, count: float, usd: int | None = 1000, name: str = "") -> Listing:
    return Listing(*HERE, name, None, None, accelerator, count, usd, usd and usd // 10)


@pytest.mark.parametrize(
    ("accelerator", "count", "machine"),
    [
        ("A100", 1, "a2-highgpu-1g"),
        ("A100", 8, "a2-highgpu-8g"),
        ("A100", 16, "a2-megagpu-16g"),
        ("A100-80GB", 4, "a2-ultragpu-4g"),
        ("H100", 8, "a3-highgpu-8g"),
        ("H100-MEGA", 8, "a3-megagpu-8g"),
        ("H200", 8, "a3-ultragpu-8g"),
        ("B200", 8, "a4-highgpu-8g"),
        ("GB200", 4, "a4x-highgpu-4g"),
        ("RTXPRO6000", 2, "g4-standard-96"),
        ("L4", 2, "g2-standard-24"),
        ("L4", 8, "g2-standard-96"),
    ],
)
def test_a_built_in_accelerator_is_offered_in_its_machine_at_the_sum(
    accelerator, count, machine
) -> None:
    (whole,) = join([host(machine), part(accelerator, count)])
    assert whole == Listing(*HERE, machine, 12, 85, accelerator, count, 1100, 110)


def test_one_l4_is_offered_in_each_machine_that_has_one() -> None:
    names = ["g2-standard-4", "g2-standard-8", "g2-standard-24", "g2-standard-32"]
    found = join([*(host(name) for name in names), part("L4", 1)])
    offered = ["g2-standard-4", "g2-standard-8", "g2-standard-32"]
    assert sorted(listing.instance_type for listing in found) == sorted(offered)


def test_a_host_of_accelerators_is_never_offered_bare() -> None:
    assert join([host("a2-highgpu-1g"), host("g2-standard-4"), host("a3-highgpu-8g")]) == []


def test_an_n1_machine_is_offered_bare_and_with_what_may_be_attached() -> None:
    found = join([host("n1-standard-8", 8, 30), host("n2-standard-8", 8, 32), part("V100", 1)])
    offered = {(one.instance_type, one.accelerator, one.on_demand) for one in found}
    assert offered == {
        ("n1-standard-8", None, 100),
        ("n2-standard-8", None, 100),
        ("n1-standard-8", "V100", 1100),
    }


@pytest.mark.parametrize(
    ("accelerator", "count", "vcpus", "memory", "allowed"),
    [
        ("V100", 1, 12, 78, True),
        ("V100", 1, 16, 60, False),
        ("V100", 1, 8, 79, False),
        ("T4", 1, 48, 312, True),
        ("T4", 2, 64, 240, False),
        ("T4", 4, 96, 624, True),
        ("P4", 1, 32, 120, False),
        ("P100", 4, 64, 208, True),
        ("K80", 8, 96, 86, False),
    ],
)
def test_the_size_of_the_host_is_limited_by_the_count(
    accelerator, count, vcpus, memory, allowed
) -> None:
    found = join([host("n1-some-machine", vcpus, memory), part(accelerator, count)])
    priced = [one for one in found if one.accelerator and one.on_demand is not None]
    assert bool(priced) == allowed


@pytest.mark.parametrize(("accelerator", "count"), [("A100", 8), ("T4", 1), ("Newest", 4)])
def test_without_its_host_an_accelerator_has_no_price(accelerator, count) -> None:
    (alone,) = join([part(accelerator, count)])
    assert (alone.on_demand, alone.spot, alone.vcpus) == (None, None, None)
    assert alone.accelerator == accelerator


def test_half_a_price_is_no_price() -> None:
    (whole,) = join([host("a2-highgpu-1g", usd=None), part("A100", 1)])
    assert (whole.instance_type, whole.on_demand, whole.spot) == ("a2-highgpu-1g", None, None)


def test_a_host_elsewhere_does_not_help() -> None:
    far = host("a2-highgpu-1g")._replace(zone="us-central1-b")
    (alone,) = join([far, part("A100", 1)])
    assert (alone.zone, alone.on_demand) == ("us-central1-a", None)


@pytest.mark.parametrize("named", ["", "TPU-VM"])
def test_a_tpu_is_priced_whole_and_named_by_its_accelerator(named: str) -> None:
    (tpu,) = join([part("tpu-v5p-8", 1, name=named)])
    assert (tpu.instance_type, tpu.on_demand, tpu.vcpus) == ("tpu-v5p-8", 1000, None)


def test_a_file_that_names_the_machine_of_an_accelerator_is_taken_as_whole() -> None:
    named = part("A100", 1, name="a2-highgpu-1g")
    assert join([named]) == [named]
