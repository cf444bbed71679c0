"""Laws of the judge over random policies, demands, ledgers and offers whose facts collide.

A naive judge, written once more without any memory, agrees with the real one on every rule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from broker.model import Demand, Offer, Verdict
from broker.policy import Judge, Policy, Standing, Verb
from broker.policy.classes import covers
from broker.policy.rules import DataClass, Level, Scope
from broker.policy.scopes import in_order
from tests.policy.naive import World
from tests.policy.worlds import DEMANDS, MONEY, OFFERS, cases, policies, rules

Case = tuple[Policy, Demand, Standing]
MANY = st.lists(OFFERS, max_size=8)
OWNERS = st.sampled_from([Scope(Level.SITE, ("oslo",), ("d1",)), Scope(Level.SITE, ("bergen",))])


@given(cases(), MANY)
@settings(max_examples=400)
def test_the_judge_agrees_with_a_naive_one(case: Case, offers: list[Offer]) -> None:
    judge, world = Judge(*case), World(*case)
    for offer in offers:
        decision = judge(offer)
        found = Counter(one.rule for one in decision.reasons)
        weighs = decision.weight_usd_per_hour > 0
        assert (found, decision.preference, weighs) == world.judged(offer)


@given(cases(), st.lists(OFFERS, min_size=1, max_size=8))
def test_what_is_remembered_changes_nothing(case: Case, offers: list[Offer]) -> None:
    judge = Judge(*case)
    for offer in [*offers, *offers]:
        assert judge(offer) == Judge(*case)(offer)


@given(cases(), OFFERS)
def test_an_offer_is_refused_exactly_when_there_are_reasons(case: Case, offer: Offer) -> None:
    policy = case[0]
    decision = Judge(*case)(offer)
    assert decision.allowed is (not decision.reasons)
    assert decision.offer is offer
    names = {rule.id for rule in policy.rules}
    for reason in decision.reasons:
        assert reason.saw
        assert reason.wanted
        assert reason.rule in names | {"data-class", "purpose", "budget"}
        assert reason.location is not None or reason.rule == "purpose"
    assert 0 <= decision.preference <= len(policy.rules)
    assert decision.weight_usd_per_hour >= 0


@given(cases(), OFFERS)
@settings(max_examples=200)
def test_a_trace_says_of_every_rule_what_the_judge_decides(case: Case, offer: Offer) -> None:
    policy = case[0]
    judge = Judge(*case)
    traced, decision = judge.trace(offer), judge(offer)
    assert replace(traced, findings=()) == decision
    names = [rule.id for rule in in_order(policy.rules)]
    told = [one for one in traced.findings if one.rule in names]
    assert [one.rule for one in told] == names
    assert {one.rule for one in traced.findings if one.verdict is Verdict.REFUSES} == {
        reason.rule for reason in decision.reasons
    }
    assert sum(one.verdict is Verdict.PREFERS for one in told) == decision.preference
    weighed = any(one.verdict is Verdict.WEIGHS for one in told)
    assert not weighed or decision.weight_usd_per_hour > 0
    assert all(one.saw for one in traced.findings)
    assert all(one.location for one in told)


@given(cases(), OFFERS)
def test_a_rule_that_does_not_apply_says_which_condition_kept_it_away(
    case: Case, offer: Offer
) -> None:
    world = World(*case)
    for one in Judge(*case).trace(offer).findings:
        rule = next((rule for rule in case[0].rules if rule.id == one.rule), None)
        if rule is not None and not world.applies(rule, offer):
            assert one.verdict is Verdict.IDLE
            assert one.wanted or one.saw == "nothing about offers"


@given(cases(), MANY, st.data())
def test_without_a_rule_no_fewer_offers_are_allowed(
    case: Case, offers: list[Offer], data: st.DataObject
) -> None:
    """Save for a rule that covers the demand's class of data: the last of them opens the door."""
    policy, demand, standing = case
    assume(policy.rules)
    gone = data.draw(st.sampled_from(policy.rules))
    assume(gone not in covers(policy, demand))
    fewer = replace(policy, rules=tuple(rule for rule in policy.rules if rule is not gone))
    with_it, without = Judge(*case), Judge(fewer, demand, standing)
    for offer in offers:
        assert without(offer).allowed or not with_it(offer).allowed


@given(cases(), OFFERS)
def test_without_the_rules_that_it_names_the_offer_is_admitted(case: Case, offer: Offer) -> None:
    policy, demand, standing = case
    plain = replace(demand, budget_usd=None, data=replace(demand.data, data_class=None))
    assume(not any(name in plain.data.datasets for name, _ in offer.classes))
    named = {reason.rule for reason in Judge(policy, plain, standing)(offer).reasons}
    kept = tuple(rule for rule in policy.rules if rule.id not in named)
    assert Judge(Policy(kept), plain, standing)(offer).allowed


@given(cases(), OFFERS)
def test_rules_in_another_order_judge_the_same(case: Case, offer: Offer) -> None:
    policy, demand, standing = case
    turned = replace(policy, rules=policy.rules[::-1])
    one, two = Judge(*case)(offer), Judge(turned, demand, standing)(offer)
    assert set(one.reasons) == set(two.reasons)
    assert (one.preference, one.weight_usd_per_hour) == (two.preference, two.weight_usd_per_hour)


