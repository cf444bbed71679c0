"""Laws of expressions over random texts, offers and demands.

A twin of a part of CEL, written in Python with three truth values, agrees with every verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isnan
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.model import Chip, Data, Demand, Market, Offer, Price, Resources, Site
from broker.policy.cel import VARIABLES, CelError, Expression, compile_expr
from broker.policy.cel_text import tokens

COUNTRIES = ["NO", "SE", "US"]
TEXT = st.sampled_from(["", "aws", "edge", "local", "r1", "NO", "care", "ehr"])
NUMBER = st.sampled_from([None, float("nan"), 0.0, 1.0, 2.5, 4.0])
NAMES = st.lists(st.sampled_from(["EEA", "EU", "ehr", "mri"]), unique=True).map(tuple)
SITES = st.builds(
    Site,
    country=st.sampled_from([None, "", *COUNTRIES]),
    blocs=NAMES.map(frozenset),
    carbon_g_per_kwh=NUMBER,
    subdivision=st.sampled_from([None, "US-VA", "NO"]),
    operator=TEXT,
    operator_country=st.sampled_from([None, *COUNTRIES]),
)
OFFERS = st.builds(
    Offer,
    cloud=TEXT,
    region=TEXT,
    zone=st.none() | TEXT,
    instance_type=TEXT,
    market=st.sampled_from(list(Market)),
    vcpus=NUMBER,
    memory_gib=NUMBER,
    accelerator=st.sampled_from([None, "A100", "NO"]),
    accelerator_count=st.sampled_from([0, 1, 4]),
    price=st.none()
    | st.sampled_from(["0", "1", "2.5"]).map(lambda usd: Price(Decimal(usd), "2026-01-01", "list")),
    site=SITES,
    node_id=st.sampled_from([None, "nd_1"]),
    datasets=NAMES,
    chip=st.builds(Chip, memory_gib=NUMBER, bf16_tflops=NUMBER),
)
DEMANDS = st.builds(
    Demand,
    name=TEXT,
    alternatives=st.just((Resources(),)),
    nodes=st.integers(1, 4),
    data=st.builds(Data, data_class=st.none() | TEXT, datasets=NAMES, purpose=st.none() | TEXT),
    role=st.sampled_from(["task", "aggregator", "site"]),
    duration_h=st.sampled_from([None, Decimal(1), Decimal("2.5")]),
    budget_usd=st.sampled_from([None, Decimal(1), Decimal("2.5")]),
    project=TEXT,
)
WORDS = st.sampled_from(
    [
        *VARIABLES,
        *("&&", "||", "!", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "in", "?", ":"),
        *("(", ")", "[", "]", "{", "}", ",", ".", "'", '"', "'''", "`", "\\", "//", "\n", "\t"),
        *("true", "false", "null", "1", "2.0", "0x1", "1u", "1e9", "'NO'", "r'\\'", "b'x'", "x"),
        *("exists", "all", "map", "matches", "size", "has", "offer", "and", "or", "ü", "😀"),
        *("exists(x, x == ", "matches('(')", "\0", "\ud800"),
    ]
)


@given(
    st.text(max_size=60) | st.lists(WORDS, max_size=14).map(" ".join) | st.lists(WORDS).map("".join)
)
@example("(" * 900)
@example("[" * 900 + "]" * 900)
@example("1" + "+1" * 900)
@example("true" + "?true:true" * 90)
@example("a." * 900)
@example("x" * 2001)
@settings(max_examples=500)
def test_any_text_is_an_expression_or_one_problem_with_a_place_in_the_text(text: str) -> None:
    no = problem(text)
    lines = text.split("\n")
    if no is not None:
        assert 1 <= no.line <= len(lines)
        assert 1 <= no.col <= len(lines[no.line - 1]) + 1
        assert no.words
        assert str(no) == f"{no.line}:{no.col}: {no.words}"


def problem(text: str) -> CelError | None:
    try:
        compile_expr(text)
    except CelError as no:
        return no
    return None


@given(st.text() | st.lists(WORDS).map("".join))
def test_no_character_of_a_text_is_lost_between_its_words(text: str) -> None:
    """All but white space and comments belong to words, in order."""
    at = 0
    for word in tokens(text):
        between = text[at : word.at]
        assert not between.strip() or between.lstrip().startswith("//")
        assert text[word.at :].startswith(word.text)
        at = word.at + len(word.text)


Truth = bool | None


@dataclass(frozen=True)
class Twin:
    """An expression and what Python says of it."""

    text: str
    says: Callable[[Offer, Demand], Truth]


def both(a: Truth, b: Truth) -> Truth:
    return False if a is False or b is False else None if a is None or b is None else True


def negated(a: Truth) -> Truth:
    return None if a is None else not a


def chosen(a: Truth, b: Truth, c: Truth) -> Truth:
    return None if a is None else b if a else c


def known(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and isnan(value))


def about(text: str, of: Callable[[Offer, Demand], Any], then: Callable[[Any], bool]) -> Twin:
    def says(offer: Offer, demand: Demand) -> Truth:
        value = of(offer, demand)
        return then(value) if known(value) else None

    return Twin(text, says)


def blocs(offer: Offer, _: Demand) -> Any:
    return offer.site.blocs if offer.site.blocs or offer.site.country else None


def cost(offer: Offer, _: Demand) -> Any:
    return offer.price and offer.price.usd_per_hour


LEAVES = [
    Twin("true", lambda o, d: True),
    Twin("false", lambda o, d: False),
    about("offer.country == 'NO'", lambda o, d: o.site.country, lambda c: c == "NO"),
    about(
        "offer.country in ['NO', \"SE\"]", lambda o, d: o.site.country, lambda c: c in ("NO", "SE")
    ),
    about("offer.country.matches('^[NS]')", lambda o, d: o.site.country, lambda c: c[0] in "NS"),
    about("offer.market != 'spot'", lambda o, d: o.market, lambda m: m is not Market.SPOT),
    about("offer.vcpus >= 2.5", lambda o, d: o.vcpus, lambda n: n >= 2.5),
    about("offer.vcpus * 2.0 > 2.0", lambda o, d: o.vcpus, lambda n: n * 2 > 2),
    about("offer.usd_per_hour <= 1.0", cost, lambda usd: usd <= 1),
    about("'EEA' in offer.blocs", blocs, lambda b: "EEA" in b),
    about("offer.blocs.all(b, b == 'EU')", blocs, lambda b: set(b) <= {"EU"}),
    about("size(offer.datasets) > 1", lambda o, d: o.datasets, lambda ds: len(ds) > 1),
    about(
        "demand.datasets.exists(d, d in offer.datasets)",
        lambda o, d: (o.datasets, d.data.datasets),
        lambda two: bool(set(two[0]) & set(two[1])),
    ),
    Twin("demand.purpose == 'care'", lambda o, d: d.data.purpose == "care"),
    Twin("demand.purpose == ''", lambda o, d: not d.data.purpose),
    Twin("demand.nodes >= 2", lambda o, d: d.nodes >= 2),
    about("demand.duration_h < 2.0", lambda o, d: d.duration_h, lambda h: h < 2),
]
TWINS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b: Twin(
                f"({a.text} && {b.text})", lambda o, d: both(a.says(o, d), b.says(o, d))
            ),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: Twin(
                f"({a.text} || {b.text})",
                lambda o, d: negated(both(negated(a.says(o, d)), negated(b.says(o, d)))),
            ),
            inner,
            inner,
        ),
        st.builds(lambda a: Twin(f"!({a.text})", lambda o, d: negated(a.says(o, d))), inner),
        st.builds(
            lambda a, b, c: Twin(
                f"({a.text} ? {b.text} : {c.text})",
                lambda o, d: chosen(a.says(o, d), b.says(o, d), c.says(o, d)),
            ),
            inner,
            inner,
            inner,
        ),
    ),
    max_leaves=6,
)


@given(TWINS, OFFERS, DEMANDS)
@settings(max_examples=400)
def test_an_expression_is_true_exactly_where_its_twin_is(
    twin: Twin, offer: Offer, demand: Demand
) -> None:
    """In three truth values: a fact that is not known is neither true nor false."""
    assert compile_expr(twin.text)(offer, demand) is twin.says(offer, demand)


SIMPLE = {
    "string": "({} == 'NO' || {}.contains('e'))",
    "double": "({} > 1.0)",
    "int": "({} > 1)",
    "list": "('EEA' in {} || {}.size() == 1)",
}
COMPARISONS = st.lists(st.sampled_from(sorted(VARIABLES)), min_size=1, max_size=4).map(
    lambda names: " && ".join(
        SIMPLE[VARIABLES[name].type].replace("{}", name.replace(".", " . ")) for name in names
    )
)


def carried(reads: frozenset[str], source: Offer, target: Offer) -> Offer:
    """`target` with those attributes of `source`."""
    own = {name: getattr(source, name) for name in reads if not name.startswith("site.")}
    if "accelerator" in reads:
        own["chip"] = source.chip
    site = {
        name.removeprefix("site."): getattr(source.site, name.removeprefix("site."))
        for name in reads
        if name.startswith("site.")
    }
    return replace(target, **own, site=replace(target.site, **site))


@given(COMPARISONS | TWINS.map(lambda twin: twin.text), OFFERS, OFFERS, DEMANDS)
@settings(max_examples=400)
def test_what_an_expression_does_not_read_never_changes_its_verdict(
    text: str, offer: Offer, other: Offer, demand: Demand
) -> None:
    expression = compile_expr(text)
    alike = carried(expression.reads, offer, other)
    assert expression(alike, demand) is expression(offer, demand)
    assert expression.saw(alike, demand) == expression.saw(offer, demand)


@given(COMPARISONS, OFFERS, DEMANDS)
def test_an_expression_about_the_demand_alone_needs_no_offer(
    text: str, offer: Offer, demand: Demand
) -> None:
    expression = compile_expr(text)
    assert expression.demand_only == ("offer" not in text) == (not expression.reads)
    if expression.demand_only:
        assert expression(None, demand) is expression(offer, demand)


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_fact_is_seen_by_an_expression_that_names_it(name: str) -> None:
    """Control for what is read: a fact that is left unbound gives no verdict."""
    offer = Offer("aws", "r1", "r1a", "m5", Market.SPOT, 2.0, 8.0, "A100", 1, site=FULL, chip=CHIP)
    offer = replace(offer, price=Price(Decimal(1), "2026-01-01", "list"))
    demand = Demand("n", (Resources(),), duration_h=Decimal(1), budget_usd=Decimal(1))
    expression = compile_expr(SIMPLE[VARIABLES[name].type].replace("{}", name))
    assert expression(offer, demand) is not None
    assert expression.saw(offer, demand).startswith(name)


FULL = Site("NO", frozenset({"EEA"}), 20.0, "regions.csv", "NO-03", "acme", "NO")
CHIP = Chip(80.0, 312.0)


def test_the_control_of_the_law_sees_a_fact_that_is_left_out() -> None:
    """Control: with a fact missing from what is read, the two offers do differ."""
    told = compile_expr("offer.vcpus > 1.0")
    forgetful = Expression(told.text, frozenset(), told.inputs, told.program)
    offer = Offer("aws", "r1", None, "m5", Market.SPOT, 2.0, 8.0)
    demand = Demand("n", (Resources(),))
    smaller = replace(offer, vcpus=1.0)
    assert forgetful(carried(forgetful.reads, offer, smaller), demand) is False
    assert told(carried(told.reads, offer, smaller), demand) is True


def test_the_twins_are_many_and_not_all_alike() -> None:
    """Control: the leaves come to every truth value."""
    offers = [
        Offer("aws", "r1", None, "m5", Market.SPOT, None, 8.0),
        Offer("aws", "r1", None, "m5", Market.OWNED, 4.0, 8.0, site=FULL, datasets=("ehr", "mri")),
    ]
    demand = Demand("n", (Resources(),), data=Data(datasets=("ehr",)))
    found = {twin.says(offer, demand) for twin in LEAVES for offer in offers}
    assert found == {True, False, None}
