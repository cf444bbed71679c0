"""The law: to relax a way out really admits its offers, and nothing less does; a toll is what the
best offer would cost less without its rule."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from broker.model import (
    AtLeast,
    Blame,
    Decision,
    Demand,
    Kind,
    Market,
    Offer,
    Placement,
    Reason,
    Resources,
    Site,
    Verdict,
)
from broker.place.blame import explain
from broker.place.choose import place
from broker.place.trace import trace
from broker.place.ways import change, changes, conflict, relaxable, tolls, ways_out
from broker.policy import Clause, Judge, Policy, Rule, Verb
from broker.policy.rules import Residency, Spot

RULES = {
    "region": lambda offer: offer.region == "r2",
    "spot": lambda offer: offer.market is Market.SPOT,
    "large": lambda offer: offer.instance_type == "large",
}
FIELDS = {
    "accelerators": "accelerator",
    "infra": "region",
    "market": "market",
    "instance_type": "instance_type",
    "cpus": "cpus",
    "memory": "memory_gib",
}
LOCKED = {"gcp": "not enabled"}


def judged(offer: Offer, rules) -> Decision:
    reasons = []
    for rule in rules:
        if RULES[rule](offer):
            reasons.append(Reason(Kind.POLICY, rule, "x", "y"))
            # one rule may speak of facts and of prices: still it is one rule
            reasons += [Reason(Kind.PRICE, rule, "x", "y")] * (offer.vcpus == 4)
    return Decision(offer, tuple(reasons))


def allowed(demand: Demand, offers, relaxed) -> int:
    """How many offers are allowed once these changes have been made."""
    names = {name for kind, name in relaxed if kind != "credential"}
    gone: dict[str, None] = {FIELDS[name]: None for name in names & FIELDS.keys()}
    asked = [replace(one, **gone) for one in demand.alternatives]
    if "max_hourly_cost" in names:
        asked = [replace(one, max_usd_per_hour=None) for one in asked]
    looser = replace(
        demand,
        alternatives=tuple(asked),
        budget_usd=None if "budget" in names else demand.budget_usd,
    )
    rules = RULES.keys() - names
    locked = {name: why for name, why in LOCKED.items() if ("credential", name) not in relaxed}
    return place(looser, offers, lambda offer: judged(offer, rules), locked).allowed


def less(relaxed):
    return chain.from_iterable(combinations(relaxed, size) for size in range(len(relaxed)))


one_alternative = st.builds(
    Resources,
    accelerator=st.sampled_from([None, "L4"]),
    cpus=st.none() | st.builds(AtLeast, st.sampled_from([1.0, 4.0])),
    memory_gib=st.none() | st.builds(AtLeast, st.sampled_from([2.0, 16.0])),
    market=st.sampled_from([None, Market.SPOT, Market.ON_DEMAND]),
    region=st.sampled_from([None, "r1"]),
    instance_type=st.sampled_from([None, "small"]),
    max_usd_per_hour=st.sampled_from([None, Decimal("0.5")]),
)


@st.composite
def some_offers(draw: st.DrawFn, an_offer) -> list[Offer]:
    def one() -> Offer:
        return an_offer(
            draw(st.sampled_from([None, "0.1", "0.6", "2"])),
            cloud=draw(st.sampled_from(["aws", "gcp"])),
            region=draw(st.sampled_from(["r1", "r2"])),
            instance_type=draw(st.sampled_from(["small", "large"])),
            market=draw(st.sampled_from([Market.SPOT, Market.ON_DEMAND, Market.RESERVED])),
            vcpus=draw(st.sampled_from([1.0, 4.0])),
            accelerator=draw(st.sampled_from([None, "L4"])),
            available=draw(st.sampled_from([True, True, True, False])),
        )

    return [one() for _ in range(draw(st.integers(0, 8)))]


def a_wish(draw: st.DrawFn, most: int) -> Demand:
    return Demand(
        "train",
        tuple(draw(st.lists(one_alternative, min_size=1, max_size=most))),
        duration_h=draw(st.sampled_from([None, Decimal(1)])),
        budget_usd=draw(st.sampled_from([None, Decimal(1)])),
    )


def every_rule(offer: Offer) -> Decision:
    return judged(offer, RULES)


@given(st.data())
def test_a_way_out_admits_its_offers_and_nothing_less_does(an_offer, data) -> None:
    offers = data.draw(some_offers(an_offer))
    demand = a_wish(data.draw, 1)
    blames = explain(demand, offers, every_rule, LOCKED)
    already = allowed(demand, offers, ())
    for way in ways_out(blames, 99):
        relaxed = changes(way.reasons)
        assert allowed(demand, offers, relaxed) == already + way.offers
        assert all(allowed(demand, offers, fewer) == already for fewer in less(relaxed))


@given(st.data())
def test_with_alternatives_a_way_out_admits_its_cheapest_offer_and_nothing_less_does(
    an_offer, data
) -> None:
    offers = data.draw(some_offers(an_offer))
    demand = a_wish(data.draw, 3)
    for way in ways_out(explain(demand, offers, every_rule, LOCKED), 99):
        relaxed = changes(way.reasons)
        assert allowed(demand, [way.cheapest], relaxed) == 1
        assert not any(allowed(demand, [way.cheapest], fewer) for fewer in less(relaxed))


@given(st.data())
def test_a_toll_is_what_the_cheapest_offer_would_cost_less_without_the_rule(an_offer, data) -> None:
    offers = data.draw(some_offers(an_offer))
    demand = replace(a_wish(data.draw, 1), nodes=data.draw(st.integers(1, 2)))
    plan = place(demand, offers, every_rule, LOCKED)
    blames = explain(demand, offers, every_rule, LOCKED)
    for placement in plan.placements:
        found = tolls(blames, placement)
        for toll in found:
            names = {change(toll.reason)[1]}
            rules = RULES.keys() - names
            asked = [
                replace(one, **{FIELDS[name]: None for name in names & FIELDS.keys()})
                for one in demand.alternatives
            ]
            locked = {} if toll.reason.kind is Kind.CREDENTIAL else LOCKED
            (best,) = place(
                replace(demand, alternatives=tuple(asked)),
                offers,
                lambda offer, rules=rules: judged(offer, rules),
                locked,
            ).placements
            assert best.usd_per_hour == placement.usd_per_hour - toll.usd_per_hour
        amounts = [toll.usd_per_hour for toll in found]
        assert amounts == sorted(amounts, reverse=True)
        assert all(amount > 0 for amount in amounts)


@given(st.data())
def test_a_conflict_refuses_every_offer_and_none_of_it_can_be_left_out(an_offer, data) -> None:
    offers = data.draw(some_offers(an_offer))
    blames = explain(a_wish(data.draw, 2), offers, every_rule, LOCKED)
    named = [change(reason) for reason, _ in conflict(blames)]
    sets = [changes(one.reasons) for one in blames]
    assert all(one & set(named) for one in sets)
    for left_out in named:
        rest = set(named) - {left_out}
        assert any(not one & rest for one in sets)


VERBS = {
    "north": Rule("north", Verb.REQUIRE, (Clause("region", ("r1",)),)),
    "kept": Rule("kept", Verb.DENY, (Clause("market", ("spot",)),)),
    "cheap": Rule(
        "cheap", Verb.REQUIRE, (Clause("max_usd_per_hour", Decimal(1)), Clause("region", ("r1",)))
    ),
    "here": Rule("here", Verb.RESIDENCY, terms=Residency(countries=("NO",))),
    "stable": Rule("stable", Verb.SPOT, terms=Spot(allow=False)),
}


@given(st.data())
def test_the_rules_of_a_real_policy_are_ways_out_that_really_admit(an_offer, data) -> None:
    offers = [
        replace(offer, site=Site(country=data.draw(st.sampled_from(["NO", "US", None]))))
        for offer in data.draw(some_offers(an_offer))
    ]
    demand = a_wish(data.draw, 1)
    named = data.draw(st.sets(st.sampled_from(sorted(VERBS))))

    def judge() -> Judge:
        return Judge(Policy(tuple(VERBS[name] for name in sorted(named))), demand)

    def admitted(among, relaxed) -> int:
        names = frozenset(name for _, name in relaxed)
        gone = {FIELDS[name]: None for name in names & FIELDS.keys()}
        if "max_hourly_cost" in names:
            gone["max_usd_per_hour"] = None
        asked = tuple(replace(one, **gone) for one in demand.alternatives)
        looser = replace(
            demand,
            alternatives=asked,
            budget_usd=None if "budget" in names else demand.budget_usd,
        )
        kept = tuple(VERBS[name] for name in sorted(named - names))
        locked = {} if ("credential", "gcp") in relaxed else LOCKED
        return place(looser, among, Judge(Policy(kept), looser), locked).allowed

    blames = explain(demand, offers, judge(), LOCKED)
    already = place(demand, offers, judge(), LOCKED).allowed
    assert already + sum(one.count for one in blames) == len(offers)
    for way in ways_out(blames, 99):
        relaxed = changes(way.reasons)
        assert admitted(offers, relaxed) == already + way.offers
        assert all(admitted(offers, fewer) == already for fewer in less(relaxed))
    for offer in offers:
        told = trace(demand, offer, judge(), LOCKED)
        refusing = {one.rule for one in told.findings if one.verdict is Verdict.REFUSES}
        assert refusing == {reason.rule for reason in told.reasons}
        assert {rule.id for rule in VERBS.values() if rule.id in named} <= {
            one.rule for one in told.findings
        }


def blamed(usd: str | None, an_offer, *reasons: Reason, count: int = 1) -> Blame:
    rules = tuple((one.kind, one.rule) for one in reasons)
    return Blame(rules, reasons, count, an_offer(usd, instance_type=f"at{usd}"))


EU = Reason(Kind.POLICY, "eu", "US", "EU")
CLEAN = Reason(Kind.POLICY, "clean", "400", "250")
GONE = Reason(Kind.CAPACITY, "capacity", "sold out", "available")


def test_the_smallest_then_the_cheapest_come_first_and_few_are_shown(an_offer) -> None:
    others = [Reason(Kind.POLICY, f"rule{at}", "a", "b") for at in range(9)]
    blames = [
        blamed("1", an_offer, CLEAN, others[8]),
        *(blamed(str(9 - at), an_offer, other) for at, other in enumerate(others[:7])),
        blamed("0.1", an_offer, EU, CLEAN),
        blamed("0.5", an_offer, EU, CLEAN, others[0]),
    ]
    assert len(ways_out(blames)) == 5
    named = [[reason.rule for reason in way.reasons] for way in ways_out(blames, 99)]
    assert named[0] == ["rule6"]
    assert named[7:] == [["eu", "clean"], ["clean", "rule8"]]


def test_what_nobody_can_relax_is_no_way_out(an_offer) -> None:
    unknown = Reason(Kind.PRICE, "price", "price unknown", "a known price")
    quota = Reason(Kind.QUOTA, "G", "0", "8")
    for fixed in (GONE, unknown, quota):
        assert not relaxable(fixed)
        assert ways_out([blamed("1", an_offer, EU, fixed)]) == ()
    assert relaxable(Reason(Kind.PRICE, "price", "9 $/h", "at most 4 $/h"))


def test_one_rule_that_speaks_of_facts_and_prices_is_one_change(an_offer) -> None:
    cap = Reason(Kind.PRICE, "eu", "9", "4")
    blames = [blamed("9", an_offer, EU, cap, count=2), blamed("3", an_offer, EU)]
    (way,) = ways_out(blames)
    assert (way.offers, way.reasons, way.cheapest.instance_type) == (3, (EU,), "at3")


def test_a_rule_that_keeps_nothing_cheaper_away_has_no_toll(an_offer) -> None:
    placed = Placement("train", 2, an_offer("2"), usd_per_hour=Decimal(4))
    asked = Reason(Kind.REQUEST, "cpus", "1", "2")
    wish = Reason(Kind.REQUEST, "market", "spot", "on-demand")
    blames = [
        blamed("1.5", an_offer, EU),
        blamed("2", an_offer, CLEAN),
        blamed(None, an_offer, Reason(Kind.POLICY, "odd", "?", "!")),
        blamed("0.1", an_offer, EU, CLEAN),
        blamed("0.1", an_offer, asked),
        blamed("1", an_offer, wish),
    ]
    found = [(toll.reason.rule, toll.usd_per_hour) for toll in tolls(blames, placed)]
    assert found == [("market", 2), ("eu", 1)]


def test_a_conflict_names_requests_first_and_counts_what_each_refuses(an_offer) -> None:
    cpus = Reason(Kind.REQUEST, "cpus", "1", "2")
    blames = [
        blamed("1", an_offer, EU, CLEAN, count=5),
        blamed("1", an_offer, CLEAN, count=9),
        blamed("1", an_offer, cpus, count=1),
    ]
    assert conflict(blames) == ((cpus, 1), (CLEAN, 14))
    assert conflict(()) == ()
