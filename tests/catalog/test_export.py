"""The law: what is exported and imported again is the same catalog, row for row; a file that is
not, is refused whole with its line, and what was there stays."""

from __future__ import annotations

import csv
import json
import os
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.catalog import Catalog, export
from broker.catalog.export import COLUMNS, Format, is_export, load
from broker.catalog.rows import MICRO, Row, Source, price_micros
from broker.errors import NotFoundError, UsageError

ON = Source("some list, of 2026", "2026-02-03")
ROWS = [
    Row("eu-north-1", "eu-north-1a", "m5.large", "spot", 2.0, 8.0, None, 0, 31_500, ON),
    Row("eu-north-1", None, "p4d.24xlarge", "on-demand", 96.0, 1152.0, "A100", 8.0, None, ON),
    Row("eu-north-1", None, "frac", "on-demand", None, None, "L4", 0.125, 1, ON),
]

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
amount = st.none() | st.floats(0, 1e7, allow_nan=False)
source = st.builds(
    Source,
    text,
    st.dates().map(lambda day: day.isoformat()),
    st.sampled_from(["USD", "EUR", "CNY"]),
)


@st.composite
def rows(draw) -> Row:
    accelerator = draw(st.none() | st.sampled_from(["A100", "tpu-v2-8", 'Größe, "9"']))
    count = draw(st.floats(0.01, 16)) if accelerator else 0.0
    usd = draw(st.none() | st.decimals("0.000001", "900", places=6))
    return Row(
        draw(text),
        draw(st.none() | text),
        draw(text),
        draw(st.sampled_from(["spot", "on-demand"])),
        draw(amount),
        draw(amount),
        accelerator,
        count,
        None if usd is None else price_micros(str(usd), accelerator, count),
        draw(source),
    )


def by_text(found) -> list[str]:
    return sorted(map(repr, found))


several = st.dictionaries(
    st.sampled_from(["aws", "gcp", "x-1"]), st.lists(rows(), min_size=1, max_size=6), min_size=1
)


@settings(max_examples=60)
@given(found=several, form=st.sampled_from([Format.CSV, Format.JSONL]))
def test_a_round_trip_loses_nothing(found, form, make_catalog, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("trip")
    before = make_catalog(folder / "before.db", found)
    file = folder / "offers"
    export.export(before, file, form)
    after = make_catalog(folder / "after.db", {"aws": ROWS})
    assert is_export(file)
    report = load(after, file)
    assert {one.provider: one.offers for one in report.imported} == {
        name: len(mine) for name, mine in found.items()
    }
    for name in found:
        assert by_text(after.rows(name)) == by_text(before.rows(name))


@pytest.mark.parametrize("form", [Format.CSV, Format.JSONL])
def test_what_is_bundled_comes_back(form, built, make_catalog, tmp_path) -> None:
    counts = export.export(built, tmp_path / "all", form, ["azure", "gcp"])
    known = {one.provider: one.offers for one in built.status().providers}
    assert counts == {name: known[name] for name in ("azure", "gcp")}
    again = make_catalog(tmp_path / "again.db", {"aws": ROWS})
    load(again, tmp_path / "all")
    for provider in ("azure", "gcp"):
        assert set(again.rows(provider)) == set(built.rows(provider))


def test_every_offer_is_written_with_price_source_date_and_facts(make_catalog, tmp_path) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    export.export(catalog, tmp_path / "out.csv", Format.CSV)
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = {line["instance_type"]: line for line in csv.DictReader(file)}
    assert tuple(lines["m5.large"]) == COLUMNS
    m5, p4d = lines["m5.large"], lines["p4d.24xlarge"]
    assert (m5["price_per_hour"], m5["currency"], m5["as_of"]) == ("0.0315", "USD", "2026-02-03")
    assert (m5["country"], m5["source"]) == ("SE", "some list, of 2026")
    assert p4d["price_per_hour"] == ""
    assert float(p4d["chip_memory_gib"]) == 40


def test_jsonl_is_one_object_per_offer(make_catalog, tmp_path) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    export.export(catalog, tmp_path / "out.jsonl", Format.JSONL)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(found) == 3
    assert all(tuple(one) == COLUMNS for one in found)
    assert {one["price_per_hour"] for one in found} == {"0.0315", None, "0.000001"}


def test_the_same_catalog_gives_the_same_bytes(make_catalog, tmp_path) -> None:
    for name, order in (("a", ROWS), ("b", ROWS[::-1])):
        catalog = make_catalog(tmp_path / f"{name}.db", {"aws": order})
        export.export(catalog, tmp_path / name, Format.CSV)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_skypilots_layout_comes_back_with_both_prices_of_a_machine(make_catalog, tmp_path) -> None:
    rows = [*ROWS, ROWS[0]._replace(market="on-demand", micros=96_000)]
    catalog = make_catalog(tmp_path / "c.db", {"aws": rows})
    export.export(catalog, tmp_path / "sky", Format.SKYPILOT)
    again = make_catalog(tmp_path / "again.db", {"gcp": ROWS})
    report = again.import_skypilot(tmp_path / "sky")
    assert report.imported[0].as_of == "2026-02-03"
    kept = {(r.instance_type, r.market): r.micros for r in again.rows("aws")}
    assert kept[("m5.large", "spot")] == 31_500
    assert kept[("m5.large", "on-demand")] == 96_000
    assert kept[("p4d.24xlarge", "on-demand")] is None
    priced = {(r.instance_type, r.market, r.micros) for r in rows if r.micros}
    assert priced <= {(r.instance_type, r.market, r.micros) for r in again.rows("aws")}


def test_skypilots_layout_cannot_hold_another_currency(make_catalog, tmp_path) -> None:
    euro = ROWS[0]._replace(source=Source("list", "2026-01-01", "EUR"))
    catalog = make_catalog(tmp_path / "c.db", {"aws": [euro]})
    with pytest.raises(UsageError, match="EUR"):
        export.export(catalog, tmp_path / "sky", Format.SKYPILOT)
    assert not list((tmp_path / "sky" / "aws").iterdir())
    export.export(catalog, tmp_path / "out.csv", Format.CSV)  # control


def test_only_the_providers_that_are_named_are_written(make_catalog, tmp_path) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS, "gcp": ROWS})
    assert export.export(catalog, tmp_path / "o", Format.CSV, ["gcp"]) == {"gcp": 3}
    with pytest.raises(NotFoundError, match="no provider asw") as caught:
        export.export(catalog, tmp_path / "o", Format.CSV, ["asw"])
    assert "aws, gcp" in (caught.value.hint or "")


