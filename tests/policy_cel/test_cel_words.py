"""What an expression is refused for, in which words and where; what it says that it saw."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import pytest

from broker.model import Data, Demand, Market, Offer, Price, Resources, Site
from broker.policy.cel import CelError, compile_expr
from broker.policy.cel_words import in_words

OFFER = Offer("aws", "r1", None, "m5", Market.SPOT, 2.0, 8.0, site=Site("NO"))
DEMAND = Demand("n", (Resources(),))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the expression ends too early"),
        ("offer.vcpus >=", "1:15", "the expression ends too early"),
        ("(true", "1:6", "the expression ends too early"),
        ("offer.vcpus >= 4", "1:13", "`>=` does not take double and int: write 4.0"),
        ("4 <= offer.vcpus", "1:3", "`<=` does not take int and double: write 4.0"),
        ("demand.nodes >= 2.0", "1:14", "`>=` does not take int and double: write 2"),
        (
            "demand.nodes > offer.vcpus",
            "1:14",
            "`>` does not take int and double: write double(...) around the int",
        ),
        ("offer.country in 'NO'", "1:15", "`in` does not take string and string"),
        (
            "true &&\n\toffer.contry == 'NO'",
            "2:2",
            "there is no fact `offer.contry`; did you mean `offer.country`?",
        ),
        ("purpose == 'x'", "1:1", "there is no fact `purpose`; did you mean `demand.purpose`?"),
        ("datasets == []", "1:1", "there is no fact `datasets`; did you mean `offer.datasets`?"),
        (
            "offer.country == NORWAY.zzz",
            "1:18",
            "there is no fact `NORWAY.zzz`",
        ),
        (
            "'ü😀' == offer.region.startswith('x')",
            "1:22",
            "there is no function `startswith` for that; did you mean `startsWith`?",
        ),
        ("xyzzy(1)", "1:1", "there is no function `xyzzy` for that"),
        ("'abc", "1:1", "the string has no end"),
        ("offer.country 'NO'", "1:15", "unexpected `'NO'`"),
        ("offer.country = 'NO'", "1:15", "`=` is not an operator: write =="),
        ("true & true", "1:6", "`&` is not an operator: write &&"),
        ("true and true", "1:6", "`and` is not an operator: write &&"),
        ("not true", "1:1", "`not` is not an operator: write !"),
        ("true true", "1:6", "unexpected `true`"),
        ("#", "1:1", "unexpected `#`"),
        ("if", "1:1", "reserved identifier: if"),
        ("offer.country", "1:1", "an expression is true or false; this one is of type string"),
        ("dyn(true)", "1:1", "an expression is true or false; this one is of type dyn"),
        ("offer.country.matches('(')", "1:23", "invalid regular expression: missing ): ("),
        ("offer.`country` == 'NO'", "1:7", "names are written without backquotes"),
        (
            "true && has(offer.country)",
            "1:9",
            "has(...) is not needed: a comparison with an unknown fact is never true",
        ),
        ("true\0", "1:5", "the character '\\x00' cannot stand in an expression"),
        ("true ||\n \ud800", "2:2", "the character '\\ud800' cannot stand in an expression"),
        ("(" * 40 + "true" + ")" * 40, "1:1", "the expression is nested too deeply"),
        ("1" + "+1" * 400, "1:1", "the expression is nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(CelError) as no:
        compile_expr(text)
    assert (f"{no.value.line}:{no.value.col}", no.value.words) == (place, words)


@pytest.mark.parametrize(
    ("fine", "too_much", "words"),
    [
        ("true" + " " * 1996, "true" + " " * 1997, "at most 2000 characters; this has 2001"),
        (f"'{'x' * 254}' == ''", f"'{'x' * 255}' == ''", "a string has at most 256 characters"),
        (
            f"1 in [{', '.join('1' * 64)}]",
            f"1 in [{', '.join('1' * 65)}]",
            "a list has at most 64 entries",
        ),
        (
            "[1].all(x, [x].all(y, y == 1))",
            "[1].all(x, [x].all(y, [y].all(z, z == 1)))",
            "a macro may stand in one other macro, not in two",
        ),
        (
            "[1].all(x, [x].all(y, y == 1))",
            f"[1].all(x, [x].all(y, {' && '.join(['y == 1'] * 10)}))",
            "the expression is too much work for every offer",
        ),
        (
            "[1].all(x, [x].all(y, y == 1))",
            "([1] + [2]).all(x, ([x] + [x]).all(y, y == 1 || y == 2))",
            "the expression is too much work for every offer",
        ),
    ],
)
def test_the_work_of_an_expression_is_bounded(fine: str, too_much: str, words: str) -> None:
    """Each bound with its control: just within it the expression is good."""
    compile_expr(fine)
    with pytest.raises(CelError, match=words):
        compile_expr(too_much)


def test_arguments_and_brackets_in_strings_count_for_nothing() -> None:
    assert compile_expr("offer.region != '([{,' && ')' != ']'")(OFFER, DEMAND) is True


def test_names_in_strings_and_comments_are_not_read() -> None:
    text = 'offer.vcpus > 1.0 // offer.country\n && offer.region != "offer.market\'s"'
    assert compile_expr(text).reads == {"vcpus", "region"}


def test_names_are_found_however_they_are_spaced() -> None:
    text = ".offer.//c\n country == 'NO' && offer . region == r'r1'"
    expression = compile_expr(text)
    assert expression.reads == {"site.country", "region"}
    assert expression(OFFER, DEMAND) is True


def test_an_expression_says_what_it_saw() -> None:
    text = (
        "offer.vcpus > 1.0 && offer.zone == '' && offer.datasets == [] && demand.purpose == ''"
        " && demand.nodes == 1 && demand.budget_usd > 0.0 && offer.country == 'NO'"
    )
    assert compile_expr(text).saw(replace(OFFER, datasets=("a", "b")), DEMAND) == (
        "offer.vcpus 2, offer.zone unknown, offer.datasets [a, b], demand.purpose none, "
        "demand.nodes 1, demand.budget_usd unknown, offer.country NO"
    )


def test_without_an_offer_its_facts_are_unknown() -> None:
    expression = compile_expr("offer.country == 'NO' || demand.nodes == 1")
    assert expression(None, DEMAND) is True
    assert expression(None, replace(DEMAND, nodes=2)) is None
    assert expression.saw(None, DEMAND) == "offer.country unknown, demand.nodes 1"


def test_a_list_longer_than_the_estimate_is_unknown() -> None:
    expression = compile_expr("'d1' in demand.datasets")
    names = tuple(f"d{at}" for at in range(65))
    assert expression(None, replace(DEMAND, data=Data(datasets=names))) is None
    assert expression(None, replace(DEMAND, data=Data(datasets=names[:64]))) is True


def test_a_value_that_cel_cannot_hold_is_unknown() -> None:
    expression = compile_expr("offer.region == 'r1' && demand.nodes > 0")
    assert expression(OFFER, DEMAND) is True
    assert expression(replace(OFFER, region="\ud800"), DEMAND) is None
    assert expression(OFFER, replace(DEMAND, nodes=10**30)) is None


def test_a_price_is_compared_to_the_digit() -> None:
    expression = compile_expr("offer.usd_per_hour <= 1.2")
    priced = [Price(Decimal(usd), "2026-01-01", "list") for usd in ("1.2", "1.2000001")]
    assert [expression(replace(OFFER, price=price), DEMAND) for price in priced] == [True, False]


def test_an_error_in_the_run_is_unknown() -> None:
    assert compile_expr("1 / (demand.nodes - 1) == 1")(None, DEMAND) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("INTERNAL: something new [INTERNAL]", "something new"),
        ("", "the compiler refuses it"),
        (
            "INVALID_ARGUMENT: ERROR: <input>:9:9: something new\n | x\n | ^ [INVALID_ARGUMENT]",
            "something new",
        ),
        (
            "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')",
            "there is no fact `x`",
        ),
        ("ERROR: <input>:1:5: undeclared reference to 'x'", "there is no function `x` for that"),
    ],
)
def test_words_of_the_compiler_that_nobody_foresaw_are_passed_on(said: str, words: str) -> None:
    text = "" if ":1:1:" in said else "1234(" if ":1:5:" in said else "x"
    assert in_words(said, text, ()).words == words


def test_expressions_are_compiled_once() -> None:
    assert compile_expr("demand.nodes == 3") is compile_expr("demand.nodes == 3")


def test_a_policy_without_expressions_does_not_load_cel() -> None:
    probe = "import sys, broker.policy.cel; print('cel_expr_python.cel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
