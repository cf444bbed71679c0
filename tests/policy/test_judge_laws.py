"""Laws of the judge over random policies, demands and offers whose facts collide.

A naive judge, written once more without any memory, agrees with the real one on every rule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from math import isnan
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from broker.model import Data, Demand, Location, Market, Offer, Price, Resources, Site
from broker.policy import Clause, Judge, Policy, Rule, Verb

MONEY = st.sampled_from([Decimal(n) for n in ("0", "0.5", "1", "2", "3.25", "10")])
WORDS: dict[str, list[str]] = {
    "country": ["NO", "SE", "US"],
    "bloc": ["EU", "EEA"],
    "cloud": ["aws", "aws@lab", "edge", "local"],
    "region": ["r1", "r2"],
    "zone": ["r1a"],
    "market": [str(one) for one in Market],
    "kind": ["edge", "cloud", "local"],
    "accelerator": ["a100", "none"],
    "instance_type": ["m5", "p4"],
}
ABOUT_DEMANDS = {
    "data_class": ["phi", "open"],
    "role": ["task", "aggregator", "site"],
    "purpose": ["care", "research"],
}
SITES = st.builds(
    Site,
    country=st.sampled_from([None, *WORDS["country"]]),
    blocs=st.sampled_from([frozenset[str](), frozenset({"EEA"}), frozenset({"EU", "EEA"})]),
    carbon_g_per_kwh=st.sampled_from([None, float("nan"), 20.0, 250.0, 251.0]),
    source=st.sampled_from(["", "regions.csv"]),
)
OFFERS = st.builds(
    Offer,
    cloud=st.sampled_from(["aws", "aws@lab", "edge", "local", "local@x", "gcp"]),
    region=st.sampled_from(["r1", "r2", ""]),
    zone=st.sampled_from([None, "r1a", "r1b"]),
    instance_type=st.sampled_from(["m5", "p4", ""]),
    market=st.sampled_from(list(Market)),
    vcpus=st.just(4.0),
    memory_gib=st.just(16.0),
    accelerator=st.sampled_from([None, "A100", "H100"]),
    price=st.one_of(
        st.none(),
        st.builds(Price, MONEY, st.just("2026-01-01"), st.sampled_from(["list", "spot feed"])),
    ),
    site=SITES,
    node_id=st.sampled_from([None, None, "nd_1"]),
    datasets=st.sampled_from([(), ("d1",), ("d1", "d2")]),
)
DEMANDS = st.builds(
    Demand,
    name=st.just("train"),
    alternatives=st.just((Resources(),)),
    nodes=st.integers(1, 3),
    data=st.builds(
        Data,
        data_class=st.sampled_from([None, "phi", "open"]),
        datasets=st.sampled_from([(), ("d1",), ("d1", "d2")]),
        purpose=st.sampled_from([None, "care"]),
    ),
    role=st.sampled_from(ABOUT_DEMANDS["role"]),
    duration_h=st.sampled_from([None, Decimal(1), Decimal("2.5")]),
    budget_usd=st.one_of(st.none(), MONEY),
)


def _words(names: dict[str, list[str]]) -> SearchStrategy[Clause]:
    return st.sampled_from(sorted(names)).flatmap(
        lambda field: st.builds(
            Clause,
            st.just(field),
            st.lists(st.sampled_from(names[field]), min_size=1, unique=True).map(tuple),
        )
    )


FACTS = st.one_of(_words(WORDS), st.builds(Clause, st.just("holds_data"), st.booleans()))
CAPS = st.one_of(
    FACTS,
    st.builds(Clause, st.just("max_usd_per_hour"), MONEY),
    st.builds(
        Clause, st.just("max_carbon_g_per_kwh"), st.sampled_from([Decimal(100), Decimal(250)])
    ),
)


def _unique(clauses: SearchStrategy[Clause], least: int, most: int) -> SearchStrategy[Any]:
    return st.lists(clauses, min_size=least, max_size=most, unique_by=lambda c: c.field).map(tuple)


@st.composite
def policies(draw: DrawFn) -> Policy:
    count = draw(st.integers(0, 5))
    rules = []
    for number in range(count):
        verb = draw(st.sampled_from(list(Verb)))
        facts = FACTS if verb is Verb.DENY else CAPS
        when = draw(_unique(st.one_of(FACTS, _words(ABOUT_DEMANDS)), 0, 2))
        where = Location("p.yaml", number + 1)
        rules.append(Rule(f"r{number}", verb, draw(_unique(facts, 1, 3)), when, "why", where))
    if draw(st.booleans()):
        rules.append(Rule("limits.budget_usd", Verb.REQUIRE, (Clause("budget_usd", draw(MONEY)),)))
    return Policy(tuple(rules))


def truth(clause: Clause, offer: Offer, demand: Demand) -> bool | None:
    """What the docstring of `broker.policy.facts` says, once more."""
    site, wanted, named = offer.site, clause.wanted, demand.data.datasets
    kind = "local" if offer.cloud.split("@")[0] == "local" else "cloud"
    kind = "edge" if offer.node_id or offer.cloud == "edge" else kind
    carbon = site.carbon_g_per_kwh
    held = [name in offer.datasets for name in named]
    table: dict[str, Any] = (
        {
            "country": site.country and site.country in wanted,
            "bloc": bool(site.blocs & set(wanted)) if site.blocs or site.country else None,
            "cloud": offer.cloud in wanted or offer.cloud.split("@")[0] in wanted,
            "region": offer.region and offer.region in wanted,
            "zone": offer.zone and offer.zone in wanted,
            "market": offer.market.value in wanted,
            "kind": kind in wanted,
            "accelerator": (offer.accelerator or "none").lower() in wanted,
            "instance_type": offer.instance_type and offer.instance_type in wanted,
        }
        if isinstance(wanted, tuple)
        else {
            "holds_data": (any if demand.role == "site" else all)(held) is wanted
            if named
            else None,
            "max_carbon_g_per_kwh": None if carbon is None or isnan(carbon) else carbon <= wanted,
            "max_usd_per_hour": offer.price and offer.price.usd_per_hour * demand.nodes <= wanted,
        }
    )
    found = table[clause.field]
    return None if found in (None, "") else bool(found)


def applies(rule: Rule, offer: Offer, demand: Demand) -> bool:
    mine = {
        "data_class": demand.data.data_class,
        "role": demand.role,
        "purpose": demand.data.purpose,
    }
    for clause in rule.when:
        if clause.field in mine:
            if mine[clause.field] not in clause.wanted:  # type: ignore[operator]
                return False
        elif (found := truth(clause, offer, demand)) is not True and (
            found is False or rule.verb is Verb.PREFER
        ):
            return False
    return True


def over(budget: Decimal, offer: Offer, demand: Demand) -> bool:
    if offer.price is None:
        return True
    hours = demand.duration_h
    return hours is not None and offer.price.usd_per_hour * demand.nodes * hours > budget


def naive(policy: Policy, demand: Demand, offer: Offer) -> tuple[Counter[str], int]:
    """How many reasons each rule has against the offer, and how many preferences it earns."""
    against: Counter[str] = Counter()
    earned = 0
    named = [c.wanted for rule in policy.rules for c in rule.when if c.field == "data_class"]
    if demand.data.data_class and not any(demand.data.data_class in one for one in named):  # type: ignore[operator]
        against["data-class"] += 1
    if demand.budget_usd is not None and over(demand.budget_usd, offer, demand):
        against["budget"] += 1
    for rule in policy.rules:
        if not applies(rule, offer, demand):
            continue
        if rule.clauses[0].field == "budget_usd":
            against[rule.id] += over(rule.clauses[0].wanted, offer, demand)  # type: ignore[arg-type]
            continue
        held = [truth(clause, offer, demand) for clause in rule.clauses]
        if rule.verb is Verb.REQUIRE:
            against[rule.id] += sum(not one for one in held)
        elif rule.verb is Verb.DENY:
            against[rule.id] += False not in held
        else:
            earned += all(held)
    return +against, earned


@given(policies(), DEMANDS, st.lists(OFFERS, max_size=8))
@settings(max_examples=600)
def test_the_judge_agrees_with_a_naive_one(
    policy: Policy, demand: Demand, offers: list[Offer]
) -> None:
    judge = Judge(policy, demand)
    for offer in offers:
        decision = judge(offer)
        expected = naive(policy, demand, offer)
        assert (Counter(one.rule for one in decision.reasons), decision.preference) == expected


@given(policies(), DEMANDS, st.lists(OFFERS, min_size=1, max_size=12))
def test_what_is_remembered_changes_nothing(
    policy: Policy, demand: Demand, offers: list[Offer]
) -> None:
    judge = Judge(policy, demand)
    for offer in [*offers, *offers]:
        assert judge(offer) == Judge(policy, demand)(offer)


@given(policies(), DEMANDS, OFFERS)
def test_an_offer_is_refused_exactly_when_there_are_reasons(
    policy: Policy, demand: Demand, offer: Offer
) -> None:
    decision = Judge(policy, demand)(offer)
    assert decision.allowed is (not decision.reasons)
    assert decision.offer is offer
    for reason in decision.reasons:
        assert reason.saw
        assert reason.wanted
        assert reason.rule in {*(rule.id for rule in policy.rules), "data-class", "budget"}
    assert 0 <= decision.preference <= len(policy.rules)


@given(policies(), DEMANDS, st.lists(OFFERS, max_size=8), st.data())
def test_without_a_rule_no_fewer_offers_are_allowed(
    policy: Policy, demand: Demand, offers: list[Offer], data: st.DataObject
) -> None:
    """Save for the rule that is the last to name the demand's class of data: it opens the door."""
    assume(policy.rules)
    gone = data.draw(st.sampled_from(policy.rules))
    fewer = replace(policy, rules=tuple(rule for rule in policy.rules if rule is not gone))
    data_class = demand.data.data_class
    assume(data_class is None or fewer.covers(data_class) or not policy.covers(data_class))
    with_it, without = Judge(policy, demand), Judge(fewer, demand)
    for offer in offers:
        assert without(offer).allowed or not with_it(offer).allowed


