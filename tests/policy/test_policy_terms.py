"""Law: what the terms of a rule refuse is told with what was seen, what is wanted and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.catalog.sieve import POOL_FACTS
from broker.model import (
    Artefact,
    Chip,
    Data,
    Demand,
    Finding,
    Kind,
    Location,
    Market,
    Offer,
    Price,
    Reason,
    Site,
    Storage,
    Verdict,
)
from broker.policy import Clause, Judge, Policy, Rule, Standing, Verb, account_id
from broker.policy.residency import inside
from broker.policy.rules import BlastRadius, Budget, Carbon, Disruption, Residency, Spot, Terms

Offers = Callable[..., Offer]
Demands = Callable[..., Demand]
RULE_AT = Location("org.yaml", 9, 9)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
VERBS = {
    Residency: Verb.RESIDENCY,
    Spot: Verb.SPOT,
    Carbon: Verb.CARBON,
    Budget: Verb.BUDGET,
    BlastRadius: Verb.BLAST_RADIUS,
    Disruption: Verb.DISRUPTION,
}


def at(line: int) -> Location:
    return Location("org.yaml", line, 20)


def policy(terms: Terms, *, when: tuple[Clause, ...] = (), **lines: int) -> Policy:
    locations = {name: at(line) for name, line in lines.items()}
    verb = VERBS[type(terms)]
    return Policy(
        (Rule("it", verb, (), when, "because", RULE_AT, terms=terms, locations=locations),)
    )


def require(field: str, wanted: Any) -> Policy:
    clause = Clause(field, wanted, at(12))
    return Policy((Rule("it", Verb.REQUIRE, (clause,), why="because", location=RULE_AT),))


def said(
    rules: Policy, demand: Demand, offer: Offer, standing: Standing | None = None
) -> list[tuple[str, str]]:
    return [(one.saw, one.wanted) for one in Judge(rules, demand, standing)(offer).reasons]


def told(rules: Policy, demand: Demand, offer: Offer, standing: Standing | None = None) -> Finding:
    return Judge(rules, demand, standing).trace(offer).findings[-1]


# ---------------------------------------------------------------------------------------- residency

EUROPE = Residency(("NO",), ("EEA",), ("US-VA",), ("NO", "DE"))
HOME = Site("NO", frozenset({"EEA"}), operator_country="NO", place_source="places.csv")


def test_a_machine_out_of_place_is_refused_for_its_place_and_for_its_operator(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = policy(EUROPE, bloc=11, operator_country=14)
    abroad = Site("US", frozenset(), operator_country="US", place_source="places.csv")
    assert Judge(rules, a_demand())(an_offer(site=abroad)).reasons == (
        Reason(
            Kind.POLICY,
            "it",
            "country US, bloc none, subdivision unknown",
            "country in [NO] or bloc in [EEA] or subdivision in [US-VA]",
            at(11),
            "places.csv",
            "because",
        ),
        Reason(
            Kind.POLICY,
            "it",
            "operator_country US",
            "operator_country in [NO, DE]",
            at(14),
            "places.csv",
            "because",
        ),
    )
    assert Judge(rules, a_demand())(an_offer(site=HOME)).allowed
    virginia = replace(abroad, subdivision="US-VA", operator_country="DE")
    assert Judge(rules, a_demand())(an_offer(site=virginia)).allowed


def test_a_place_that_nobody_knows_is_out_of_place(an_offer: Offers, a_demand: Demands) -> None:
    assert said(policy(EUROPE), a_demand(), an_offer(site=Site())) == [
        (
            "country unknown, bloc unknown, subdivision unknown",
            "country in [NO] or bloc in [EEA] or subdivision in [US-VA]",
        ),
        ("operator_country unknown", "operator_country in [NO, DE]"),
    ]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (HOME, True),
        (Site(), None),
        (Site("US", operator_country="NO"), None),  # the subdivision might be Virginia
        (Site("US", subdivision="US-TX", operator_country="NO"), False),
        (replace(HOME, operator_country="US"), False),
        (replace(HOME, operator_country=None), None),
    ],
)
def test_a_site_is_inside_outside_or_not_known(site: Site, expected: bool | None) -> None:
    assert inside(EUROPE, site) is expected


@pytest.mark.parametrize(
    ("role", "of", "bound"),
    [
        ("task", Artefact.MACHINE, True),
        ("site", Artefact.MACHINE, True),
        ("aggregator", Artefact.MACHINE, False),
        ("aggregator", Artefact.AGGREGATOR, True),
        ("task", Artefact.AGGREGATOR, False),
        ("task", Artefact.BUCKET, False),
    ],
)
def test_the_role_says_what_a_machine_is(
    an_offer: Offers, a_demand: Demands, role: str, of: Artefact, bound: bool
) -> None:
    rules = policy(Residency(("SE",), of=(of,)))
    assert Judge(rules, a_demand(role=role))(an_offer()).allowed is not bound


def test_what_is_stored_out_of_place_speaks_against_every_offer(
    an_offer: Offers, a_demand: Demands
) -> None:
    line = Location("task.yaml", 7, 11)
    abroad = Site("US", operator_country="US", place_source="places.csv")
    bucket = Storage(Artefact.BUCKET, "aws/us-east-1", "s3://b", abroad, line)
    log = Storage(Artefact.LOG, "", site=HOME)
    rules = policy(Residency(("NO",)), country=11)
    (reason,) = Judge(rules, a_demand(storage=(bucket, log)))(an_offer()).reasons
    assert (reason.rule, reason.location, reason.source) == ("it", line, "places.csv")
    assert reason.saw == "bucket s3://b in aws/us-east-1: country US"
    assert reason.wanted == "bucket: country in [NO]"
    nowhere = a_demand(storage=(Storage(Artefact.LOG, ""),))
    (reason,) = Judge(rules, nowhere)(an_offer()).reasons
    assert (reason.saw, reason.location) == ("log in an unknown place: country unknown", at(11))
    only = policy(Residency(("NO",), of=(Artefact.CHECKPOINT,)))
    assert Judge(only, a_demand(storage=(bucket,)))(an_offer()).allowed


# --------------------------------------------------------------------------------------------- spot


def test_spot_can_be_forbidden(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Spot(allow=False), allow=12)
    (reason,) = Judge(rules, a_demand())(an_offer(market=Market.SPOT)).reasons
    assert (reason.saw, reason.wanted, reason.location) == (
        "market spot",
        "no spot machine",
        at(12),
    )
    assert Judge(rules, a_demand())(an_offer()).allowed
    assert Judge(policy(Spot(allow=True)), a_demand())(an_offer(market=Market.SPOT)).allowed


def test_spot_can_be_kept_to_short_work_that_is_saved(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Spot(max_duration_h=Decimal("6.0"), needs_checkpoint=True))
    spot = an_offer(market=Market.SPOT)
    assert said(rules, a_demand(), spot) == [
        ("market spot for an unknown time", "spot for at most 6 h"),
        ("market spot without a checkpoint", "a checkpoint for spot"),
    ]
    assert said(rules, a_demand(duration_h=Decimal(8)), spot)[0][0] == "market spot for 8 h"
    saved = (Storage(Artefact.CHECKPOINT, "aws/eu-north-1"),)
    short = a_demand(duration_h=Decimal(6), storage=saved)
    assert Judge(rules, short)(spot).allowed
    assert told(rules, short, spot).saw == "market spot for 6 h, market spot with a checkpoint"
    assert told(rules, a_demand(), an_offer()).saw == "market on-demand"


# ------------------------------------------------------------------------------------------- carbon


def test_emissions_of_a_whole_run_can_be_capped(an_offer: Offers, a_demand: Demands) -> None:
    """Two vCPUs and 8 GiB draw 11.2 W, with the building 13.44 W; the grid emits 21 g/kWh."""
    rules = policy(Carbon(max_kg=Decimal("0.005")), max_kg=12)
    assert Judge(rules, a_demand(duration_h=Decimal(17)))(an_offer()).allowed
    (reason,) = Judge(rules, a_demand(duration_h=Decimal(10), nodes=2))(an_offer()).reasons
    assert reason.saw == "about 0.00564 kg of CO2 in 10 h"
    assert reason.wanted == "at most 0.005 kg of CO2 in all"
    assert (reason.location, reason.source) == (at(12), "regions.csv")


@pytest.mark.parametrize(
    ("facts", "missed"),
    [
        ({"vcpus": None}, "machine shape"),
        ({"memory_gib": None}, "machine shape"),
        ({"accelerator": "A1", "accelerator_count": 2}, "accelerator power"),
        ({"site": Site("NO")}, "carbon"),
        ({"site": Site("NO", carbon_g_per_kwh=float("nan"))}, "carbon"),
    ],
)
def test_emissions_that_nobody_can_estimate_are_too_many(
    an_offer: Offers, a_demand: Demands, facts: dict[str, Any], missed: str
) -> None:
    rules = policy(Carbon(max_kg=Decimal(1000)))
    found = said(rules, a_demand(duration_h=Decimal(1)), an_offer(**facts))
    assert found[0][0] == f"emissions unknown: {missed} unknown"


def test_emissions_of_a_run_of_unknown_length_are_too_many(
    an_offer: Offers, a_demand: Demands
) -> None:
    found = said(policy(Carbon(max_kg=Decimal(1000))), a_demand(), an_offer())
    assert found[0][0] == "no duration, so emissions unknown"


def test_the_intensity_of_the_grid_can_be_capped(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Carbon(max_g_per_kwh=Decimal(20)), max_g_per_kwh=12)
    (reason,) = Judge(rules, a_demand())(an_offer()).reasons
    assert (reason.saw, reason.wanted) == ("carbon 21 g/kWh", "carbon at most 20 g/kWh")
    assert reason.location == at(12)
    assert Judge(rules, a_demand()).facts == {"site.carbon_g_per_kwh", "site.source"}


def test_emissions_can_be_weighed_in_the_ranking(an_offer: Offers, a_demand: Demands) -> None:
    """Per node and hour: an A100 board of 400 W, four of them, with 96 vCPUs and 680 GiB."""
    rules = policy(Carbon(usd_per_kg=Decimal(2)))
    facts = {"accelerator": "A100", "accelerator_count": 4, "vcpus": 96.0, "memory_gib": 680.0}
    known = an_offer(chip=Chip(watts=400.0), **facts)
    decision = Judge(rules, a_demand(nodes=3)).trace(known)
    kg = (1600 + 96 * 4 + 680 * 0.4) * 1.2 / 1000 * 0.021
    assert decision.weight_usd_per_hour == round(Decimal(kg) * 2, 6)
    assert decision.allowed
    assert decision.findings[-1].verdict is Verdict.WEIGHS
    assert (
        decision.findings[-1].saw == f"{decision.weight_usd_per_hour.normalize():f} $/h for carbon"
    )
    assert not Judge(rules, a_demand()).facts <= {"site.country", "site.carbon_g_per_kwh"}


def test_what_is_not_known_weighs_more_not_less(an_offer: Offers, a_demand: Demands) -> None:
    judge = Judge(policy(Carbon(usd_per_kg=Decimal(2))), a_demand())
    known = judge(an_offer()).weight_usd_per_hour
    for facts in ({"vcpus": None}, {"accelerator": "A1", "accelerator_count": 1}, {"site": Site()}):
        found = judge.trace(an_offer(**facts))
        assert found.weight_usd_per_hour > known
        assert found.findings[-1].saw.endswith("assumed")


# -------------------------------------------------------------------------------- budgets and size


def left(usd: str) -> Standing:
    return Standing(NOW, {"it/default/2026-01/usd": Decimal(usd)})


def test_a_monthly_budget_bounds_what_a_run_can_cost(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Budget(Decimal(500)), usd_per_month=12)
    demand = a_demand(nodes=2, duration_h=Decimal(10))
    assert Judge(rules, demand)(an_offer("25")).allowed
    (reason,) = Judge(rules, demand)(an_offer("25.01")).reasons
    assert (reason.kind, reason.saw, reason.location) == (
        Kind.BUDGET,
        "500.20 $ in 10 h for 2 nodes",
        at(12),
    )
    assert reason.wanted == "at most 500.00 $, left of 500.00 $ this month"
    tight = Judge(rules, demand, left("100"))
    assert tight(an_offer("5")).allowed
    (reason,) = tight(an_offer("6")).reasons
    assert reason.wanted == "at most 100.00 $, left of 500.00 $ in 2026-01"
    (reason,) = tight(an_offer(None)).reasons
    assert reason.saw == "price unknown"


def test_a_run_never_costs_more_than_its_own_budget(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Budget(Decimal(500)))
    demand = a_demand(budget_usd=Decimal(100))
    assert Judge(rules, demand, left("100"))(an_offer("900")).allowed
    assert said(rules, demand, an_offer("1"), left("99")) == [
        ("a budget of 100.00 $, no duration", "at most 99.00 $, left of 500.00 $ in 2026-01")
    ]
    timed = replace(demand, duration_h=Decimal(10))
    assert Judge(rules, timed, left("50"))(an_offer("5")).allowed
    assert said(rules, timed, an_offer("6"), left("50"))[0][0] == "60.00 $ in 10 h"
    fits = Judge(rules, demand, left("100")).trace(an_offer()).findings[0]
    assert (fits.verdict, fits.kind, fits.saw) == (
        Verdict.PASSES,
        Kind.BUDGET,
        "a budget of 100.00 $",
    )


def test_what_nobody_bounds_cannot_be_reserved_unless_it_is_free(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = policy(Budget(Decimal(500)))
    assert said(rules, a_demand(), an_offer("0.01"))[0][0] == "no duration and no budget"
    assert Judge(rules, a_demand())(an_offer("0")).allowed
    assert Judge(rules, a_demand(), left("-5"))(an_offer("0")).allowed
    assert Judge(rules, a_demand()).bounds == (0,)


def test_one_run_may_have_so_many_nodes(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(BlastRadius(max_nodes_per_run=2), max_nodes_per_run=12)
    assert Judge(rules, a_demand(nodes=2))(an_offer()).allowed
    (reason,) = Judge(rules, a_demand(nodes=3))(an_offer()).reasons
    assert (reason.saw, reason.wanted) == ("3 nodes", "at most 2 nodes in a run")
    assert reason.location == at(12)


def test_what_is_open_counts_with_what_is_asked(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(BlastRadius(None, 5, Decimal(10)), max_machines=12, max_usd_per_hour=13)
    project = {"it/default/open/machines": Decimal(3)}
    rate = {"it/default/open/usd_per_hour": Decimal(6)}
    busy = Standing(machines=project, usd_per_hour=rate)
    assert Judge(rules, a_demand(nodes=2), busy)(an_offer("2")).allowed
    one, two = Judge(rules, a_demand(nodes=3), busy)(an_offer("2")).reasons
    assert (one.saw, one.wanted, one.location) == (
        "3 nodes with 3 open",
        "at most 5 machines open at once",
        at(12),
    )
    assert (two.kind, two.saw, two.wanted, two.location) == (
        Kind.PRICE,
        "6.00 $/h for 3 nodes",
        "at most 10.00 $/h open at once, 6.00 $/h already are",
        at(13),
    )
    over = Standing(usd_per_hour={"it/default/open/usd_per_hour": Decimal(12)})
    assert Judge(rules, a_demand(), over)(an_offer("0")).allowed
    assert not Judge(rules, a_demand(), over)(an_offer("0.1")).allowed


@pytest.mark.parametrize(
    ("rules", "fast"),
    [
        (policy(EUROPE), True),
        (policy(Spot(allow=False)), True),
        (policy(Carbon(max_g_per_kwh=Decimal(9))), True),
        (policy(Budget(Decimal(9))), True),
        (policy(BlastRadius(1, 2, Decimal(3))), True),
        (require("max_price_age", Decimal(30)), True),
        (require("expr", "offer.country == 'NO'"), True),
        (require("expr", "offer.usd_per_hour < 2.0"), False),
        (require("expr", "offer.vcpus > 2.0"), False),
        (require("max_usd_per_accelerator_hour", Decimal(3)), False),
        (policy(Carbon(max_kg=Decimal(1))), False),
        (policy(Carbon(usd_per_kg=Decimal(1))), False),
    ],
)
def test_only_what_differs_inside_a_pool_makes_a_catalog_ask_about_every_offer(
    a_demand: Demands, rules: Policy, fast: bool
) -> None:
    demand = a_demand(duration_h=Decimal(1), data=Data(datasets=("ehr",)))
    assert (Judge(rules, demand).facts <= POOL_FACTS) is fast


def test_accounts_are_named_by_rule_project_and_month() -> None:
    rule = Rule("cap", Verb.BUDGET)
    assert account_id(rule, "x", Standing(NOW).period, "usd") == "cap/x/2026-01/usd"
    assert account_id(rule, "x", Standing().period, "usd") == "cap/x/open/usd"


def test_rules_that_are_not_about_offers_say_so(an_offer: Offers, a_demand: Demands) -> None:
    for terms in (Disruption(), Spot(max_preemptions=3), Carbon(shift_within_h=Decimal(1))):
        found = told(policy(terms), a_demand(), an_offer())
        assert (found.verdict, found.saw, found.location) == (
            Verdict.IDLE,
            "nothing about offers",
            RULE_AT,
        )


def test_a_rule_without_terms_binds_nothing(an_offer: Offers, a_demand: Demands) -> None:
    rules = Policy((Rule("it", Verb.RESIDENCY),))
    assert Judge(rules, a_demand())(an_offer()).allowed


# -------------------------------------------------------------------------------- prices and shapes


def test_a_price_per_accelerator_is_bounded_whatever_their_number(
    an_offer: Offers, a_demand: Demands
) -> None:
    judge = Judge(require("max_usd_per_accelerator_hour", Decimal(3)), a_demand(nodes=2))
    assert judge(an_offer("24", accelerator="A1", accelerator_count=8)).allowed
    (reason,) = judge(an_offer("25", accelerator="A1", accelerator_count=8)).reasons
    assert (reason.kind, reason.saw, reason.wanted, reason.location) == (
        Kind.PRICE,
        "3.125 $/h per accelerator",
        "at most 3.00 $/h per accelerator",
        at(12),
    )
    assert judge(an_offer("1")).allowed, "a machine without accelerators breaks no cap on them"
    (finding,) = judge.trace(an_offer("1")).findings
    assert (finding.verdict, finding.saw) == (Verdict.PASSES, "no accelerator")
    assert "price" in judge.facts  # no bound holds for every machine


def test_preferences_may_be_for_cheap_accelerators(an_offer: Offers, a_demand: Demands) -> None:
    clauses = (
        Clause("max_usd_per_accelerator_hour", Decimal(3)),
        Clause("max_usd_per_hour", Decimal(10)),
    )
    judge = Judge(Policy((Rule("cheap", Verb.PREFER, clauses),)), a_demand())
    found = [
        judge.trace(an_offer(usd, accelerator="A1", accelerator_count=count))
        for usd, count in (("6", 2), ("7", 2), ("11", 8), (None, 2), ("1", 0))
    ]
    assert [one.preference for one in found] == [1, 0, 0, 0, 0]
    assert [one.findings[0].verdict for one in found] == [
        Verdict.PREFERS,
        *[Verdict.INDIFFERENT] * 4,
    ]
    assert found[0].findings[0].saw == "accelerators, 6.00 $/h, 3.00 $/h per accelerator"


@pytest.mark.parametrize(
    ("as_of", "allowed", "saw"),
    [
        ("2026-01-01", True, "price of 2026-01-01, 30 days old"),
        ("2025-12-31", False, "price of 2025-12-31, 31 days old"),
        ("2026-01-01T12:00:01+01:00", True, "price of 2026-01-01T12:00:01+01:00, 30 days old"),
        ("last week", False, "price of last week, of unknown age"),
        ("", False, "price of an unknown date, of unknown age"),
    ],
)
def test_old_prices_can_be_refused(
    an_offer: Offers, a_demand: Demands, as_of: str, allowed: bool, saw: str
) -> None:
    rules = require("max_price_age", Decimal(30))
    offer = replace(an_offer(), price=Price(Decimal(1), as_of, "list price"))
    decision = Judge(rules, a_demand(), Standing(NOW)).trace(offer)
    assert decision.allowed is allowed
    assert decision.findings[0].saw == saw
    assert decision.findings[0].wanted == "a price at most 30 days old"
    assert (decision.findings[0].kind, decision.findings[0].source) == (Kind.PRICE, "list price")


def test_the_age_of_a_price_that_nobody_knows_is_too_great(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = require("max_price_age", Decimal(30))
    assert said(rules, a_demand(), an_offer(None), Standing(NOW))[0][0] == "price unknown"
    no_clock = said(rules, a_demand(), an_offer())
    assert no_clock[0][0] == "price of 2026-01-01, of unknown age"


def test_a_price_in_another_currency_is_not_known(an_offer: Offers, a_demand: Demands) -> None:
    rules = require("max_usd_per_hour", Decimal(30))
    foreign = replace(an_offer(), price=Price(Decimal(1), "2026-01-01", "list", "EUR"))
    assert said(rules, a_demand(), foreign) == [("price in EUR only", "at most 30.00 $/h")]
    assert told(rules, a_demand(), foreign).saw == "price in EUR only"
    cheap = Policy((Rule("it", Verb.PREFER, (Clause("max_usd_per_hour", Decimal(30)),)),))
    assert Judge(cheap, a_demand())(foreign).preference == 0


def test_expressions_require_deny_and_condition(an_offer: Offers, a_demand: Demands) -> None:
    text = "offer.vcpus >= 4.0"
    rules = require("expr", text)
    assert said(rules, a_demand(), an_offer()) == [("offer.vcpus 2", text)]
    assert Judge(rules, a_demand()).facts == {"vcpus"}
    assert Judge(rules, a_demand())(an_offer(vcpus=4.0)).allowed
    denied = Policy((Rule("it", Verb.DENY, (Clause("expr", text),)),))
    assert said(denied, a_demand(), an_offer(vcpus=8.0)) == [("offer.vcpus 8", f"not {text}")]
    assert said(denied, a_demand(), an_offer(vcpus=None))[0][0] == "offer.vcpus unknown"
    when = (Clause("expr", "demand.nodes > 1"), Clause("expr", text))
    given = Policy((Rule("it", Verb.REQUIRE, (Clause("country", ("SE",)),), when),))
    large = an_offer(vcpus=4.0)
    assert not Judge(given, a_demand(nodes=2))(large).allowed
    assert Judge(given, a_demand(nodes=2))(an_offer()).allowed
    assert Judge(given, a_demand())(large).allowed
    idle = told(given, a_demand(), large)
    assert (idle.verdict, idle.saw, idle.wanted) == (
        Verdict.IDLE,
        "demand.nodes 1",
        "demand.nodes > 1",
    )


def test_an_expression_about_the_demand_that_is_not_known_binds_all_but_a_preference(
    an_offer: Offers, a_demand: Demands
) -> None:
    when = (Clause("expr", "demand.duration_h > 2.0"),)
    clause = (Clause("country", ("SE",)),)
    bound = Policy((Rule("it", Verb.REQUIRE, clause, when),))
    assert not Judge(bound, a_demand())(an_offer()).allowed
    preferred = Policy((Rule("it", Verb.PREFER, (Clause("country", ("NO",)),), when),))
    assert Judge(preferred, a_demand())(an_offer()).preference == 0
    assert Judge(preferred, a_demand(duration_h=Decimal(3)))(an_offer()).preference == 1


@pytest.mark.parametrize("field", ["subdivision", "operator", "operator_country"])
def test_who_runs_a_place_is_a_fact_with_its_own_source(
    an_offer: Offers, a_demand: Demands, field: str
) -> None:
    facts: dict[str, Any] = {field: "US"}
    site = Site("NO", source="grid.csv", place_source="places.csv", **facts)
    rules = require(field, ("DE",))
    (reason,) = Judge(rules, a_demand())(an_offer(site=site)).reasons
    assert (reason.saw, reason.wanted) == (f"{field} US", f"{field} in [DE]")
    assert reason.source == "places.csv"
    assert said(rules, a_demand(), an_offer())[0][0] == f"{field} unknown"
