"""The law: over the sample catalog of 80,620 lines the plan costs what the cheapest eligible line
of the CSV files costs, found here by a second reader that knows nothing of the catalog's code."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from broker import pool
from broker.model import AtLeast, Decision, Demand, Market, Resources

SPOT, DEMAND = Market.SPOT, Market.ON_DEMAND
ANY = Decimal(0)


@dataclass(frozen=True)
class Machine:
    cloud: str
    type: str
    gpu: str
    gpus: float
    cpus: float
    memory: float
    region: str
    zone: str
    prices: dict[Market, Decimal]


def usd(text: str) -> Decimal:
    return Decimal(text) if text else ANY


def read_machines(path) -> list[Machine]:
    machines: list[Machine] = []
    with tarfile.open(path) as tar:
        for cloud in ("aws", "azure", "gcp"):
            text = tar.extractfile(f"{cloud}/vms.csv").read().decode()
            lines = list(csv.DictReader(io.StringIO(text)))
            machines += google(lines) if cloud == "gcp" else [plain(cloud, one) for one in lines]
    return machines


def plain(cloud: str, line: dict[str, str]) -> Machine:
    return Machine(
        cloud,
        line["InstanceType"],
        line["AcceleratorName"],
        float(line["AcceleratorCount"] or 0),
        float(line["vCPUs"] or -1),
        float(line["MemoryGiB"] or -1),
        line["Region"],
        line.get("AvailabilityZone", ""),
        {DEMAND: usd(line["Price"]), SPOT: usd(line["SpotPrice"])},
    )


def google(lines: list[dict[str, str]]) -> list[Machine]:
    """From the side of the hosts: what is in them, or may be plugged into them."""
    parts = defaultdict(dict)
    found = []
    for line in lines:
        if line["AcceleratorName"].startswith("tpu"):
            found.append(plain("gcp", {**line, "InstanceType": line["AcceleratorName"]}))
        elif line["AcceleratorName"]:
            kind = (line["AcceleratorName"], float(line["AcceleratorCount"]))
            parts[line["AvailabilityZone"]][kind] = plain("gcp", line)
    for line in lines:
        if line["InstanceType"]:
            found += hosted(plain("gcp", line), parts[line["AvailabilityZone"]])
    return found


def hosted(host: Machine, parts: dict) -> list[Machine]:
    inside = contents(host.type)
    if inside:
        return [with_part(host, parts[inside])] if inside in parts else []
    if not host.type.startswith("n1-"):
        return [host]
    plugged = [with_part(host, part) for kind, part in parts.items() if pluggable(host, *kind)]
    return [host, *plugged]


def contents(host: str) -> tuple[str, float] | None:
    if match := re.fullmatch(r"(a2-high|a2-ultra|a3-high)gpu-(\d+)g", host):
        names = {"a2-high": "A100", "a2-ultra": "A100-80GB", "a3-high": "H100"}
        return names[match[1]], float(match[2])
    if match := re.fullmatch(r"g2-standard-(\d+)", host):
        return "L4", {24: 2.0, 48: 4.0, 96: 8.0}.get(int(match[1]), 1.0)
    others = {"a2-megagpu-16g": ("A100", 16.0), "a3-megagpu-8g": ("H100-MEGA", 8.0)}
    return {**others, "a3-ultragpu-8g": ("H200", 8.0)}.get(host)


def pluggable(host: Machine, gpu: str, count: float) -> bool:
    cpus = {
        "T4": {1: 48, 2: 48, 4: 96},
        "P4": {1: 24, 2: 48, 4: 96},
        "V100": {1: 12, 2: 24, 4: 48, 8: 96},
        "P100": {1: 16, 2: 32, 4: 64},
        "K80": {1: 8, 2: 16, 4: 32, 8: 64},
    }.get(gpu, {})
    limit = cpus.get(int(count), 0)
    memory = 208 if (gpu, count) == ("P100", 4.0) else limit * 6.5
    return host.cpus <= limit and host.memory <= memory


def with_part(host: Machine, part: Machine) -> Machine:
    both = {
        market: host.prices[market] + part.prices[market]
        if host.prices[market] and part.prices[market]
        else ANY
        for market in (DEMAND, SPOT)
    }
    return Machine(
        "gcp",
        host.type,
        part.gpu,
        part.gpus,
        host.cpus,
        host.memory,
        host.region,
        host.zone,
        both,
    )


@pytest.fixture(scope="module")
def machines(sample_file) -> list[Machine]:
    return read_machines(sample_file)


@pytest.fixture(scope="module")
def candidates(sample) -> pool.Candidates:
    return pool.snapshot(sample)


def gpu(name: str, count: float, **facts) -> Resources:
    return Resources(accelerator=name, accelerator_count=count, **facts)


def cpu(cpus: float, memory: float | None = None, *, more: bool = True, **facts) -> Resources:
    gib = None if memory is None else AtLeast(memory, more)
    return Resources(cpus=AtLeast(cpus, more), memory_gib=gib, **facts)


CASES = {
    "A100:8": [gpu("A100", 8)],
    "A100:8 on demand": [gpu("A100", 8, market=DEMAND)],
    "A100:8 spot on aws": [gpu("A100", 8, market=SPOT, cloud="aws")],
    "A100:8 on gcp": [gpu("A100", 8, cloud="gcp", market=DEMAND)],
    "A100:16": [gpu("A100", 16)],
    "A100:1 in tokyo": [gpu("A100", 1, region="asia-northeast1")],
    "A100-80GB:1": [gpu("A100-80GB", 1)],
    "A100-80GB:8 on azure": [gpu("A100-80GB", 8, cloud="azure", market=DEMAND)],
    "A100 of any count": [gpu("A100", 0)],
    "H100:8": [gpu("H100", 8)],
    "H100:8 on demand on aws": [gpu("H100", 8, market=DEMAND, cloud="aws")],
    "H100:1 on gcp": [gpu("H100", 1, cloud="gcp")],
    "H100-MEGA:8": [gpu("H100-MEGA", 8)],
    "H200:8": [gpu("H200", 8, market=DEMAND)],
    "B200:8": [gpu("B200", 8)],
    "L4:1": [gpu("L4", 1)],
    "L4:1 with 32 cpus on gcp": [gpu("L4", 1, cloud="gcp", cpus=AtLeast(32))],
    "L4:1 with much memory": [gpu("L4", 1, memory_gib=AtLeast(100, or_more=True), market=SPOT)],
    "L4:8": [gpu("L4", 8, market=DEMAND)],
    "a slice of an L4": [gpu("L4", 0.125)],
    "T4:1": [gpu("T4", 1)],
    "T4:1 on gcp": [gpu("T4", 1, cloud="gcp", market=SPOT)],
    "T4:1 on gcp with cpus": [gpu("T4", 1, cloud="gcp", cpus=AtLeast(24, or_more=True))],
    "T4:4 exactly 96 cpus": [gpu("T4", 4, cpus=AtLeast(96))],
    "V100:1 on gcp": [gpu("V100", 1, cloud="gcp", cpus=AtLeast(10, or_more=True))],
    "V100:8": [gpu("V100", 8)],
    "P100:4 with memory": [gpu("P100", 4, memory_gib=AtLeast(200, or_more=True))],
    "K80:1": [gpu("K80", 1)],
    "K80:8 on gcp": [gpu("K80", 8, cloud="gcp")],
    "P4:2": [gpu("P4", 2, market=DEMAND)],
    "A10G:1 in a zone": [gpu("A10G", 1, zone="use1-az2")],
    "Trainium:16": [gpu("Trainium", 16)],
    "Inferentia:4": [gpu("Inferentia", 4, market=DEMAND)],
    "tpu-v2-8": [gpu("tpu-v2-8", 1)],
    "tpu-v5p-1024": [gpu("tpu-v5p-1024", 1, market=DEMAND)],
    "tpu-v6e-8 in europe": [gpu("tpu-v6e-8", 1, region="europe-west4")],
    "a tpu has no cpus to ask for": [gpu("tpu-v3-8", 1, cpus=AtLeast(1, or_more=True))],
    "anything": [Resources()],
    "anything on demand": [Resources(market=DEMAND)],
    "2+ cpus": [cpu(2)],
    "4 cpus exactly": [cpu(4, more=False)],
    "4+ cpus 16+ GiB on demand": [cpu(4, 16, market=DEMAND)],
    "4 cpus 16 GiB spot exactly": [cpu(4, 16, more=False, market=SPOT)],
    "64+ cpus in ireland": [cpu(64, region="eu-west-1")],
    "96 cpus on gcp": [cpu(96, more=False, cloud="gcp", market=DEMAND)],
    "12 cpus on gcp: no bare accelerator host": [cpu(12, 85, more=False, cloud="gcp")],
    "3.75 GiB exactly": [Resources(memory_gib=AtLeast(3.75))],
    "1000+ GiB": [Resources(memory_gib=AtLeast(1000, or_more=True), market=DEMAND)],
    "azure in norway": [cpu(8, cloud="azure", region="norwayeast")],
    "a machine by name": [Resources(instance_type="m5.large", market=DEMAND)],
    "a gpu machine by name": [Resources(instance_type="p4d.24xlarge")],
    "two accelerators": [gpu("H100", 8), gpu("A100", 8)],
    "a gpu or many cpus": [gpu("L4", 1, market=DEMAND), cpu(96, market=DEMAND)],
    "three places": [
        cpu(4, region="eu-north-1"),
        cpu(4, region="europe-north1"),
        cpu(4, region="norwayeast"),
    ],
    "a cap that leaves some": [gpu("A100", 8, max_usd_per_hour=Decimal(12))],
    "a cap that leaves none": [gpu("A100", 8, max_usd_per_hour=Decimal("0.5"))],
    "a cap on gcp gpus": [gpu("V100", 1, cloud="gcp", max_usd_per_hour=Decimal("1.3"))],
    "a cap to the last digit": [Resources(max_usd_per_hour=Decimal("0.001319"))],
    "caps of two alternatives": [
        gpu("A100", 8, max_usd_per_hour=Decimal(9)),
        gpu("V100", 8, max_usd_per_hour=Decimal(11)),
    ],
    "nowhere": [cpu(4, region="moon-1")],
}


@pytest.mark.parametrize("case", CASES)
def test_the_plan_costs_what_the_cheapest_eligible_line_costs(case, machines, candidates) -> None:
    demand = Demand(case, tuple(CASES[case]))
    suits = [eligible(resources) for resources in demand.alternatives]
    prices = [
        usd
        for machine in machines
        for market, usd in machine.prices.items()
        if usd and any(suit(machine, market, usd) for suit in suits)
    ]
    plan = pool.plan(demand, candidates, AllowAll())
    assert plan.allowed == len(prices)
    assert plan.considered == 2 * len(machines)
    assert plan.allowed + sum(line.count for line in plan.refusals) == plan.considered
    chosen = [placement.usd_per_hour for placement in plan.placements]
    assert chosen == sorted(prices)[:1]
    if plan.placements:
        fallbacks = [offer.price.usd_per_hour for offer in plan.placements[0].fallbacks]
        assert fallbacks == sorted(prices)[1:50]


class AllowAll:
    facts: frozenset[str] = frozenset()
    bounds: tuple[Decimal, ...] = ()

    def __call__(self, offer) -> Decision:
        return Decision(offer)


def eligible(asked: Resources) -> Callable[[Machine, Market, Decimal], bool]:
    def suit(machine: Machine, market: Market, usd: Decimal) -> bool:
        return (
            (not asked.accelerator or asked.accelerator == machine.gpu)
            and (not asked.accelerator_count or asked.accelerator_count == machine.gpus)
            and enough(asked.cpus, machine.cpus)
            and enough(asked.memory_gib, machine.memory)
            and asked.market in (None, market)
            and asked.cloud in (None, machine.cloud)
            and asked.region in (None, machine.region)
            and asked.zone in (None, machine.zone)
            and asked.instance_type in (None, machine.type)
            and (asked.max_usd_per_hour is None or usd <= asked.max_usd_per_hour)
        )

    return suit


def enough(asked: AtLeast | None, has: float) -> bool:
    if asked is None:
        return True
    return has >= asked.amount if asked.or_more else has == asked.amount
