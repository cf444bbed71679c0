"""The law: every accelerator that a catalog can name has its memory, and its bf16 peak where its
generation computes in bf16, per unit as offers count it, with a source and a date. An accelerator
that nobody knows has no facts."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import runpy
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.catalog import snapshot
from broker.catalog.accelerators import UNKNOWN, chip, chips_by_name
from broker.catalog.rows import tpu_chips
from broker.model import Chip

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "broker" / "catalog" / "data" / "accelerators.csv"

# Generations before bf16, and an FPGA
NO_BF16 = {
    *("K80", "M60", "M4000", "P4", "P40", "P100", "P4000", "V100", "V100-32GB", "T4", "T4g"),
    *("GTX1660S", "RTX6000"),  # Turing too
    *("Radeon MI25", "Radeon Pro V520", "AI100", "Virtex UltraScale+ (VU47P)"),
}
NOT_PUBLISHED = {"A16", "Radeon Pro V710", "Gaudi HL-205"}  # they have bf16; no peak is published
# moto says 512 GiB a chip; AWS says 1.5 TiB for the 16 chips of a trn2.48xlarge
WRONG_IN_MOTO = {"Trainium2"}


def bundled() -> set[str]:
    return {row.accelerator for rows in snapshot.load().values() for row in rows if row.accelerator}


def in_sample(archive: Path) -> set[str]:
    found: set[str] = set()
    with tarfile.open(archive) as members:
        for member in members:
            content = members.extractfile(member)
            if content:
                rows = csv.DictReader(content.read().decode().splitlines())
                found |= {row["AcceleratorName"] for row in rows}
    return found - {""}


def check(names: set[str]) -> None:
    for name in names:
        facts = chip(name)
        assert facts.memory_gib, name
        assert (facts.bf16_tflops is None) == (name in NO_BF16 | NOT_PUBLISHED), name
        assert facts.source, name


def test_every_accelerator_of_the_bundled_catalog_has_memory_and_bf16_where_it_has_that() -> None:
    names = bundled()
    assert {"A100", "H100", "H200", "B200", "L4", "T4", "MI300X", "Trainium2"} <= names
    check(names)


def test_every_accelerator_of_the_sample_has_memory_and_bf16_where_it_has_that(sample_file) -> None:
    names = in_sample(sample_file)
    assert len(names) > 40
    check(names)


def test_every_accelerator_of_the_table_has_memory_and_bf16_where_it_has_that() -> None:
    check(set(chips_by_name()))


@pytest.mark.parametrize(
    ("name", "memory_gib", "bf16_tflops", "watts"),
    [
        ("A100", 40, 312, 400),
        ("A100-80GB", 80, 312, 400),
        ("H100", 80, 989, 700),
        ("H200", 141, 989, 700),
        ("B200", 180, 2250, 1000),
        ("L4", 24, 121, 72),
        ("T4", 16, None, 70),
        ("V100", 16, None, 300),
        ("MI300X", 192, 1307.4, 750),
        ("Gaudi HL-205", 32, None, 350),
        ("Trainium2", 96, 667, None),
        ("tpu-v2-8", 64, 184, 1120),  # 8 cores are 4 chips
        ("tpu-v4-8", 128, 1100, 768),
        ("tpu-v5litepod-8", 128, 1576, None),  # 8 chips
        ("tpu-v5p-8", 380, 1836, None),
        ("tpu-v6e-256", 8192, 235008, None),
    ],
)
def test_facts_are_what_the_vendor_says(name, memory_gib, bf16_tflops, watts) -> None:
    found = chip(name)
    assert (found.memory_gib, found.bf16_tflops, found.watts) == (memory_gib, bf16_tflops, watts)


def test_no_gpu_of_aws_is_said_to_have_other_memory_than_ec2_reports() -> None:
    """EC2 tells what is left for programs, up to a tenth less than is soldered on."""
    pytest.importorskip("libcloud")
    spec = importlib.util.find_spec("moto")
    if spec is None or spec.origin is None:
        pytest.skip("moto is not installed")
    path = Path(spec.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
    machines = json.loads(gzip.decompress(path.read_bytes())).values()
    compared = set()
    for name, reported_gib in map(_reported, filter(_accelerated, machines)):
        if name not in WRONG_IN_MOTO:
            facts = chip(name)
            assert facts.memory_gib is not None, name
            assert 0.9 * facts.memory_gib <= reported_gib <= 1.01 * facts.memory_gib, name
            compared.add(name)
    assert len(compared) >= 15


def _accelerated(machine) -> bool:
    return any(key in machine for key in ("GpuInfo", "NeuronInfo", "InferenceAcceleratorInfo"))


def _reported(machine) -> tuple[str, float]:
    """Name, and GiB of a whole accelerator: a slice reports its share."""
    device = next(
        machine[info][devices][0]
        for info, devices in (
            ("GpuInfo", "Gpus"),
            ("NeuronInfo", "NeuronDevices"),
            ("InferenceAcceleratorInfo", "Accelerators"),
        )
        if info in machine
    )
    mib = device["MemoryInfo"]["SizeInMiB"]
    name = _names().get((device["Name"], mib), device["Name"])
    return name, mib / 1024 / device.get("GpuPartitionSize", 1)


def _names() -> dict[tuple[str, int], str]:
    """The catalog's names of what EC2 tells apart by memory alone."""
    names = runpy.run_path(str(ROOT / "tools" / "build_snapshot.py"))["snapshot_aws"].ACCELERATORS
    assert names["A100", 81920] == "A100-80GB"
    return names


@pytest.fixture(autouse=True)
def own_path(monkeypatch) -> None:
    """The tools put themselves on the path."""
    monkeypatch.setattr("sys.path", [*__import__("sys").path])


@given(
    st.sampled_from(["tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5litepod", "tpu-v5p", "tpu-v6e"]),
    st.integers(1, 4096),
)
def test_a_slice_is_all_its_chips_together(family: str, size: int) -> None:
    name = f"{family}-{size}"
    chips, one, whole = tpu_chips(name), chip(family), chip(name)
    assert chips
    assert one.memory_gib
    assert one.bf16_tflops
    assert whole.memory_gib == one.memory_gib * chips
    assert whole.bf16_tflops == one.bf16_tflops * chips
    assert whole.watts == (None if one.watts is None else one.watts * chips)
    assert whole.source == one.source


@given(st.text(max_size=12))
def test_a_name_that_nobody_knows_has_no_facts(name: str) -> None:
    if name not in chips_by_name():
        assert chip(name) == UNKNOWN == Chip()


@pytest.mark.parametrize("name", ["", "a100", "tpu", "tpu-v9-8", "tpu-v5p-", "H100:8"])
def test_half_a_name_has_no_facts(name: str) -> None:
    assert chip(name) == UNKNOWN


def test_each_line_names_vendor_source_and_date_once() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row["vendor"] in {"NVIDIA", "AMD", "Intel", "AWS", "Qualcomm", "Google"}
        assert row["source"]
        assert re.fullmatch(r"20\d\d-\d\d", row["as_of"])
        assert all(float(row[name] or 1) > 0 for name in ("memory_gib", "bf16_tflops", "watts"))
