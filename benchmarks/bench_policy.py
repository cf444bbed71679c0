"""Judging 5,000 offers by 15 rules, and `broker policy check` of 300 lines and 50 rules, cold.

    .venv/bin/python benchmarks/bench_policy.py [--runs 3]

The judge is timed warm, in one process, in every combination that forgets what it remembered; the
command is the CPU time of a fresh process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from bench_plan import BAR_S, least, said

from broker.documents.policies import load_policies
from broker.model import Data, Demand, Market, Offer, Price, Resources, Site
from broker.policy import Judge

OFFERS, RULES = 5_000, 15
KINDS = (
    "require: {country: [NO, SE, DE, FR, NL]}",
    "deny: {market: [spot], region: [us-east-1]}",
    "require: {max_carbon_g_per_kwh: 400}",
    "require: {max_usd_per_hour: 30}",
    "residency: {bloc: [EEA], operator_country: [US, DE]}",
    "prefer: {market: [spot]}",
    "spot: {max_duration: 12h}",
    "budget: {usd_per_month: 500}",
    "carbon: {max_g_per_kwh: 600}",
    "require: {max_price_age: 90d}",
)
SLOW = ('require: {expr: "offer.vcpus >= 2.0 && offer.usd_per_hour < 40.0"}',)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judged(Path(folder), args.runs)
        checked(Path(folder), args.runs)


def judged(folder: Path, runs: int) -> None:
    offers = [an_offer(number) for number in range(OFFERS)]
    demand = Demand("train", (Resources(),), data=Data("phi"), duration_h=Decimal(6))
    for name, kinds in (("facts and prices", KINDS), ("with expressions", KINDS + SLOW)):
        file = folder / "policy.yaml"
        file.write_text(policy(kinds, RULES), encoding="utf-8")
        rules = load_policies([file])
        for what in ("judge", "trace"):
            took = min(one_pass(rules, demand, offers, what) for _ in range(runs))
            verdict = "ok" if took <= BAR_S or what == "trace" else f"over the bar of {BAR_S} s"
            print(f"{what} {OFFERS} offers x {RULES} rules, {name:<18}{took:>8.3f} s: {verdict}")


def one_pass(rules: object, demand: Demand, offers: Sequence[Offer], what: str) -> float:
    judge = Judge(rules, demand)  # type: ignore[arg-type]  # what load_policies gave
    ask = judge if what == "judge" else judge.trace
    begun = time.perf_counter()
    for offer in offers:
        ask(offer)
    return time.perf_counter() - begun


def checked(folder: Path, runs: int) -> None:
    os.environ["BROKER_HOME"] = str(folder)
    file = folder / "large.yaml"
    file.write_text(policy(KINDS, 50, padded=True), encoding="utf-8")
    lines = len(file.read_text(encoding="utf-8").splitlines())
    broker = str(Path(sys.executable).with_name("broker"))
    bare = least([sys.executable, "-c", "pass"], runs)
    said(f"policy check, {lines} lines", least([broker, "policy", "check", str(file)], runs), bare)


def an_offer(number: int) -> Offer:
    countries = ("NO", "US", "DE", "SE", "IN", "FR")
    site = Site(countries[number % 6], frozenset({"EEA"}), 20.0 + number % 700, "bench")
    usd = Decimal(number % 997) / 20 + Decimal("0.05")
    offer = Offer("aws", f"r-{number % 40}", None, f"m{number}", Market.ON_DEMAND, 8.0, 32.0)
    price = Price(usd, "2026-11-01", "bench")
    market = Market.SPOT if number % 2 else Market.ON_DEMAND
    return replace(offer, price=price, site=replace(site, operator_country="US"), market=market)


def policy(kinds: Sequence[str], rules: int, *, padded: bool = False) -> str:
    lines = ["policy: bench", "rules:"]
    for number in range(rules):
        lines += [
            f"  - id: rule-{number}",
            "    when: {data_class: [phi]}",
            f"    {kinds[number % len(kinds)]}",
            *(["    why: A rule of many,", "      with a reason", "      of some lines."] * padded),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
