"""CPU seconds to start: `broker --help` and `--version`, beside Python alone and Flower's command.

Each figure is user + system time of a fresh process, the least of some runs; the peer runs in the
same run on the same machine, so the ratio is what counts.

    .venv/bin/python benchmarks/bench_start.py [--runs 5]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BAR_S = 0.25
BIN = Path(sys.executable).parent
COMMANDS: dict[str, Sequence[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "broker --help": [str(BIN / "broker"), "--help"],
    "broker --version": [str(BIN / "broker"), "--version"],
    "broker-edge --help": [str(BIN / "broker-edge"), "--help"],
    "flwr --help": [str(BIN / "flwr"), "--help"],
}


def cpu_s(command: Sequence[str]) -> float:
    """CPU seconds of one run and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    figures = {
        name: min(cpu_s(command) for _ in range(runs))
        for name, command in COMMANDS.items()
        if Path(command[0]).exists()
    }
    ours = figures["broker --help"]
    print(f"{'command':<20} {'CPU s':>7} {'to broker --help':>17}")
    for name, seconds in figures.items():
        print(f"{name:<20} {seconds:>7.3f} {seconds / ours:>16.1f}x")
    print(f"bound {BAR_S} s: {'kept' if ours <= BAR_S else 'MISSED'}")


if __name__ == "__main__":
    main()
