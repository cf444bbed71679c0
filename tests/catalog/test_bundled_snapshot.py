"""The law: the snapshot in the package is small, dated and sourced line by line, holds no price of
0, and is what its tool makes of its inputs, byte for byte."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from broker.catalog import snapshot
from broker.model import Market, Resources

ROOT = Path(__file__).parents[2]
DATA = ROOT / "broker" / "catalog" / "data"


def test_it_is_small() -> None:
    assert (DATA / "snapshot.csv.gz").stat().st_size < 1_500_000


def test_every_line_has_a_date_and_a_source_and_no_price_is_zero() -> None:
    for rows in snapshot.load().values():
        for row in rows:
            assert row.source.name
            assert row.source.as_of.startswith("20")
            assert row.micros is None or row.micros > 0


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
    ],
)
def test_shapes_are_what_the_providers_sell(
    instance_type, vcpus, memory_gib, accelerator, count, built
) -> None:
    found = built.search(Resources(instance_type=instance_type), limit=1)[0]
    shape = (found.vcpus, found.memory_gib, found.accelerator, found.accelerator_count)
    assert shape == (vcpus, memory_gib, accelerator, count)


def test_the_tool_makes_the_same_bytes_again(monkeypatch) -> None:
    pytest.importorskip("libcloud")
    pytest.importorskip("moto")
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    tool = runpy.run_path(str(ROOT / "tools" / "build_snapshot.py"))
    made = tool["packed"]([*tool["aws"](), *tool["azure"](), *tool["google"]()])
    assert made == (DATA / "snapshot.csv.gz").read_bytes()
