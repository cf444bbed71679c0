"""Law: a refusal says which rule, where it stands, what it saw and wanted, and who says so."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from broker.model import Data, Demand, Kind, Location, Market, Offer, Reason, Site, Verdict
from broker.policy import Clause, Judge, Policy, Rule, Verb
from broker.policy.facts import FACTS, holds, kind

Offers = Callable[..., Offer]
Demands = Callable[..., Demand]
HERE = Location("eu.yaml", 12, 16, 12)
RULE_AT = Location("eu.yaml", 9, 9)


def policy(verb: Verb, *clauses: Clause, when: tuple[Clause, ...] = ()) -> Policy:
    return Policy((Rule("the-rule", verb, clauses, when, "because", RULE_AT),))


def refusal(rules: Policy, demand: Demand, offer: Offer) -> Reason:
    (reason,) = Judge(rules, demand)(offer).reasons
    return reason


def test_a_country_outside_is_refused_with_all_that_is_known(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = policy(Verb.REQUIRE, Clause("country", ("NO", "SE"), HERE))
    assert refusal(rules, a_demand(), an_offer(country="US")) == Reason(
        Kind.POLICY,
        "the-rule",
        "country US",
        "country in [NO, SE]",
        HERE,
        "regions.csv",
        "because",
    )
    assert Judge(rules, a_demand())(an_offer()).allowed


def test_a_clause_without_a_place_is_shown_at_its_rule(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.REQUIRE, Clause("country", ("SE",)))
    assert refusal(rules, a_demand(), an_offer()).location == RULE_AT


def test_every_failing_clause_is_a_reason_of_its_own(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(
        Verb.REQUIRE,
        Clause("max_usd_per_hour", Decimal("0.5")),
        Clause("country", ("SE",)),
        Clause("market", ("spot",)),
        Clause("region", ("eu-north-1",)),
    )
    reasons = Judge(rules, a_demand())(an_offer()).reasons
    assert [(one.kind, one.saw, one.wanted) for one in reasons] == [
        (Kind.POLICY, "country NO", "country in [SE]"),
        (Kind.POLICY, "market on-demand", "market in [spot]"),
        (Kind.PRICE, "1.00 $/h", "at most 0.50 $/h"),
    ]


def test_a_denial_tells_of_all_its_clauses(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.DENY, Clause("cloud", ("aws",), HERE), Clause("country", ("US", "NO")))
    reason = refusal(rules, a_demand(), an_offer(cloud="aws@lab"))
    assert (reason.saw, reason.wanted) == (
        "cloud aws@lab, country NO",
        "not cloud in [aws] and country in [US, NO]",
    )
    assert (reason.location, reason.source) == (HERE, "regions.csv")
    assert Judge(rules, a_demand())(an_offer(country="SE")).allowed


UNKNOWN: list[tuple[Clause, dict[str, Any], str]] = [
    (Clause("country", ("US",)), {"site": Site()}, "country unknown"),
    (Clause("bloc", ("EU",)), {"site": Site()}, "bloc unknown"),
    (Clause("region", ("r",)), {"region": ""}, "region unknown"),
    (Clause("zone", ("z",)), {}, "zone unknown"),
    (Clause("instance_type", ("i",)), {"instance_type": ""}, "instance_type unknown"),
    (Clause("holds_data", wanted=False), {}, "no data set is named"),
    (Clause("max_carbon_g_per_kwh", Decimal(9)), {"site": Site()}, "carbon unknown"),
]


@pytest.mark.parametrize(("clause", "facts", "saw"), UNKNOWN)
def test_an_unknown_fact_fails_closed(
    an_offer: Offers, a_demand: Demands, clause: Clause, facts: dict[str, Any], saw: str
) -> None:
    """Required or denied, it refuses; as a condition it binds; it earns no preference."""
    demand, offer = a_demand(), an_offer(**facts)
    market = Clause("market", ("spot",))
    assert refusal(policy(Verb.REQUIRE, clause), demand, offer).saw == saw
    assert refusal(policy(Verb.DENY, clause), demand, offer).saw == saw
    conditional = policy(Verb.REQUIRE, market, when=(clause,))
    assert refusal(conditional, demand, offer).saw == "market on-demand"
    preferred = policy(Verb.PREFER, Clause("market", ("on-demand",)), when=(clause,))
    assert Judge(preferred, demand)(offer).preference == 0
    assert Judge(policy(Verb.PREFER, clause), demand)(offer).preference == 0


KNOWN: list[tuple[Clause, dict[str, Any], str, str]] = [
    (Clause("bloc", ("EU",)), {}, "bloc EEA", "bloc in [EU]"),
    (Clause("bloc", ("EU",)), {"site": Site("US")}, "bloc none", "bloc in [EU]"),
    (Clause("kind", ("edge",)), {}, "kind cloud", "kind in [edge]"),
    (Clause("accelerator", ("x",)), {"accelerator": "A1"}, "accelerator a1", "accelerator in [x]"),
    (Clause("accelerator", ("x",)), {}, "accelerator none", "accelerator in [x]"),
    (Clause("max_carbon_g_per_kwh", Decimal(20)), {}, "carbon 21 g/kWh", "carbon at most 20 g/kWh"),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "facts", "saw", "wanted"), KNOWN)
def test_a_known_fact_is_said_in_the_rules_words(
    an_offer: Offers,
    a_demand: Demands,
    clause: Clause,
    facts: dict[str, Any],
    saw: str,
    wanted: str,
) -> None:
    reason = refusal(policy(Verb.REQUIRE, clause), a_demand(), an_offer(**facts))
    assert (reason.saw, reason.wanted) == (saw, wanted)
    assert Judge(policy(Verb.DENY, clause), a_demand())(an_offer(**facts)).allowed


@pytest.mark.parametrize(
    ("role", "held", "allowed"),
    [
        ("task", ("a", "b"), True),
        ("task", ("a",), False),
        ("site", ("a",), True),
        ("site", ("c",), False),
    ],
)
def test_a_task_needs_all_its_data_and_a_site_one_of_them(
    an_offer: Offers, a_demand: Demands, role: str, held: tuple[str, ...], allowed: bool
) -> None:
    rules = policy(Verb.REQUIRE, Clause("holds_data", wanted=True))
    demand = a_demand(role=role, data=Data(datasets=("a", "b")))
    decision = Judge(rules, demand)(an_offer(datasets=held))
    assert decision.allowed is allowed
    if not allowed:
        assert decision.reasons[0].saw == f"holds [{held[0]}]"
        assert decision.reasons[0].wanted == "holds [a, b]"


def test_machines_that_hold_the_data_can_be_kept_free(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.REQUIRE, Clause("holds_data", wanted=False))
    demand = a_demand(data=Data(datasets=("a",)))
    assert refusal(rules, demand, an_offer(datasets=("a",))).wanted == "does not hold [a]"
    assert Judge(rules, demand)(an_offer()).allowed


@pytest.mark.parametrize(
    ("cloud", "node", "expected"),
    [
        ("aws", None, "cloud"),
        ("aws@local", None, "cloud"),
        ("local", None, "local"),
        ("local@two", None, "local"),
        ("edge", None, "edge"),
        ("hospital", "nd_1", "edge"),
    ],
)
def test_the_kind_of_an_offer(
    an_offer: Offers, cloud: str, node: str | None, expected: str
) -> None:
    assert kind(an_offer(cloud=cloud, node_id=node)) == expected


@pytest.mark.parametrize(
    ("named", "cloud", "matches"),
    [
        ("aws", "aws", True),
        ("aws", "aws@sandbox", True),
        ("aws@sandbox", "aws@sandbox", True),
        ("aws@sandbox", "aws", False),
        ("aws@sandbox", "aws@lab", False),
    ],
)
def test_a_catalogs_name_means_every_cloud_of_it(
    an_offer: Offers, a_demand: Demands, named: str, cloud: str, matches: bool
) -> None:
    rules = policy(Verb.REQUIRE, Clause("cloud", (named,)))
    assert Judge(rules, a_demand())(an_offer(cloud=cloud)).allowed is matches


def test_a_cap_bounds_all_nodes_together(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.REQUIRE, Clause("max_usd_per_hour", Decimal(3), HERE))
    assert Judge(rules, a_demand(nodes=3))(an_offer("1")).allowed
    reason = refusal(rules, a_demand(nodes=3), an_offer("1.005"))
    assert reason == Reason(
        Kind.PRICE,
        "the-rule",
        "3.015 $/h for 3 nodes",
        "at most 3.00 $/h",
        HERE,
        "list price",
        "because",
    )
    assert refusal(rules, a_demand(), an_offer(None)).saw == "price unknown"


def test_a_budget_bounds_the_whole_run(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.REQUIRE, Clause("budget_usd", Decimal(10)))
    where = Location("task.yaml", 4, 9)
    demand = a_demand(
        nodes=2, duration_h=Decimal(6), budget_usd=Decimal(5), locations={"budget": where}
    )
    reasons = Judge(rules, demand)(an_offer("1")).reasons
    assert [(one.kind, one.rule, one.saw, one.wanted, one.location) for one in reasons] == [
        (Kind.BUDGET, "budget", "12.00 $ in 6 h for 2 nodes", "at most 5.00 $ in all", where),
        (Kind.BUDGET, "the-rule", "12.00 $ in 6 h for 2 nodes", "at most 10.00 $ in all", RULE_AT),
    ]
    assert Judge(rules, demand)(an_offer("0.4")).allowed


def test_a_budget_without_a_duration_refuses_only_an_unknown_price(
    an_offer: Offers, a_demand: Demands
) -> None:
    demand = a_demand(budget_usd=Decimal(5), location=HERE)
    assert Judge(Policy(), demand)(an_offer("1000")).allowed
    reason = refusal(Policy(), demand, an_offer(None))
    assert (reason.rule, reason.saw, reason.location) == ("budget", "price unknown", HERE)


def test_an_hourly_cap_and_a_budget_are_both_told(an_offer: Offers, a_demand: Demands) -> None:
    rules = policy(Verb.REQUIRE, Clause("max_usd_per_hour", Decimal(1)))
    open_ended = a_demand(budget_usd=Decimal(5))
    assert [one.rule for one in Judge(rules, open_ended)(an_offer("9")).reasons] == ["the-rule"]
    timed = a_demand(budget_usd=Decimal(5), duration_h=Decimal(1))
    assert [one.rule for one in Judge(rules, timed)(an_offer("9")).reasons] == [
        "the-rule",
        "budget",
    ]
    assert [one.rule for one in Judge(rules, timed)(an_offer("1")).reasons] == []


def test_classed_data_that_no_rule_names_goes_nowhere(an_offer: Offers, a_demand: Demands) -> None:
    where = Location("task.yaml", 7, 10)
    demand = a_demand(data=Data("phi"), locations={"data.class": where})
    reason = refusal(Policy(), demand, an_offer())
    assert (reason.kind, reason.rule, reason.location) == (Kind.POLICY, "data-class", where)
    assert reason.saw == "no policy covers data class phi"
    assert reason.wanted == "a policy rule with `when: {data_class: [phi]}`"
    covered = policy(
        Verb.REQUIRE, Clause("country", ("NO",)), when=(Clause("data_class", ("phi",)),)
    )
    assert Judge(covered, demand)(an_offer()).allowed
    assert not Judge(covered, demand)(an_offer(country="SE")).allowed


def test_a_rule_applies_to_the_demands_and_offers_of_its_when(
    an_offer: Offers, a_demand: Demands
) -> None:
    when = (Clause("role", ("aggregator",)), Clause("market", ("spot",)))
    rules = policy(Verb.REQUIRE, Clause("country", ("SE",)), when=when)
    spot = an_offer(market=Market.SPOT)
    assert not Judge(rules, a_demand(role="aggregator"))(spot).allowed
    assert Judge(rules, a_demand(role="task"))(spot).allowed
    assert Judge(rules, a_demand(role="aggregator"))(an_offer()).allowed


def test_a_demand_of_no_purpose_is_in_no_rule_about_purposes(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = policy(Verb.DENY, Clause("cloud", ("aws",)), when=(Clause("purpose", ("ads",)),))
    assert Judge(rules, a_demand())(an_offer()).allowed
    assert not Judge(rules, a_demand(data=Data(purpose="ads")))(an_offer()).allowed


def test_preferences_count_facts_and_prices(an_offer: Offers, a_demand: Demands) -> None:
    rules = Policy(
        (
            Rule("spot", Verb.PREFER, (Clause("market", ("spot",)),)),
            Rule("cheap", Verb.PREFER, (Clause("max_usd_per_hour", Decimal(2)),)),
        )
    )
    judge = Judge(rules, a_demand(nodes=2))
    assert judge(an_offer("1", market=Market.SPOT)).preference == 2
    assert judge(an_offer("1.01", market=Market.SPOT)).preference == 1
    assert judge(an_offer(None)).preference == 0
    assert judge(an_offer(None)).allowed


def test_facts_are_judged_once_however_many_prices_there_are(
    an_offer: Offers, a_demand: Demands
) -> None:
    """What makes a plan over a whole catalog cheap: verdicts as many as distinct facts."""
    rules = policy(Verb.REQUIRE, Clause("country", ("NO",)), Clause("max_usd_per_hour", Decimal(2)))
    judge = Judge(rules, a_demand())
    countries = ["NO", "SE", "US"]
    for cents in range(300):
        judge(an_offer(f"{cents / 100:.2f}", countries[cents % 3], instance_type=f"t{cents}"))
    assert len(judge._verdicts) == len(countries)


def test_a_single_clause_can_be_asked(an_offer: Offers, a_demand: Demands) -> None:
    clause = Clause("country", ("NO",))
    found = [holds(clause, an_offer(country=one), a_demand()) for one in ("NO", "SE", None)]
    assert found == [True, False, None]


def test_a_denial_that_passes_tells_what_spared_the_offer(
    an_offer: Offers, a_demand: Demands
) -> None:
    rules = policy(Verb.DENY, Clause("cloud", ("aws",), HERE), Clause("country", ("US",), RULE_AT))
    (found,) = Judge(rules, a_demand()).trace(an_offer()).findings
    assert (found.verdict, found.saw, found.wanted, found.location, found.source) == (
        Verdict.PASSES,
        "country NO",
        "not country in [US]",
        RULE_AT,
        "regions.csv",
    )


def test_a_requirement_that_passes_tells_all_that_it_saw(
    an_offer: Offers, a_demand: Demands
) -> None:
    clauses = (Clause("country", ("NO",), HERE), Clause("max_usd_per_hour", Decimal(2)))
    demand = a_demand(budget_usd=Decimal(9), duration_h=Decimal(2))
    found, budget = Judge(policy(Verb.REQUIRE, *clauses), demand).trace(an_offer()).findings
    assert (found.verdict, found.saw, found.wanted, found.why, found.scope) == (
        Verdict.PASSES,
        "country NO, 1.00 $/h",
        "country in [NO] and at most 2.00 $/h",
        "because",
        "organisation",
    )
    assert (budget.rule, budget.verdict, budget.saw, budget.wanted) == (
        "budget",
        Verdict.PASSES,
        "2.00 $ in 2 h",
        "at most 9.00 $ in all",
    )
    (against, refused) = (
        Judge(policy(Verb.REQUIRE, *clauses), demand).trace(an_offer("5", "SE")).findings
    )
    assert (against.verdict, against.saw) == (Verdict.REFUSES, "country SE, 5.00 $/h")
    assert (refused.verdict, refused.saw) == (Verdict.REFUSES, "10.00 $ in 2 h")


def test_every_fact_reads_attributes_that_an_offer_has(an_offer: Offers) -> None:
    for fact in FACTS.values():
        for path in fact.reads:
            value: Any = an_offer()
            for step in path.split("."):
                value = getattr(value, step)