@given(policies(), DEMANDS, OFFERS)
def test_without_the_rules_that_it_names_the_offer_is_admitted(
    policy: Policy, demand: Demand, offer: Offer
) -> None:
    named = {reason.rule for reason in Judge(policy, demand)(offer).reasons}
    kept = tuple(rule for rule in policy.rules if rule.id not in named)
    eased = replace(demand, budget_usd=None, data=replace(demand.data, data_class=None))
    if demand.data.data_class is None:
        assert Judge(Policy(kept), eased)(offer).allowed


@given(policies(), DEMANDS, OFFERS)
def test_rules_in_another_order_judge_the_same(
    policy: Policy, demand: Demand, offer: Offer
) -> None:
    turned = replace(policy, rules=policy.rules[::-1])
    one, two = Judge(policy, demand)(offer), Judge(turned, demand)(offer)
    assert set(one.reasons) == set(two.reasons)
    assert one.preference == two.preference


@given(policies(), DEMANDS, OFFERS, MONEY)
def test_a_lower_price_is_never_refused_more(
    policy: Policy, demand: Demand, offer: Offer, less: Decimal
) -> None:
    assume(offer.price is not None)
    assert offer.price is not None
    cheaper = replace(
        offer, price=replace(offer.price, usd_per_hour=min(less, offer.price.usd_per_hour))
    )
    judge = Judge(policy, demand)
    assert len(judge(cheaper).reasons) <= len(judge(offer).reasons)
    assert judge(cheaper).preference >= judge(offer).preference


@given(policies(), DEMANDS, OFFERS, OFFERS)
@settings(max_examples=400)
def test_what_it_says_moves_it_is_all_that_moves_it(
    policy: Policy, demand: Demand, offer: Offer, other: Offer
) -> None:
    """Same facts, and the same bounds below the price: the same verdict, whatever else differs."""
    judge = Judge(policy, demand)
    alike = _with_facts(other, offer, judge.facts)
    assume((offer.price is None) == (alike.price is None))
    assume(_passed(judge, offer) == _passed(judge, alike))
    one, two = judge(offer), judge(alike)
    assert [reason.rule for reason in one.reasons] == [reason.rule for reason in two.reasons]
    assert one.preference == two.preference


def _with_facts(other: Offer, offer: Offer, facts: frozenset[str]) -> Offer:
    """Another offer with these facts of the first."""
    tops = {name.partition(".")[0] for name in facts} - {"price"}
    return replace(other, **{name: getattr(offer, name) for name in tops})


def _passed(judge: Judge, offer: Offer) -> list[bool]:
    if offer.price is None:
        return []
    return [offer.price.usd_per_hour > bound for bound in judge.bounds]
