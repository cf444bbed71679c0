"""CPU seconds of `broker offers`, cold and with no daemon, over the largest catalog at hand.

    .venv/bin/python benchmarks/bench_offers.py [--catalog DIR_OR_TGZ] [--runs 3]

Beside each figure: `python -c pass` and `flwr --help` of the same run, because absolute times drift.
For comparison, measured elsewhere and not here: `sky gpus list` takes 2.5-2.8 CPU s of its client
alone, with its server warm.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench_plan import BAR_S, PREPARE, SAMPLE, cpu_s, least, said

COMMANDS = {
    "offers": (),
    "offers A100:8": ("A100:8",),
    "offers --bloc EU --sort carbon": ("--bloc", "EU", "--sort", "carbon"),
    "offers --sort flop-price": ("--sort", "flop-price"),
    "offers --group-by accelerator": ("--group-by", "accelerator"),
    "offers --cpus 4 -o json": ("--cpus", "4", "-o", "json"),
}
CONFIG = "clouds:\n  aws: {provider: aws}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", type=Path, default=SAMPLE if SAMPLE.exists() else None)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), args.catalog, args.runs)


def bench(home: Path, source: Path | None, runs: int) -> None:
    os.environ["BROKER_HOME"] = str(home)
    broker = str(Path(sys.executable).with_name("broker"))
    flwr = Path(sys.executable).with_name("flwr")
    path = home / "cache" / "catalog.db"
    cpu_s([sys.executable, "-c", PREPARE, str(path), *([str(source)] if source else [])])
    bare = least([sys.executable, "-c", "pass"], runs)
    print(f"catalog: {source or 'bundled snapshot'}; bar {BAR_S} CPU s")
    print(f"{'python -c pass':<34}{bare:>8.3f} CPU s")
    if flwr.exists():
        print(f"{'flwr --help':<34}{least([str(flwr), '--help'], runs):>8.3f} CPU s")
    for name, arguments in COMMANDS.items():
        said(f"{name:<32}", least([broker, "offers", *arguments], runs), bare)
    (home / "config.yaml").write_text(CONFIG, encoding="utf-8")
    said(f"{'offers, with a configuration':<32}", least([broker, "offers"], runs), bare)


if __name__ == "__main__":
    main()
