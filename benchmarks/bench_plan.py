"""CPU seconds of planning, cold, against an empty Python and a full scan with objects.

Each figure is the CPU time (user + system) of a fresh process, the least of some runs: the time of
`python -c pass` is shown beside it, because every command pays it. The full scan makes an object of
every offer and puts it through `place`, in the same run, on the same catalog.

    .venv/bin/python benchmarks/bench_plan.py [--catalog DIR_OR_TGZ] [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "data" / "catalog.tgz"
BAR_S = 0.5

DEMANDS = {
    "A100:8": "Resources('A100', 8)",
    "cpus 4+": "Resources(cpus=AtLeast(4, True))",
    "tpu-v5p-8": "Resources('tpu-v5p-8', 1)",
    "H100:8 or A100:8": "Resources('H100', 8), Resources('A100', 8)",
}
PREPARE = """
import sys
from broker.catalog import Catalog
catalog = Catalog(sys.argv[1])
catalog.ensure()
if len(sys.argv) > 2:
    assert not catalog.import_skypilot(sys.argv[2]).failed
"""
PLAN = """
import sys
from broker import pool
from broker.catalog import Catalog
from broker.model import AtLeast, Decision, Demand, Resources
class Judge:
    facts = frozenset({{'site.country'}})
    bounds = ()
    def __call__(self, offer):
        return Decision(offer)
candidates = pool.snapshot(Catalog(sys.argv[1]))
demand = Demand('bench', ({resources},))
{how}
print(plan.considered, plan.placements[0].usd_per_hour)
"""
FAST = "plan = pool.plan(demand, candidates, Judge())"
SCAN = """
from broker.place.choose import place
plan = place(demand, pool.offers(candidates), Judge())
"""
TASK = "name: bench\nresources:\n  accelerators: A100:8\nrun: nvidia-smi\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", type=Path, default=SAMPLE if SAMPLE.exists() else None)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), args.catalog, args.runs)


def bench(home: Path, source: Path | None, runs: int) -> None:
    path = home / "cache" / "catalog.db"
    built, _ = cpu_s([sys.executable, "-c", PREPARE, str(path), *([str(source)] if source else [])])
    print(f"catalog: {source or 'bundled snapshot'}, made in {built:.2f} CPU s")
    bare = least([sys.executable, "-c", "pass"], runs)
    print(f"{'python -c pass':<22}{bare:>8.3f} CPU s")
    for name, resources in DEMANDS.items():
        fast = least(planner(path, resources, FAST), runs)
        scan = least(planner(path, resources, SCAN), 1)
        said(name, fast, bare, scan)
    command(home, bare, runs)


def planner(path: Path, resources: str, how: str) -> list[str]:
    return [sys.executable, "-c", PLAN.format(resources=resources, how=how), str(path)]


def command(home: Path, bare: float, runs: int) -> None:
    """`broker plan` as a user runs it, once it is installed."""
    broker = Path(sys.executable).with_name("broker")
    task = home / "task.yaml"
    task.write_text(TASK, encoding="utf-8")
    if not broker.exists():
        print("broker plan: not installed")
        return
    os.environ["BROKER_HOME"] = str(home)
    said("broker plan A100:8", least([str(broker), "plan", str(task)], runs), bare)


def said(name: str, took: float, bare: float, scan: float | None = None) -> None:
    verdict = "ok" if took <= BAR_S else f"over the bar of {BAR_S} s"
    against = f", full scan {scan:.2f} ({scan / took:.0f} x)" if scan else ""
    print(f"{name:<22}{took:>8.3f} CPU s = {took / bare:.1f} x bare{against}: {verdict}")


def least(argv: Sequence[str], runs: int) -> float:
    return min(cpu_s(argv)[0] for _ in range(runs))


def cpu_s(argv: Sequence[str]) -> tuple[float, str]:
    """CPU seconds of a process and its children, and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{argv[0]} failed: {done.stderr or done.stdout}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


if __name__ == "__main__":
    main()
