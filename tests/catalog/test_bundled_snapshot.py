"""The law: the snapshot in the package is small, dated and sourced line by line, holds no price of
0, has what each provider sells in every region that sells it, and is what its tool makes of its
inputs, byte for byte."""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import importlib.util
import json
import re
import runpy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import snapshot
from broker.catalog.accelerators import chip
from broker.catalog.regions import known
from broker.catalog.rows import Row
from broker.model import Market, Resources

ROOT = Path(__file__).parents[2]
DATA = ROOT / "broker" / "catalog" / "data"
TABLES = ROOT / "tools" / "data"
PROVIDERS = ("aws", "azure", "gcp")
ARM = {
    "aws": r"[a-z]+\d+g[a-z]*\.",
    "azure": r"Standard_[DE]\d+pl?s_v5",
    "gcp": r"(c4a|t2a)-",
}


@pytest.fixture(scope="module")
def bundled() -> dict[str, list[Row]]:
    return snapshot.load()


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def selling(provider: str, kind: str) -> set[str]:
    """Regions that are open to the public for this kind; why the others are not is in the table."""
    closed = {
        row["region"]
        for row in table("closed_regions.csv")
        if row["provider"] == provider and kind in row["kinds"].split()
    }
    return set(known(provider)) - closed


def regions(rows: list[Row], kind: str) -> set[str]:
    return {row.region for row in rows if kind_of(row) == kind}


def kind_of(row: Row) -> str:
    if row.accelerator is None:
        return "CPU"
    return "TPU" if row.accelerator.startswith("tpu-") else "GPU"


def package_data(path: str) -> Any:
    name, _, rest = path.partition("/")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed")
    content = (Path(spec.origin).parent / rest).read_bytes()
    return json.loads(gzip.decompress(content) if rest.endswith(".gz") else content)


def test_it_is_small() -> None:
    assert (DATA / "snapshot.csv.gz").stat().st_size < 600_000


def test_every_line_has_a_date_and_a_source_and_no_price_is_zero(bundled) -> None:
    for rows in bundled.values():
        for row in rows:
            assert row.source.name
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.source.as_of)
            assert row.micros is None or row.micros > 0


def test_no_offer_is_listed_twice(bundled) -> None:
    """T4 in N1 is one type of machine with several accelerators: those are different offers."""
    for rows in bundled.values():
        keys = [
            (r.region, r.zone, r.instance_type, r.market, r.accelerator, r.accelerator_count)
            for r in rows
        ]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_region_that_sells_machines_has_general_compute_and_memory_shapes(
    provider: str, bundled
) -> None:
    rows = [row for row in bundled[provider] if kind_of(row) == "CPU"]
    assert regions(rows, "CPU") == selling(provider, "CPU")
    for region in selling(provider, "CPU"):
        ratios = {row.memory_gib / row.vcpus for row in rows if row.region == region}
        assert any(ratio <= 2 for ratio in ratios), region
        assert any(3.75 <= ratio <= 4 for ratio in ratios), region
        assert any(ratio >= 7.5 for ratio in ratios), region


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_is_offered_where_nothing_is_sold(provider: str, bundled) -> None:
    """A region is closed for a reason that its line in the table states."""
    for kind in ("CPU", "GPU", "TPU"):
        assert regions(bundled[provider], kind) <= selling(provider, kind)
    for row in table("closed_regions.csv"):
        assert row["why"]
        assert row["provider"] != provider or row["region"] in known(provider)


@pytest.mark.parametrize(("provider", "at_least"), [("aws", 35), ("azure", 20), ("gcp", 10)])
def test_arm_machines_are_there(provider: str, at_least: int, bundled) -> None:
    rows = bundled[provider]
    found = {row.region for row in rows if re.match(ARM[provider], row.instance_type)}
    assert len(found) >= at_least


def test_every_region_of_aws_that_has_accelerators_offers_them(bundled) -> None:
    machines = package_data("moto/ec2/resources/instance_types.json.gz")
    listed = package_data("cfnlint/data/schemas/extensions/aws_ec2_instance/instancetype_enum.json")
    info = {"GpuInfo", "NeuronInfo", "InferenceAcceleratorInfo"}
    accelerated = {name for name, machine in machines.items() if info & set(machine)}
    offered: dict[str, set[str]] = {}
    for row in bundled["aws"]:
        if row.accelerator:
            offered.setdefault(row.region, set()).add(row.instance_type)
    for region, types in listed.items():
        if isinstance(types, dict) and accelerated & set(types["enum"]):
            assert offered.get(region), region
    assert len(offered) >= 30


