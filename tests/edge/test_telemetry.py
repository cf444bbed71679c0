"""What a machine tells of itself is what the agent may use, in the catalogs' own words."""

from __future__ import annotations

import os
import sys

import pytest

from edge.telemetry import GIB, accelerator, capacity, gpus, memory_bytes, vcpus


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("Tesla K80", "K80"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("NVIDIA TITAN V", "TITAN V"),
    ],
)
def test_a_model_has_the_name_that_catalogs_give_it(raw, name):
    assert accelerator(raw) == name


def test_gpus_are_asked_of_the_drivers_command(tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA H200'\n")
    fake.chmod(0o700)
    assert gpus([str(fake)]) == ("H200", 2)


@pytest.mark.parametrize("program", ["exit 9", "echo", "kill -9 $$"])
def test_a_driver_that_does_not_answer_means_no_gpu(tmp_path, program):
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(0o700)
    assert gpus([str(fake)]) == (None, 0)
    assert gpus(["/no/such/nvidia-smi"]) == (None, 0)


def test_a_quota_of_processors_wins_over_the_machine(tmp_path):
    own = len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert vcpus(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert vcpus(tmp_path) == own
    assert vcpus(tmp_path / "none") == own


def test_a_limit_of_memory_wins_over_the_machine(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemFree: 1 kB\nMemTotal:       8388608 kB\n")
    assert memory_bytes(meminfo, tmp_path) == 8 * GIB
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    assert memory_bytes(meminfo, tmp_path) == 2 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(meminfo, tmp_path) == 8 * GIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_has_something_of_everything(tmp_path):
    found = capacity(tmp_path)
    assert found.vcpus > 0
    assert 0 < found.memory_gib < 100_000
    assert found.disk_gib > 0