@given(policies(), policies(), DEMANDS, OFFERS)
def test_two_policies_together_are_never_wider_than_either(
    one: Policy, two: Policy, demand: Demand, offer: Offer
) -> None:
    """For data that each alone lets through, or that has no class."""
    renamed = tuple(replace(rule, id=f"{rule.id}b") for rule in two.rules)
    both = Policy(one.rules + renamed, classes=one.classes)
    alone = [Policy(one.rules, classes=one.classes), Policy(renamed, classes=one.classes)]
    for policy in alone:
        if demand.data.data_class is None or covers(policy, demand):
            assert not Judge(both, demand)(offer).allowed or Judge(policy, demand)(offer).allowed


@given(cases(), rules("owner", OWNERS), MANY)
def test_an_owners_file_only_narrows(case: Case, rule: object, offers: list[Offer]) -> None:
    """For data that is covered without it: its rules never admit what the others refuse."""
    policy, demand, standing = case
    assume(demand.data.data_class is None or covers(policy, demand))
    more = replace(policy, rules=(*policy.rules, rule))  # type: ignore[arg-type]
    before, after = Judge(*case), Judge(more, demand, standing)
    for offer in offers:
        assert before(offer).allowed or not after(offer).allowed


@given(cases(), OFFERS, st.sampled_from([("care",), ("study",), ()]))
def test_binding_a_class_to_purposes_never_admits_more(
    case: Case, offer: Offer, purposes: tuple[str, ...]
) -> None:
    policy, demand, standing = case
    bound = replace(policy, classes=(*policy.classes, DataClass("personal", (), purposes)))
    after = Judge(bound, demand, standing)(offer)
    assert Judge(*case)(offer).allowed or not after.allowed


@given(cases(), OFFERS)
def test_an_owners_reasons_stand_first(case: Case, offer: Offer) -> None:
    policy = case[0]
    owners = {rule.id for rule in policy.rules if rule.scope.level is Level.SITE}
    others = {rule.id for rule in policy.rules} - owners
    said = [one.rule for one in Judge(*case)(offer).reasons]
    ranks = [0 if name in owners else 1 for name in said if name in owners | others]
    assert ranks == sorted(ranks)


@given(cases(), OFFERS)
@settings(max_examples=200)
def test_to_know_less_never_helps(case: Case, offer: Offer) -> None:
    """Without the facts of its place a denial, a requirement and a residency refuse no less."""
    policy, demand, standing = case
    kept = tuple(rule for rule in policy.rules if rule.verb is not Verb.DISRUPTION)
    facts = {"country", "subdivision", "operator", "operator_country", "carbon_g_per_kwh"}
    blank = dict.fromkeys(facts, None)
    less = replace(offer, site=replace(offer.site, blocs=frozenset(), **blank))  # type: ignore[arg-type]
    judge = Judge(replace(policy, rules=kept), demand, standing)
    assert judge(offer).allowed or not judge(less).allowed
    assert judge(offer).preference >= judge(less).preference
    assert judge(offer).weight_usd_per_hour <= judge(less).weight_usd_per_hour


@given(cases(), OFFERS, MONEY)
def test_a_lower_price_is_never_refused_more(case: Case, offer: Offer, less: Decimal) -> None:
    """Save by expressions and by rules that apply by them: those may say what they like of a price."""
    policy, demand, standing = case
    texts = (one.wanted for rule in policy.rules for one in (*rule.when, *rule.clauses))
    assume("offer.usd_per_hour < 2.0" not in texts)
    assume(offer.price is not None)
    assert offer.price is not None
    price = replace(offer.price, usd_per_hour=min(less, offer.price.usd_per_hour))
    cheaper = replace(offer, price=price)
    judge = Judge(policy, demand, standing)
    assert len(judge(cheaper).reasons) <= len(judge(offer).reasons)
    assert judge(cheaper).preference >= judge(offer).preference


@given(cases(), OFFERS, OFFERS)
@settings(max_examples=250)
def test_what_it_says_moves_it_is_all_that_moves_it(case: Case, offer: Offer, other: Offer) -> None:
    """Same facts, and the same bounds below the price: the same verdict, whatever else differs."""
    judge = Judge(*case)
    alike = _with_facts(other, offer, judge.facts)
    assume(_passed(judge, offer) == _passed(judge, alike))
    one, two = judge(offer), judge(alike)
    assert [reason.rule for reason in one.reasons] == [reason.rule for reason in two.reasons]
    assert one.preference == two.preference
    assert one.weight_usd_per_hour == two.weight_usd_per_hour


def _with_facts(other: Offer, offer: Offer, facts: frozenset[str]) -> Offer:
    """Another offer with these facts of the first, and nothing else of it."""
    for path in facts:
        name, _, inner = path.partition(".")
        value = getattr(offer, name)
        if inner and value is not None and getattr(other, name) is not None:
            value = replace(getattr(other, name), **{inner: getattr(value, inner)})
        other = replace(other, **{name: value})
    return other


def _passed(judge: Judge, offer: Offer) -> list[bool] | None:
    if offer.price is None or offer.price.currency != "USD":
        return None
    return [offer.price.usd_per_hour > bound for bound in judge.bounds]
