"""`broker offers`: filters, orders, columns, formats, the fleet and reservations in one list."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

RESERVED = """\
clouds:
  aws:
    provider: aws
    reservations:
      - {id: cr-1, instance_type: g6.xlarge, zone: eu-north-1a, count: 2}
      - {id: cr-old, instance_type: g6.xlarge, zone: eu-north-1a, count: 2, until: 2020-01-01}
"""


def listed(broker: Callable, *arguments: str) -> list[dict]:
    done = broker("offers", *arguments, "-o", "json")
    assert done.code == 0, done.err
    return done.json["data"]


def test_filters_are_all_true_of_what_is_shown(broker: Callable) -> None:
    found = listed(broker, "l4", "--bloc", "eu", "--market", "on-demand", "--max-price", "2")
    assert found
    for one in found:
        assert (one["accelerator"], one["market"]) == ("L4", "on-demand")
        assert "EU" in one["blocs"]
        assert one["usd_per_hour"] <= 2
        assert one["accelerator_memory_gib"] == 24


def test_several_of_one_filter_widen_it(broker: Callable) -> None:
    found = listed(broker, "A100:8,H100:8", "-n", "0", "--market", "on-demand")
    assert {one["accelerator"] for one in found} == {"A100", "H100"}
    assert {one["accelerator_count"] for one in found} == {8}


def test_memory_of_the_accelerator_finds_what_has_more(broker: Callable) -> None:
    found = listed(broker, "--gpu-memory", "100", "-n", "200")
    assert found
    assert all(one["accelerator_memory_gib"] >= 100 for one in found)


@pytest.mark.parametrize(
    ("sort", "field", "reverse"),
    [
        ("price", "usd_per_hour", False),
        ("carbon", "carbon_g_per_kwh", False),
        ("-memory", "memory_gib", True),
        ("region", "region", False),
    ],
)
def test_the_order_is_as_asked(broker: Callable, sort: str, field: str, reverse: bool) -> None:
    values = [one[field] for one in listed(broker, "--sort", sort, "--cloud", "gcp", "--gpu", "L4")]
    assert None not in values
    assert values == sorted(values, reverse=reverse)


def test_offers_are_counted_by_what_they_share(broker: Callable) -> None:
    groups = listed(broker, "--group-by", "accelerator", "--cloud", "gcp")
    all_of_them = listed(broker, "--cloud", "gcp", "-n", "0")
    assert sum(one["offers"] for one in groups) == len(all_of_them)
    assert {"none", "L4:1"} <= {one["accelerator"] for one in groups}


def test_every_format_shows_the_same_offers(broker: Callable) -> None:
    keys = [one["key"] for one in listed(broker, "T4", "-n", "5")]
    assert broker("offers", "T4", "-n", "5", "-o", "name").out.split() == keys
    rows = csv.DictReader(io.StringIO(broker("offers", "T4", "-n", "5", "-o", "csv").out))
    assert [row["key"] for row in rows] == keys
    table = broker("offers", "T4", "-n", "5", "--columns", "key").out.splitlines()
    assert [line.strip() for line in table] == ["KEY", *keys]


def test_what_is_left_out_is_said_beside_the_result(broker: Callable) -> None:
    done = broker("offers", "-n", "3")
    assert done.err.startswith("3 of ")
    assert len(done.out.splitlines()) == 4


def test_a_reservation_is_counted_and_an_old_one_is_gone(broker: Callable, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "config.yaml").write_text(RESERVED)
    found = listed(broker, "L4", "--market", "reserved")
    assert [(one["reservation"], one["left"], one["vcpus"]) for one in found] == [("cr-1", 2, 4)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("A100-80GBB",), 10, "did you mean `A100-80GB`"),
        (("--sort", "prise"), 2, "did you mean `price`"),
        (("--columns", "cloud,prise"), 2, "did you mean `price`"),
        (("A100:many",), 2, "e.g. A100:8"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(
    broker: Callable, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = broker("offers", *arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err
