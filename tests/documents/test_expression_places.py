"""Law: what is wrong with an expression is shown where it stands in the YAML file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.documents.expressions import inside
from broker.documents.loader import parse
from broker.documents.policies import load_policies
from broker.errors import DocumentError

Files = Callable[..., Path]


def underlined(text: str, at: tuple[int, int]) -> str:
    """What the caret of a place in the scalar `x` stands under."""
    document = parse(text, Path("f"), "f")
    where = inside(document, document.node(["x"]), *at)
    return document.lines[where.line - 1][where.col - 1 :][: where.span]


@pytest.mark.parametrize(
    "text",
    [
        "x: offer.vcpu == 'é' || true",
        "x: \"offer.vcpu == 'é' || true\"",
        "x: 'offer.vcpu == ''é'' || true'",
        'x: "offer.vcpu == \\"\\u00e9\\" || true"',
        'x: "offer.vcpu == \\"\\xe9\\" || true"  # remark',
        "{x: offer.vcpu == 'é' || true}",
        "x: |\n  offer.vcpu == 'é' || true\n",
        "x: |-  # remark\n\n      offer.vcpu == 'é' || true",
        "x: 'offer.vcpu\n  == ''é'' || true'",
    ],
)
def test_a_place_is_exact_on_one_line_and_below_a_bar(text: str) -> None:
    line = 2 if "-  #" in text else 1
    folded = text.count("\n") == 1 and "|\n" not in text
    quoted = "'offer.vcpu" if folded else None
    assert underlined(text, (line, 1)) == (quoted or "offer.vcpu")
    assert underlined(text, (line, 12)) == (quoted or "==")
    assert underlined(text, (line, 19)) == (quoted or "||")
    assert underlined(text, (line, 22)) == (quoted or "true")


@pytest.mark.parametrize("at", [(1, 0), (0, 1), (1, 99), (5, 1)])
def test_a_place_outside_is_the_whole(at: tuple[int, int]) -> None:
    assert underlined("x: offer.vcpu == 5", at) == "offer.vcpu == 5"


def test_a_folded_text_is_shown_where_it_begins() -> None:
    assert underlined("x: >-\n  offer.vcpu\n  == 5", (1, 3)) == ">-"


def test_a_text_that_is_not_on_its_line_is_shown_where_it_begins() -> None:
    document = parse("x: |\n  a == 1", Path("f"), "f")
    node = document.node(["x"])
    node.text = "b == 1"
    assert inside(document, node, 1, 2) == node.location


def test_the_end_of_the_text_is_a_place_too() -> None:
    document = parse('x: "a &&"', Path("f"), "f")
    where = inside(document, document.node(["x"]), 1, 5)
    assert (where.line, where.col, where.span) == (1, 9, 1)


@given(st.text(st.sampled_from("ab.'\"\\é=& \t"), min_size=1).filter(str.strip), st.data())
def test_every_character_of_a_quoted_text_is_found(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    single = "x: '" + text.replace("'", "''") + "'"
    escapes = {'"': '\\"', "\\": "\\\\", "\t": "\\t"}
    double = 'x: "' + "".join(escapes.get(char, char) for char in text) + '"'
    for source, written in ((single, text[at]), (double, escapes.get(text[at], text[at]))):
        document = parse(source, Path("f"), "f")
        node = document.node(["x"])
        assert node.text == text
        where = inside(document, node, 1, at + 1)
        assert document.lines[0][where.col - 1 :].startswith(written)


def test_all_expressions_are_checked_together_with_the_shape(a_file: Files) -> None:
    path = a_file(
        """\
        policy: p
        rules:
          - id: a
            when: {expr: "demand.nodes > 1.0"}
            require: {expr: "offer.vcpus >= 4"}
          - id: b
            deny: {expr: "offer.vcpu < 4.0", contry: NO}
          - id: c
            prefer: {expr: [1]}
          - just text
        """
    )
    with pytest.raises(DocumentError) as caught:
        load_policies([path])
    found = [(one.code, one.location.line) for one in caught.value.diagnostics]
    assert found == [
        ("POL024", 4),
        ("POL024", 5),
        ("POL024", 7),
        ("POL002", 7),
        ("POL004", 9),
        ("POL004", 10),
    ]


@pytest.mark.parametrize("text", ["policy: p\nrules: text\n", "policy: p\nrules: {a: {expr: x}}\n"])
def test_a_file_without_rules_has_no_expressions(a_file: Files, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_policies([a_file(text)])
    assert [one.code for one in caught.value.diagnostics] == ["POL004"]
