"""A problem in a file is shown with its place, a caret under the word, and what to do about it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.diagnostics import Diagnostic, render_all, suggest
from broker.errors import DocumentError
from broker.model import Location

PROBLEM = Diagnostic(
    "TSK002",
    "unknown field `acelerators`",
    Location("task.yaml", 5, 3, 11),
    "did you mean `accelerators`?",
    "  acelerators: A100:1",
)
SHOWN = """\
error[TSK002]: unknown field `acelerators`
  --> task.yaml:5:3
   |
 5 |   acelerators: A100:1
   |   ^^^^^^^^^^^
   = tip: did you mean `accelerators`?"""


def test_a_problem_is_drawn_with_its_line_and_a_caret() -> None:
    assert PROBLEM.render() == SHOWN


def test_without_a_line_there_is_no_drawing_and_without_a_tip_no_tip() -> None:
    bare = Diagnostic("DOC002", "there is no file t.yaml", Location("t.yaml"))
    assert bare.render() == "error[DOC002]: there is no file t.yaml\n  --> t.yaml:1:1"


def test_all_problems_are_shown_and_counted() -> None:
    assert render_all([PROBLEM]).endswith("Found 1 error in task.yaml.")
    other = Diagnostic("POL002", "x", Location("p.yaml"))
    text = render_all([PROBLEM, other])
    assert text.startswith(SHOWN)
    assert text.endswith("Found 2 errors in p.yaml, task.yaml.")


def test_a_near_word_is_suggested_a_far_one_gets_the_list_when_it_is_short() -> None:
    assert suggest("Cpsu", ["cpus", "memory"]) == "did you mean `cpus`?"
    assert suggest("zzz", ["memory", "cpus"]) == "known: cpus, memory"
    assert suggest("zzz", [f"word{number}" for number in range(20)]) is None
    assert suggest("zzz", []) is None


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=60),
    st.integers(1, 80),
    st.integers(0, 80),
)
def test_the_caret_never_leaves_its_line(line: str, col: int, span: int) -> None:
    drawn = Diagnostic("X", "m", Location("f", 7, col, span), None, line).render().splitlines()
    gutter = drawn[3].index("|") + 2
    carets = drawn[4][gutter:]
    assert 1 <= carets.count("^") <= max(1, len(line) - col + 1)
    assert carets.index("^") == col - 1


def test_an_error_of_a_file_speaks_with_its_first_problem() -> None:
    error = DocumentError([PROBLEM, Diagnostic("POL002", "x", Location("p.yaml"))])
    assert (error.code, error.hint, error.location) == ("TSK002", PROBLEM.tip, PROBLEM.location)
    assert len(error.diagnostics) == 2
