"""The packs in `policies/`: they load, their cases pass and see every rule, and no mistake survives.

A mutant is a pack with one small mistake in it. A case must fail for every one of them, or the
cases would not notice the same mistake made by hand.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from broker.catalog.accelerators import chip
from broker.catalog.regions import country_sites, place, site, sites
from broker.documents.cases import Suite, Tables, load_cases
from broker.documents.policies import load_policies
from broker.model import Data, Demand, Market, Offer, Price, Resources, Site
from broker.policy.cases import run_case
from broker.policy.coverage import cover
from broker.policy.judge import Judge
from broker.policy.rules import Policy, Residency, Verb
from tests.packs.mutants import Mutant, mutants

FOLDER = Path(__file__).resolve().parents[2] / "policies"
PACKS = sorted(path.parent.name for path in FOLDER.glob("*/policy.yaml"))
TABLES = Tables(site, lambda code: country_sites().get(code, Site()), place, chip)
MODELINE = "# yaml-language-server: $schema=https://fedbroker.dev/schema/v1/{}.json"

# Mistakes that no case can see, by pack and what a mutant's words begin with, and why.
UNSEEN = {
    ("budget-guard", "guard-month: warn_at "): "a warning decides nothing",
    ("spot-friendly", "spot-hours: max_preemptions "): "it binds a lease that runs, not an offer",
    ("spot-friendly", "spot-aggregator: needs_checkpoint "): "spot is refused to it either way",
    ("eu-sovereign", "sovereign-storage: operator_country loses "): (
        "no region that the tables know is run from the Union; its list is that of "
        "sovereign-operator, which has a case for each word"
    ),
    ("phi", "phi: is no health"): "it tells beside other packs, which a test below looks at",
    ("phi", "health: is no personal"): "it tells beside other packs, which a test below looks at",
    ("green", "green-night: shift.hours has 22:00-05:00 "): (
        "who asks after five waits till ten in the evening, longer than the rule lets it"
    ),
    ("green", "green-night: shift.hours has 22:00-07:00 "): (
        "who asks after six would wait longer than the rule lets it, and starts at once too"
    ),
}


def suite(pack: str) -> Suite:
    return load_cases(FOLDER / pack / "cases.yaml", TABLES)


def all_packs() -> Policy:
    return load_policies(FOLDER / pack / "policy.yaml" for pack in PACKS)


def survives(mutant: Mutant, cases: Suite) -> bool:
    return all(run_case(mutant.policy, case).passed for case in cases.cases)


def excuse(pack: str, mutant: Mutant) -> tuple[str, str] | None:
    words = f"{mutant.rule}: {mutant.what}"
    return next((key for key in UNSEEN if key[0] == pack and words.startswith(key[1])), None)


@pytest.mark.parametrize("pack", PACKS)
def test_the_cases_of_a_pack_pass(pack: str) -> None:
    """Control for the mutants: without a mistake no case fails."""
    cases = suite(pack)
    failed = [
        f"{case.location}: {case.name}: {', '.join(outcome.failures)}"
        for case in cases.cases
        for outcome in [run_case(cases.policy, case)]
        if not outcome.passed
    ]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("pack", PACKS)
def test_the_cases_of_a_pack_see_every_rule_decide_and_hold_back(pack: str) -> None:
    cases = suite(pack)
    covers = cover([(cases.policy, [run_case(cases.policy, case) for case in cases.cases])])
    assert {one.rule.id: one.missing for one in covers if not one.covered} == {}
    assert len(covers) == len(cases.policy.rules)


@pytest.mark.parametrize("pack", PACKS)
def test_no_mistake_in_a_pack_is_missed_by_its_cases(pack: str) -> None:
    cases = suite(pack)
    made = list(mutants(cases.policy))
    alive = [mutant for mutant in made if survives(mutant, cases)]
    missed = [str(mutant) for mutant in alive if excuse(pack, mutant) is None]
    assert not missed, f"{len(missed)} of {len(made)} survive:\n" + "\n".join(missed)
    used = {excuse(pack, mutant) for mutant in alive} - {None}
    assert used == {key for key in UNSEEN if key[0] == pack}, "an excuse that nothing needs"


def test_a_pack_without_cases_would_let_every_mistake_pass() -> None:
    """Control: it is the cases that catch mutants."""
    full = suite("gdpr")
    empty = Suite(full.file, full.policy, ())
    assert all(survives(mutant, empty) for mutant in mutants(full.policy))


@pytest.mark.parametrize("kind", ["policy", "cases"])
@pytest.mark.parametrize("pack", PACKS)
def test_a_file_names_its_schema_for_editors(pack: str, kind: str) -> None:
    text = (FOLDER / pack / f"{kind}.yaml").read_text(encoding="utf-8")
    assert text.splitlines()[0] == MODELINE.format(kind)


@pytest.mark.parametrize("pack", PACKS)
def test_every_rule_says_why_and_a_page_lists_it(pack: str) -> None:
    page = (FOLDER / pack / "README.md").read_text(encoding="utf-8")
    policy = load_policies([FOLDER / pack / "policy.yaml"])
    listed = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert listed == [rule.id for rule in policy.rules]
    assert [r.id for r in policy.rules if not r.why and not r.id.startswith("limits.")] == []
    assert f"policies: [policies/{pack}/policy.yaml]" in page
    assert f"broker policy test policies/{pack}" in page


def test_the_index_lists_every_pack() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[`([^`]+)`\]", page, re.MULTILINE) == PACKS


def test_the_packs_use_every_verb_and_expressions() -> None:
    rules = all_packs().rules
    clauses = [clause.field for rule in rules for clause in (*rule.when, *rule.clauses)]
    assert {rule.verb for rule in rules} == set(Verb)
    assert "expr" in clauses


def test_all_packs_go_together() -> None:
    """One offer that all of them allow: a machine of one's own in the country with the data."""
    demand = Demand(
        "rounds",
        (Resources(),),
        data=Data("phi", ("ehr",), "research"),
        role="site",
        duration_h=Decimal(2),
    )
    home = Site("NO", frozenset({"EEA", "EFTA"}), 30.0, "the case")
    offer = Offer(
        "edge",
        "oslo-01",
        None,
        "",
        Market.OWNED,
        8.0,
        32.0,
        price=Price(Decimal(0), "2026-01-01", "the case"),
        site=home,
        node_id="oslo-01",
        datasets=("ehr",),
        node="oslo-01",
    )
    others = [load_policies([FOLDER / pack / "policy.yaml"]) for pack in PACKS]
    apart = {reason.rule for one in others for reason in Judge(one, demand)(offer).reasons}
    together = {reason.rule for reason in Judge(all_packs(), demand)(offer).reasons}
    assert "sovereign-place" in together  # Norway is in the EEA, not in the Union
    assert together <= apart


