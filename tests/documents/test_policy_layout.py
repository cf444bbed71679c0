"""Law: a policy file has one layout, which says the same, keeps every remark and stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.documents import fmt
from broker.documents.codes import CODES
from broker.documents.fmt import format_policy
from broker.documents.fmt_tree import remarks_of
from broker.documents.loader import parse
from broker.documents.policies import load_policies
from broker.errors import DocumentError
from broker.policy.rules import Policy, Rule

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BEFORE = HERE / "layout" / "before.yaml"
AFTER = HERE / "layout" / "after.yaml"
SOURCES = [
    BEFORE,
    HERE / "whole" / "policy.yaml",
    *sorted((ROOT / "policies").glob("*/policy.yaml")),
]
TEXTS = [path.read_text(encoding="utf-8") for path in SOURCES]
Files = Callable[..., Path]


def laid_out(text: str) -> str:
    """The text in its layout, or the code of what is wrong with it."""
    try:
        return format_policy(text)
    except DocumentError as exc:
        return exc.code


def bare(policy: Policy) -> list[object]:
    """What a policy says, without places."""

    def rule_of(rule: Rule) -> tuple[object, ...]:
        clauses = [[(one.field, one.wanted) for one in part] for part in (rule.when, rule.clauses)]
        return rule.id, rule.verb, rule.why, rule.scope, rule.terms, clauses

    classes = sorted((one.name, one.parents, one.purposes) for one in policy.classes)
    return [*(rule_of(rule) for rule in policy.rules), policy.names, classes]


def test_the_layout_of_an_untidy_file() -> None:
    assert format_policy(BEFORE.read_text()) == AFTER.read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.parent.name)
def test_a_file_says_the_same_in_its_layout(path: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    made.write_text(format_policy(path.read_text()))
    assert bare(load_policies([made])) == bare(load_policies([path]))


REMARK = st.integers(0, 99).map("# remark {}".format)
CHANGE = st.one_of(
    st.tuples(st.just("behind"), REMARK),
    st.tuples(st.just("above"), st.tuples(st.integers(0, 8), REMARK)),
    st.tuples(st.just("gap"), st.none()),
    st.tuples(st.just("split"), st.sampled_from(["", "  # within"])),
)


def changed(text: str, changes: Sequence[tuple[float, tuple[str, object]]]) -> str:
    """The text with remarks, gaps and lists over several lines, at places between 0 and 1."""
    lines = text.split("\n")
    for place, (act, what) in changes:
        at = int(place * (len(lines) - 1))
        line = lines[at]
        if act == "behind":
            lines[at] = f"{line}  {what}"
        elif act == "above":
            indent, remark = what  # type: ignore[misc]
            lines.insert(at, " " * indent + remark)
        elif act == "gap":
            lines.insert(at, "")
        elif ", " in line:
            before, _, behind = line.partition(", ")
            room = " " * (len(line) - len(line.lstrip()) + 6)
            lines[at : at + 1] = [f"{before},{what}", room + behind]
    return "\n".join(lines)


@settings(max_examples=40)
@given(
    st.sampled_from(TEXTS),
    st.lists(st.tuples(st.floats(0, 1), CHANGE), min_size=1, max_size=8),
)
@example(next(text for text in TEXTS if "expr: >" in text), [(0.59375, ("gap", None))])
def test_any_layout_with_any_remarks_becomes_the_one(
    text: str, changes: list[tuple[float, tuple[str, object]]]
) -> None:
    source = changed(text, changes)
    made = laid_out(source)
    assert made != fmt.CODE  # a change may break the file, but not be beyond the layout
    if made in CODES:
        return
    assert format_policy(made) == made
    assert remarks_of(made) == remarks_of(source)
    assert parse(made, Path("f"), "f").root.value == parse(source, Path("f"), "f").root.value
    assert made.endswith("\n")
    own = re.sub(r" *why: [|>].*\n(?:(?: {6}.*)?\n)*", "", made)  # without what text itself says
    assert not re.search(r"\n\n\n|[ \t]\n|\n\n\Z", own)


def test_an_invalid_policy_is_refused_with_its_problems() -> None:
    with pytest.raises(DocumentError) as caught:
        format_policy("policy: p\nrulez: []\n", "mine.yaml")
    assert (caught.value.code, str(caught.value.location)) == ("POL002", "mine.yaml:2:1")


@pytest.mark.parametrize(
    "text",
    [
        "policy: p\ndescription: |2-\n    two more\n  here\n",
        "policy: p\ndescription: |+\n  kept\n\n\nlimits: {budget_usd: 5}\n",
        '---\npolicy: "p"\n',
        "\ufeffpolicy: p\n",
        "{policy: p, rules: [{id: a, deny: {cloud: x}}], limits: {budget_usd: 5}}",
        "policy: p\nrules: []\nclasses: {}\n",
        "policy: p\r\nlimits:\r\n    budget_usd: 5\r\n",
        "? policy\n: p\n",
        "policy: p\nrules:\n- id: a\n  deny:\n    cloud:\n    - {}\n".replace("{}", "'a'"),
        'policy: p\ndescription: "one\n\n  two \\\n  three"\n',
        "policy: p\ndescription: one\n\n  two\n",
    ],
)
def test_unusual_texts_are_laid_out_or_refused_but_never_changed(text: str) -> None:
    before = parse(text, Path("f"), "f").root.value
    made = laid_out(text)
    if made == fmt.CODE:
        return
    assert format_policy(made) == made
    assert parse(made, Path("f"), "f").root.value == before


@pytest.mark.parametrize("lines", [["policy: other"], ["policy: ["], ["policy: P Q"]])
def test_what_would_come_out_wrong_is_refused(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fmt._Writer, "lines", lambda _: lines)
    with pytest.raises(DocumentError, match="cannot be laid out without harm") as caught:
        format_policy("policy: p\n", "mine.yaml")
    assert caught.value.code == "POL027"


def test_a_lost_remark_is_harm_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmt._Writer, "lines", lambda _: ["policy: p"])
    with pytest.raises(DocumentError, match="without harm"):
        format_policy("policy: p  # mine\n")
    assert format_policy("policy: p\n") == "policy: p\n"


def test_the_line_for_editors_stays_on_top() -> None:
    line = "# yaml-language-server: $schema=schemas/policy.json"
    made = format_policy(f"{line}\nlimits: {{budget_usd: 5}}\npolicy: p\n")
    assert made == f"{line}\npolicy: p\n\nlimits: {{budget_usd: 5}}\n"


PLACED = {
    "# top\n\npolicy: p\n": "# top\n\npolicy: p\n",
    "# top\n\n\n# more\npolicy: p\n": "# top\n\n# more\npolicy: p\n",
    "---  # start\npolicy: p\n": "# start\npolicy: p\n",
    "policy: p\nclasses: {phi: {purposes: [care,\n  # last\n  ]}}\n": (
        "policy: p\n\nclasses:\n  phi:\n    purposes:\n      - care\n      # last\n"
    ),
    "policy: p\nclasses:\n       # deep\n  phi: {}\n": (
        "policy: p\n\nclasses:\n  phi: {}\n  # deep\n"
    ),
    "policy: p\nclasses: {  # one\n  phi: {}}  # two\n": (
        "policy: p\n\n# two\nclasses: {phi: {}}  # one\n"
    ),
    "policy: p\nrules:\n  - {id: a, deny: {cloud: [aws, 'b']}}  # about a\n": (
        "policy: p\n\nrules:\n  # about a\n  - id: a\n    deny: {cloud: [aws, 'b']}\n"
    ),
}


@pytest.mark.parametrize("text", PLACED)
def test_a_remark_goes_where_it_belongs(text: str) -> None:
    assert format_policy(text) == PLACED[text]
    assert format_policy(PLACED[text]) == PLACED[text]


def test_a_remark_with_nothing_to_stand_by_is_not_lost() -> None:
    assert laid_out("policy: p\nclasses: {\n  # nothing yet\n  }\n") == fmt.CODE
