"""A node tells of its data how many rows and which columns, and never a value."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile

import pytest

from broker.errors import UsageError
from edge.datasets import DatasetBook, fact_of, parse, schema_hash


@pytest.fixture
def csv_of(tmp_path):
    def make(text: str, name: str = "a.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return make


@pytest.fixture
def npz_of(tmp_path):
    """An npz as numpy writes it, made by hand: `name=(descr, shape)`."""

    def make(**arrays):
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, (descr, shape) in arrays.items():
                header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
                start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
                archive.writestr(f"{name}.npy", start + header + b"\0" * 8)
        return path

    return make


def test_rows_are_records_whatever_their_line_breaks(csv_of):
    path = csv_of('age,note\r\n1,"two\nlines"\r\n2,"a ""quote"""\r\n\r\n3,')
    assert fact_of("d", path).rows == 3


def test_the_hash_is_of_columns_and_kinds_alone(csv_of):
    one = fact_of("d", csv_of("age,group\n41,a\n52.5,b\n", "1.csv"))
    other = fact_of("d", csv_of("group,age\nz,\ny,-1e3\nx,7\n", "2.csv"))
    text = fact_of("d", csv_of("age,group\nold,a\n", "3.csv"))
    assert one.schema_hash == other.schema_hash == schema_hash({"age": "number", "group": "text"})
    assert text.schema_hash != one.schema_hash


def test_no_value_of_the_data_is_in_what_is_told(csv_of):
    told = json.dumps(dataclasses.asdict(fact_of("d", csv_of("name\nCANARY-7\nCANARY-8\n"))))
    assert "CANARY" not in told


def test_a_mark_at_the_start_of_the_file_is_no_part_of_a_name(csv_of):
    assert fact_of("d", csv_of("\ufeffage\n1\n")).schema_hash == schema_hash({"age": "number"})


def test_an_npz_counts_the_dimension_that_its_arrays_share(npz_of):
    fact = fact_of("d", npz_of(x=("<f4", (120, 8)), y=("<i8", (120,)), scale=("<f8", ())))
    assert fact.rows == 120
    assert fact.schema_hash == schema_hash({"x": "<f4[8]", "y": "<i8[]", "scale": "<f8[]"})


def test_an_npz_of_numpy_itself_is_read_alike(tmp_path):
    numpy = pytest.importorskip("numpy")
    numpy.savez_compressed(tmp_path / "a.npz", x=numpy.zeros((7, 2), "f4"), y=numpy.zeros(7, "i8"))
    fact = fact_of("d", tmp_path / "a.npz")
    assert (fact.rows, fact.schema_hash) == (7, schema_hash({"x": "<f4[2]", "y": "<i8[]"}))


def test_arrays_of_different_lengths_are_refused(npz_of):
    with pytest.raises(UsageError, match="do not share one leading dimension"):
        fact_of("d", npz_of(x=("<f4", (120, 8)), y=("<i8", (119,))))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"not a zip"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path, content):
    for name in ("a.csv", "a.npz"):
        path = tmp_path / name
        path.write_bytes(content)
        if name == "a.csv" and content == b"not a zip":
            continue
        with pytest.raises(UsageError, match="cannot be read"):
            fact_of("d", path)


def test_a_header_of_an_array_runs_no_code(tmp_path):
    path = tmp_path / "a.npz"
    evil = b"__import__('os').system('touch /tmp/never')"
    with zipfile.ZipFile(path, "w") as archive:
        raw = io.BytesIO(b"\x93NUMPY\x01\x00" + len(evil).to_bytes(2, "little") + evil)
        archive.writestr("x.npy", raw.getvalue())
    with pytest.raises(UsageError, match="cannot be read"):
        fact_of("d", path)


def test_a_file_is_read_again_only_when_it_has_changed(csv_of, caplog):
    path = csv_of("a\n1\n")
    book = DatasetBook({"d": path})
    first = book.facts()
    assert book.facts()[0] is first[0]
    path.write_text("a\n1\n2\n")
    os.utime(path, ns=(1, 1))
    assert book.facts()[0].rows == 2
    path.unlink()
    assert book.facts() == []
    assert "No such file" in caplog.text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["scans"], "is not NAME=PATH"),
        (["a b=/x.csv"], "is not NAME=PATH"),
        (["a=/no/such.csv"], "is no file"),
        (["a=/etc/passwd"], "is neither .csv nor .npz"),
        (["a={path}", "a={path}"], "is given twice"),
    ],
)
def test_a_data_set_that_cannot_be_is_refused_at_the_door(csv_of, words, why):
    path = csv_of("a\n1\n")
    with pytest.raises(UsageError, match=why):
        parse(word.format(path=path) for word in words)


def test_names_and_files_are_taken_as_given(csv_of):
    path = csv_of("a\n1\n")
    assert parse([f"scans-2024.v1={path}"]) == {"scans-2024.v1": path}
