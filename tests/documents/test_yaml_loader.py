"""Law: any text of 256 KiB is soon parsed or refused with a place; it means what YAML 1.2 says."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.documents.builder import MAX_DEPTH, MAX_NODES, MAX_PROBLEMS
from broker.documents.loader import MAX_BYTES, parse, read, shown
from broker.documents.tree import Document
from broker.errors import DocumentError

K = MAX_BYTES
SOON_S = 10  # a second on an idle core; the law is that nothing multiplies
HOSTILE = {
    "flat map": "".join(f"k{i}: {i}\n" for i in range(30_000))[:K],
    "flat list": "- a\n" * (K // 4),
    "flow list": "[" + "a," * (K // 2 - 1) + "]",
    "deep lists": "[" * K,
    "deep maps": "{a: " * (K // 4),
    "deep keys": "? " * (K // 2),
    "deep dashes": "- " * (K // 2),
    "one word": "a: " + "b" * (K - 3),
    "many words": "a: " + "b " * (K // 2 - 2),
    "remarks": "a: 1\n" + "#\n" * (K // 2 - 10),
    "blank lines": "a: 1\n" + "\n" * (K - 20) + "b: 2\n",
    "escapes": 'a: "' + "\\n" * (K // 2 - 10) + '"',
    "block": "a: |\n" + " x\n" * (K // 3 - 10),
    "open quote": 'a: "' + "x" * (K - 10),
    "long tag": "!" + "a" * (K - 10),
    "long anchor": "&" + "a" * (K - 10),
    "directives": "%a\n" * (K // 3),
    "documents": "---\n" * (K // 4),
    "digits": "a: " + "9" * (K - 3),
    "anchors": "a: [" + "&a x," * (K // 6) + "]",
    "aliases": "a: [" + "*a ," * (K // 5) + "]",
    "duplicates": "a: 1\n" * (K // 5),
    "bomb": "a: &a [x,x]\n"
    + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
}


def tree(text: str) -> Document:
    return parse(text, Path("file.yaml"), "file.yaml")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_parsed_or_refused_soon(name: str) -> None:
    started = time.process_time()
    with contextlib.suppress(DocumentError):
        tree(HOSTILE[name])
    assert time.process_time() - started < SOON_S


@pytest.mark.parametrize("name", ["deep lists", "aliases", "anchors", "duplicates", "long anchor"])
def test_a_hostile_text_is_not_answered_with_a_flood(name: str) -> None:
    with pytest.raises(DocumentError) as refused:
        tree(HOSTILE[name])
    assert 0 < len(refused.value.diagnostics) <= MAX_PROBLEMS
    assert all(len(one.render()) < 2000 for one in refused.value.diagnostics)


@given(
    st.text(
        alphabet=st.sampled_from(" \t\n\r-?:,[]{}#&*!|>'\"%@`ab1.~<=\\\x85\u2028\ufeff"),
        max_size=60,
    )
)
@settings(max_examples=400)
def test_any_text_gives_a_tree_or_problems_with_places(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 1
    try:
        found = tree(text)
    except DocumentError as refused:
        for one in refused.diagnostics:
            assert 1 <= one.location.line <= lines + 1
            assert one.location.col >= 1
            assert one.message
    else:
        assert found.root.value is not None


def test_every_word_of_the_core_schema_means_what_yaml_1_2_says() -> None:
    found = tree(
        """
        countries: [NO, SE, no, yes, on, off, y, n]
        truth: [true, True, TRUE, false, False, FALSE]
        nothing: [null, Null, NULL, ~, ]
        whole: [0, 010, -7, +7, 0o17, 0xff]
        parts: [1.5, .5, 5., 1e3, -1.5e-3]
        text: ["1", '1', 1_000, 12:30:45, 2026-01-01, 1.2.3, '', -, +, ., 0b1, 08x, =, <<]
        """
    ).root.value
    assert found["countries"] == ["NO", "SE", "no", "yes", "on", "off", "y", "n"]
    assert found["truth"] == [True, True, True, False, False, False]
    assert found["nothing"] == [None] * 4
    assert found["whole"] == [0, 10, -7, 7, 15, 255]
    assert found["parts"] == [1.5, 0.5, 5.0, 1000.0, -0.0015]
    texts = ["1", "1", "1_000", "12:30:45", "2026-01-01", "1.2.3", "", "-", "+", "."]
    assert found["text"] == [*texts, "0b1", "08x", "=", "<<"]


@pytest.mark.parametrize("word", [".inf", "-.INF", ".nan", "1e999", "1" * 41])
def test_a_number_that_nothing_can_use_is_a_problem(word: str) -> None:
    found = tree(f"a: {word}\nb: 2\n")
    assert [one.code for one in found.problems] == ["DOC016"]
    assert tree(f"a: '{word}'\n").root.value == {"a": word}


def test_every_value_knows_its_place() -> None:
    found = tree("a: [NO, SE]\nb:\n  - x: 1\n    y: 'q'\nc:\n\td: 1\n".replace("\t", "  "))
    assert str(found.place(["a"])) == "file.yaml:1:4"
    assert found.place(["a"]).span == len("[NO, SE]")
    assert str(found.place(["a", 1])) == "file.yaml:1:9"
    assert str(found.place(["b"])) == "file.yaml:2:1"  # a block starts below: its key is shown
    assert str(found.place(["b", 0, "y"])) == "file.yaml:4:8"
    assert str(found.key(["b", 0, "y"])) == "file.yaml:4:5"
    assert str(found.key(["b", 0])) == "file.yaml:3:5"
    assert str(found.key([])) == "file.yaml:1:1"
    assert str(found.place(["a", 1, "no", "such"])) == "file.yaml:1:9"
    assert not found.has(["b", 7])


def test_repeated_keys_and_tags_do_not_hide_other_problems() -> None:
    found = tree("a: 1\nb: !x 2\na: 3\n? [k]\n: v\n")
    assert [one.code for one in found.problems] == ["DOC011", "DOC012", "DOC013"]
    assert found.root.value == {"a": 1, "b": 2}


def test_depth_and_number_of_values_are_bounded_exactly() -> None:
    assert tree("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(DocumentError, match="nested more than 32 deep"):
        tree("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    fits = "[" + "1," * (MAX_NODES - 1) + "]"
    assert len(tree(fits).root.value) == MAX_NODES - 1
    with pytest.raises(DocumentError, match="more than 10,000 values"):
        tree(fits.replace("[", "[1,"))


def test_size_is_bounded_exactly(a_file: Callable[..., Path]) -> None:
    text = "a: " + "b" * (MAX_BYTES - 4) + "\n"
    assert read(a_file(text))
    with pytest.raises(DocumentError, match="larger than 256 KiB"):
        read(a_file(text + "#"))


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(DocumentError, match="larger than 256 KiB"):
        read("/dev/zero")


def test_a_file_that_cannot_be_read_is_a_problem_of_its_own(
    a_file: Callable[..., Path], problems: Callable[..., list[str]]
) -> None:
    path = a_file("a: 1", "task.yaml")
    assert problems(read, path.parent) == ["DOC003 1:1 . is a folder"]
    assert problems(read, "task.yml") == ["DOC002 1:1 there is no file task.yml"]
    assert problems(read, "a\0b")[0].startswith("DOC004 1:1 cannot read a")
    assert problems(read, path / "below")[0].startswith("DOC004")
    assert problems(read, "none/such.yaml") == ["DOC002 1:1 there is no file none/such.yaml"]


def test_a_missing_file_names_its_neighbour(a_file: Callable[..., Path]) -> None:
    a_file("a: 1", "finetune.yaml")
    with pytest.raises(DocumentError) as refused:
        read("finetunes.yaml")
    assert refused.value.hint == "did you mean `finetune.yaml`?"


def test_an_unreadable_file_says_why(a_file: Callable[..., Path]) -> None:
    path = a_file("a: 1")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DocumentError, match="Permission denied"):
        read(path)


def test_a_byte_order_mark_and_windows_lines_are_fine(a_file: Callable[..., Path]) -> None:
    path = a_file("")
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: !x 2\r\n")
    found = read(path)
    assert found.root.value == {"a": 1, "b": 2}
    assert found.problems[0].source_line == "b: !x 2"


def test_paths_below_the_current_folder_are_shown_short(a_file: Callable[..., Path]) -> None:
    path = a_file("a: 1")
    assert shown(path) == "file.yaml"
    assert shown("./x/../file.yaml") == "file.yaml"
    assert shown(path.parent.parent / "other.yaml") == str(path.parent.parent / "other.yaml")


def test_what_is_shown_of_a_line_is_bounded_and_printable() -> None:
    line = "a: !t {b:\tc" + "\u200b" + "y" * 500
    found = tree(line + ", d: !t 1}\n")
    first, second = found.problems
    assert first.source_line == "a: !t {b: c " + "y" * (200 - 12)
    assert second.source_line is None


@pytest.mark.parametrize("text", ['a: "\\U99999999"', "a: b\n  c: d\n", "%YAML 9.9\n---\na: 1\n"])
def test_what_the_parser_trips_over_is_a_syntax_problem(text: str) -> None:
    with pytest.raises(DocumentError) as refused:
        tree(text)
    assert refused.value.code == "DOC007"