def test_a_file_that_cannot_be_written_is_said_and_no_part_of_it_is_left(
    make_catalog, tmp_path, monkeypatch
) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    target = tmp_path / "out" / "offers.csv"
    target.parent.mkdir()
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "records", full)
    with pytest.raises(UsageError, match="No space left"):
        export.export(catalog, target, Format.CSV)
    assert [path.name for path in target.parent.iterdir()] == ["offers.csv"]
    assert target.read_text() == "old"


GOOD = dict.fromkeys(COLUMNS) | {
    "provider": "aws",
    "region": "r",
    "zone": None,
    "instance_type": "m",
    "market": "spot",
    "vcpus": 2,
    "memory_gib": 4,
    "accelerator": None,
    "accelerator_count": 0,
    "price_per_hour": "1",
    "currency": "USD",
    "as_of": "2026-01-31",
    "source": "a list",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"provider": "../aws"}, "provider is '../aws'"),
        ({"provider": None}, "provider is empty"),
        ({"market": "owned"}, "market is 'owned'"),
        ({"as_of": "yesterday"}, "isoformat"),
        ({"as_of": "20260131"}, "not a date as 2026-01-31"),
        ({"region": ""}, "region is empty"),
        ({"region": 5}, "region is 5"),
        ({"vcpus": "two"}, "vcpus is 'two', not a number"),
        ({"vcpus": -1}, "not an amount"),
        ({"memory_gib": "inf"}, "not an amount"),
        ({"source": ""}, "source is empty"),
        ({"currency": None}, "currency is empty"),
    ],
)
@pytest.mark.parametrize("form", [Format.CSV, Format.JSONL])
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_taken(
    form, change, words, make_catalog, tmp_path
) -> None:
    if form is Format.CSV and change == {"region": 5}:
        change, words = {"region": ""}, "region is empty"
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    before = set(catalog.rows("aws"))
    file = tmp_path / "offers"
    _write(file, form, [GOOD, {**GOOD, **change}])
    with pytest.raises(UsageError, match=f":{3 if form is Format.CSV else 2}:1") as caught:
        load(catalog, file)
    assert words in caught.value.message
    assert set(catalog.rows("aws")) == before
    _write(file, form, [GOOD, GOOD])
    assert load(catalog, file).imported[0].offers == 2, "control: the line alone was at fault"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"provider": "aws"\n', "offers:1:1"),
        (b'{"provider":1}\n[]\n', "provider is 1"),
        (b'{"provider": "\xff"}\n', "not a text file"),
        (",".join(COLUMNS).encode(), "no offers"),
        (",".join(COLUMNS[:-1]).encode() + b'\n"unclosed', "unexpected end of data"),
        (b"provider,region\n", "missing columns zone"),
    ],
)
def test_rubbish_is_refused_with_a_reason(content, words, make_catalog, tmp_path) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    (tmp_path / "offers").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        load(catalog, tmp_path / "offers")
    assert len(catalog.rows("aws")) == 3


def test_a_price_of_nothing_or_a_sentinel_in_a_file_is_unknown(make_catalog, tmp_path) -> None:
    catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    tpu = {**GOOD, "accelerator": "tpu-v2-8", "accelerator_count": 1, "price_per_hour": "700"}
    _write(tmp_path / "o", Format.CSV, [GOOD, {**GOOD, "price_per_hour": "0.0"}, tpu])
    assert load(catalog, tmp_path / "o").imported[0].unpriced == 2
    assert {r.micros for r in catalog.rows("aws")} == {MICRO, None}
    assert Decimal(1) * MICRO == MICRO


def test_other_files_are_not_taken_for_exports(tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_text("InstanceType,Price\n")
    assert not is_export(tmp_path / "vms.csv")
    assert not is_export(tmp_path)
    assert not is_export(tmp_path / "none")


def test_a_file_that_is_too_large_is_refused_unread(make_catalog, tmp_path) -> None:
    catalog: Catalog = make_catalog(tmp_path / "c.db", {"aws": ROWS})
    (tmp_path / "o").write_text("")
    os.truncate(tmp_path / "o", export.MAX_BYTES + 1)
    begun = time.process_time()
    with pytest.raises(UsageError, match="too large"):
        load(catalog, tmp_path / "o")
    assert time.process_time() - begun < 1


def _write(file: Path, form: Format, lines: list[dict]) -> None:
    with file.open("w", newline="") as stream:
        if form is Format.JSONL:
            stream.writelines(json.dumps(line) + "\n" for line in lines)
            return
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