def test_health_data_of_one_pack_is_personal_data_of_another() -> None:
    together = load_policies(FOLDER / pack / "policy.yaml" for pack in ("gdpr", "phi"))
    assert together.lineage("phi") == {"phi", "health", "special", "personal"}
    demand = Demand("t", (Resources(),), data=Data("phi", purpose="care"))
    offer = Offer("aws", "us-east-1", None, "m5", Market.ON_DEMAND, 2, 8, site=Site("US"))
    refused = {reason.rule for reason in Judge(together, demand)(offer).reasons}
    assert refused == {"gdpr-stays", "phi-country"}


def test_both_lists_of_the_unions_members_are_one() -> None:
    policy = load_policies([FOLDER / "eu-sovereign" / "policy.yaml"])
    terms = {rule.id: rule.terms for rule in policy.rules}
    lists = []
    for name in ("sovereign-operator", "sovereign-storage"):
        residency = terms[name]
        assert isinstance(residency, Residency)
        lists.append(residency.operator_countries)
    assert lists[0] == lists[1]
    known = {code for code, one in country_sites().items() if "EU" in one.blocs}
    assert set(lists[0]) <= known
    assert len(lists[0]) == 27


def test_no_region_that_the_tables_know_is_run_from_the_union() -> None:
    """What the page of eu-sovereign says, and why no case can see the storage rule's list."""
    union = {code for code, one in country_sites().items() if "EU" in one.blocs}
    assert [at for at, one in sites().items() if one.operator_country in union] == []
