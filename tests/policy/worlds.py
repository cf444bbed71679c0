"""Random policies, demands, offers and ledgers, from words so few that their facts collide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from broker.model import (
    Artefact,
    Chip,
    Data,
    Demand,
    Location,
    Market,
    Offer,
    Price,
    Resources,
    Site,
    Storage,
)
from broker.policy import Clause, Policy, Rule, Standing, Verb, account_id
from broker.policy.rules import (
    BlastRadius,
    Budget,
    Carbon,
    DataClass,
    Disruption,
    Level,
    Residency,
    Scope,
    Spot,
    Terms,
)

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
MONEY = st.sampled_from([Decimal(n) for n in ("0", "0.5", "1", "2", "3.25", "10")])
WORDS: dict[str, list[str]] = {
    "country": ["NO", "SE", "US"],
    "bloc": ["EU", "EEA"],
    "subdivision": ["US-VA", "NO-03"],
    "operator": ["acme", "uni"],
    "operator_country": ["NO", "US"],
    "cloud": ["aws", "aws@lab", "edge", "local"],
    "region": ["r1", "r2"],
    "zone": ["r1a"],
    "market": [str(one) for one in Market],
    "kind": ["edge", "cloud", "local"],
    "accelerator": ["a100", "none"],
    "instance_type": ["m5", "p4"],
}
ABOUT_DEMANDS = {
    "data_class": ["phi", "personal", "open"],
    "role": ["task", "aggregator", "site"],
    "purpose": ["care", "research"],
    "project": ["x", "y"],
}
EXPRESSIONS = [
    "offer.vcpus >= 4.0",
    'offer.country == "NO"',
    "offer.usd_per_hour < 2.0",
    "demand.nodes > 1",
    "demand.duration_h <= 2.0",
]
CHIPS = {"A100": Chip(80.0, 312.0, 400.0, "vendor")}
SITES = st.builds(
    Site,
    country=st.sampled_from([None, *WORDS["country"]]),
    blocs=st.sampled_from([frozenset[str](), frozenset({"EEA"}), frozenset({"EU", "EEA"})]),
    carbon_g_per_kwh=st.sampled_from([None, float("nan"), 20.0, 250.0, 251.0]),
    source=st.sampled_from(["", "regions.csv"]),
    subdivision=st.sampled_from([None, *WORDS["subdivision"]]),
    operator=st.sampled_from([None, "acme"]),
    operator_country=st.sampled_from([None, *WORDS["operator_country"]]),
    place_source=st.sampled_from(["", "places.csv"]),
)
PRICES = st.builds(
    Price,
    MONEY,
    st.sampled_from(["2026-01-01", "2025-06-01", "", "2026-01-10T06:00:00+02:00"]),
    st.sampled_from(["list", "spot feed"]),
    st.sampled_from(["USD", "USD", "USD", "EUR"]),
)


@st.composite
def offers(draw: DrawFn) -> Offer:
    accelerator = draw(st.sampled_from([None, "A100", "H100"]))
    return Offer(
        cloud=draw(st.sampled_from(["aws", "aws@lab", "edge", "local", "local@x", "gcp"])),
        region=draw(st.sampled_from(["r1", "r2", ""])),
        zone=draw(st.sampled_from([None, "r1a", "r1b"])),
        instance_type=draw(st.sampled_from(["m5", "p4", ""])),
        market=draw(st.sampled_from(list(Market))),
        vcpus=draw(st.sampled_from([None, 2.0, 4.0])),
        memory_gib=draw(st.sampled_from([None, 16.0])),
        accelerator=accelerator,
        accelerator_count=draw(st.sampled_from([0.5, 1.0, 4.0])) if accelerator else 0,
        price=draw(st.one_of(st.none(), PRICES)),
        site=draw(SITES),
        node_id=draw(st.sampled_from([None, None, "nd_1"])),
        datasets=draw(st.sampled_from([(), ("d1",), ("d1", "d2")])),
        classes=draw(st.sampled_from([(), (("d1", "phi"),), (("d2", "open"),)])),
        node=draw(st.sampled_from(["", "oslo", "bergen"])),
        chip=CHIPS.get(accelerator or "", Chip()),
    )


OFFERS = offers()
STORED = st.builds(
    Storage,
    st.sampled_from([Artefact.BUCKET, Artefact.CHECKPOINT, Artefact.LOG]),
    st.sampled_from(["aws/r1", ""]),
    st.sampled_from(["", "s3://b"]),
    SITES,
    st.just(Location("task.yaml", 9)),
)
DEMANDS = st.builds(
    Demand,
    name=st.just("train"),
    alternatives=st.just((Resources(),)),
    nodes=st.integers(1, 3),
    data=st.builds(
        Data,
        data_class=st.sampled_from([None, "phi", "personal", "open"]),
        datasets=st.sampled_from([(), ("d1",), ("d1", "d2")]),
        purpose=st.sampled_from([None, "care"]),
    ),
    role=st.sampled_from(ABOUT_DEMANDS["role"]),
    duration_h=st.sampled_from([None, Decimal(1), Decimal("2.5")]),
    budget_usd=st.one_of(st.none(), MONEY),
    location=st.just(Location("task.yaml", 1)),
    project=st.sampled_from(ABOUT_DEMANDS["project"]),
    storage=st.lists(STORED, max_size=2).map(tuple),
)


def words(names: dict[str, list[str]]) -> SearchStrategy[Clause]:
    return st.sampled_from(sorted(names)).flatmap(
        lambda field: st.builds(
            Clause,
            st.just(field),
            st.lists(st.sampled_from(names[field]), min_size=1, unique=True).map(tuple),
        )
    )


FACTS = st.one_of(
    words(WORDS),
    st.builds(Clause, st.just("holds_data"), st.booleans()),
    st.builds(Clause, st.just("expr"), st.sampled_from(EXPRESSIONS)),
)
CAPS = st.one_of(
    FACTS,
    st.builds(Clause, st.just("max_usd_per_hour"), MONEY),
    st.builds(Clause, st.just("max_usd_per_accelerator_hour"), MONEY),
    st.builds(Clause, st.just("max_price_age"), st.sampled_from([Decimal(5), Decimal(30)])),
    st.builds(
        Clause, st.just("max_carbon_g_per_kwh"), st.sampled_from([Decimal(100), Decimal(250)])
    ),
)
MAYBE_MONEY = st.one_of(st.none(), MONEY)


def _named(field: str) -> SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(WORDS[field]), max_size=1).map(tuple)


TERMS: dict[Verb, SearchStrategy[Terms]] = {
    Verb.RESIDENCY: st.builds(
        Residency,
        _named("country"),
        _named("bloc"),
        _named("subdivision"),
        _named("operator_country"),
        st.lists(st.sampled_from(list(Artefact)), min_size=1, unique=True).map(tuple),
    ),
    Verb.SPOT: st.builds(
        Spot,
        st.sampled_from([None, True, False]),
        st.sampled_from([None, Decimal(2)]),
        st.booleans(),
        st.sampled_from([None, 3]),
    ),
    Verb.CARBON: st.builds(
        Carbon,
        st.sampled_from([None, Decimal(100)]),
        st.sampled_from([None, Decimal("0.01"), Decimal(1)]),
        st.sampled_from([None, Decimal("0.1"), Decimal(2)]),
    ),
    Verb.BUDGET: st.builds(Budget, MONEY),
    Verb.DISRUPTION: st.builds(Disruption),
    Verb.BLAST_RADIUS: st.builds(
        BlastRadius, st.sampled_from([None, 2]), st.sampled_from([None, 2, 5]), MAYBE_MONEY
    ),
}
SCOPES = st.sampled_from(
    [
        Scope(),
        Scope(),
        Scope(),
        Scope(Level.PROJECT, ("x",)),
        Scope(Level.SITE, ("oslo",)),
        Scope(Level.SITE, ("oslo",), ("d1",)),
        Scope(Level.SITE, (), ("d2",)),
    ]
)
CLASSES = st.sampled_from(
    [
        (),
        (DataClass("phi", ("personal",)), DataClass("personal")),
        (DataClass("phi", ("personal",), ("care",)), DataClass("personal", (), ("care", "study"))),
        (
            DataClass("personal", ("phi",)),
            DataClass("phi", ("personal",)),
            DataClass("open", (), ()),
        ),
    ]
)


def _unique(clauses: SearchStrategy[Clause], least: int, most: int) -> SearchStrategy[Any]:
    return st.lists(clauses, min_size=least, max_size=most, unique_by=lambda c: c.field).map(tuple)


@st.composite
def rules(draw: DrawFn, name: str = "r", scopes: SearchStrategy[Scope] = SCOPES) -> Rule:
    verb = draw(st.sampled_from([*Verb, Verb.REQUIRE, Verb.REQUIRE, Verb.DENY]))
    about = st.one_of(FACTS, words(ABOUT_DEMANDS))
    rule = Rule(
        name,
        verb,
        when=draw(_unique(about, 0, 2)),
        why="why",
        location=Location("p.yaml", 7),
        scope=draw(scopes),
    )
    if verb in TERMS:
        return replace(rule, terms=draw(TERMS[verb]))
    facts = FACTS if verb is Verb.DENY else CAPS
    return replace(rule, clauses=draw(_unique(facts, 1, 3)))


@st.composite
def policies(draw: DrawFn) -> Policy:
    found = [draw(rules(f"r{number}")) for number in range(draw(st.integers(0, 5)))]
    if draw(st.booleans()):
        limit = (Clause("budget_usd", draw(MONEY)),)
        found.append(Rule("limits.budget_usd", Verb.REQUIRE, limit, location=Location("p.yaml")))
    return Policy(tuple(found), classes=draw(CLASSES))


@st.composite
def standings(draw: DrawFn, policy: Policy, project: str) -> Standing:
    """What the ledger may say: nothing yet, or something of each rule's accounts."""
    now = draw(st.sampled_from([None, NOW]))
    if draw(st.booleans()):
        return Standing(now)
    month = "2026-01" if now else ""
    return Standing(
        now,
        {account_id(rule, project, month, "usd"): draw(MONEY) - 1 for rule in policy.rules},
        {account_id(rule, project, "", "machines"): draw(MONEY) for rule in policy.rules},
        {account_id(rule, project, "", "usd_per_hour"): draw(MONEY) for rule in policy.rules},
    )


@st.composite
def cases(draw: DrawFn) -> tuple[Policy, Demand, Standing]:
    policy, demand = draw(policies()), draw(DEMANDS)
    return policy, demand, draw(standings(policy, demand.project))