@pytest.mark.parametrize(("provider", "at_least"), [("azure", 20), ("gcp", 20)])
def test_every_region_that_the_tables_of_gpus_name_offers_them(
    provider: str, at_least: int, bundled
) -> None:
    named: dict[str, set[str]] = {}
    attached = table("gcp_attached.csv") if provider == "gcp" else []
    for row in [*table(f"{provider}_accelerators.csv"), *attached]:
        places = row["zones"] if provider == "gcp" else row["regions"]
        for place in places.split():
            region = place.rpartition("-")[0] if provider == "gcp" else place
            named.setdefault(region, set()).add(row["accelerator"])
    assert len(named) >= at_least
    for region, accelerators in named.items():
        here = {row.accelerator for row in bundled[provider] if row.region == region}
        assert accelerators <= here, region


@pytest.mark.parametrize("family", ["tpu-v4", "tpu-v5litepod", "tpu-v5p", "tpu-v6e"])
def test_every_slice_of_a_tpu_is_offered_in_every_zone_that_has_them(family: str, bundled) -> None:
    offered = {(row.zone, row.accelerator) for row in bundled["gcp"] if kind_of(row) == "TPU"}
    rows = [row for row in table("gcp_tpus.csv") if row["family"] == family]
    expected = {
        (zone, f"{family}-{size}")
        for row in rows
        for zone in row["zones"].split()
        for size in row["sizes"].split()
    }
    assert expected
    assert expected <= offered
    assert all(chip(name).memory_gib for _, name in expected)


def test_the_price_of_a_slice_is_that_of_its_chips(built) -> None:
    found = built.search(Resources(accelerator="tpu-v5p-128", market=Market.ON_DEMAND), limit=1)
    assert found[0].price is not None
    assert found[0].price.usd_per_hour == 64 * Decimal("4.20")


@pytest.mark.parametrize("accelerator", ["A100", "H100", "L4", "T4", "tpu-v5litepod-8"])
def test_it_has_priced_offers_of_the_usual_accelerators(accelerator: str, built) -> None:
    found = built.search(Resources(accelerator=accelerator))
    assert found
    assert found[0].price is not None


def test_it_knows_no_spot_price_of_aws_and_azure_and_says_so(built) -> None:
    spot = built.search(Resources(market=Market.SPOT, instance_type="m5.large"))
    assert spot
    assert all(offer.price is None for offer in spot)


@pytest.mark.parametrize(
    ("instance_type", "vcpus", "memory_gib", "accelerator", "count"),
    [
        ("p4d.24xlarge", 96, 1152, "A100", 8),
        ("p4de.24xlarge", 96, 1152, "A100-80GB", 8),
        ("g6f.2xlarge", 8, 32, "L4", 0.25),
        ("trn1.32xlarge", 128, 512, "Trainium", 16),
        ("Standard_D2s_v3", 2, 8, None, 0),
        ("Standard_E64s_v3", 64, 432, None, 0),
        ("Standard_F72s_v2", 72, 144, None, 0),
        ("Standard_B2ms", 2, 8, None, 0),
        ("Standard_NC4as_T4_v3", 4, 28, "T4", 1),
        ("n2-highmem-8", 8, 64, None, 0),
        ("e2-standard-4", 4, 16, None, 0),
        ("g2-standard-24", 24, 96, "L4", 2),
        ("a3-highgpu-1g", 26, 234, "H100", 1),
        ("c4a-standard-16", 16, 64, None, 0),
        ("m3-ultramem-32", 32, 976, None, 0),
        ("Standard_D8ps_v5", 8, 32, None, 0),
        ("Standard_E96s_v5", 96, 672, None, 0),
        ("Standard_NV36ads_A10_v5", 36, 440, "A10", 1),
        ("Standard_ND96isr_MI300X_v5", 96, 1850, "MI300X", 8),
    ],
)
def test_shapes_are_what_the_providers_sell(
    instance_type, vcpus, memory_gib, accelerator, count, built
) -> None:
    found = built.search(Resources(instance_type=instance_type), limit=1)[0]
    shape = (found.vcpus, found.memory_gib, found.accelerator, found.accelerator_count)
    assert shape == (vcpus, memory_gib, accelerator, count)


def test_the_tool_makes_the_same_bytes_again(monkeypatch) -> None:
    """Of the packages that the sources name; others know other machines."""
    named = " ".join(row["name"] for row in table("price_sources.csv"))
    for package in ("apache-libcloud", "moto", "cfn-lint"):
        version = re.search(rf"{package} (\d+(\.\d+)+)", named)
        assert version
        if installed(package) != version[1]:
            pytest.skip(f"the snapshot was made with {package} {version[1]}")
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    tool = runpy.run_path(str(ROOT / "tools" / "build_snapshot.py"))
    assert tool["packed"](tool["lines"]()) == (DATA / "snapshot.csv.gz").read_bytes()
    assert (TABLES / "price_sources.csv").read_bytes() == (DATA / "sources.csv").read_bytes()


def installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
