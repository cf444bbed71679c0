"""For ServerApps: replies have names, rounds have a quorum and an end, the record comes last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.fl import Federation, Quorum, Terms
from broker.fl.book import Book, Round


@dataclass
class Grid:
    """Flower's grid as a little world: sites answer after some looks, with an error, or never."""

    after: dict[str, int]
    broken: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()  # messages to these are not taken
    sent: list[Any] = field(default_factory=list)
    looks: int = 0

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=number, name=name)
            for number, name in enumerate(self.after, start=10)
        ]

    def get_node_ids(self) -> list[int]:
        return [node.node_id for node in self.get_nodes()]

    def push_messages(self, messages: Iterable[Any]) -> list[str | None]:
        self.sent = list(messages)
        self.looks = 0
        names = {node.node_id: node.name for node in self.get_nodes()}
        return [
            None
            if names[one.metadata.dst_node_id] in self.lost
            else names[one.metadata.dst_node_id]
            for one in self.sent
        ]

    def pull_messages(self, ids: Iterable[str]) -> list[Any]:
        self.looks += 1
        return [self._reply(one) for one in sorted(ids) if 0 <= self.after[one] < self.looks]

    def _reply(self, name: str) -> Any:
        wrong = name in self.broken
        return SimpleNamespace(
            metadata=SimpleNamespace(reply_to_message_id=name, src_node_id=1),
            has_error=lambda: wrong,
            error=SimpleNamespace(reason="it broke"),
        )


class Strategy:
    """The part of a Flower strategy that the quorum stands before."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> list[Any]:
        return [letter(node) for node in grid.get_node_ids()]

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        return f"model {server_round}", {"sites": len(list(replies))}


class Average(Quorum, Strategy):
    def measure(self, arrays: Any) -> dict[str, float]:
        return {"measured": float(str(arrays).rsplit(maxsplit=1)[-1])}


def letter(node_id: int) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(dst_node_id=node_id, ttl=43200.0))


def federation(folder: Path, grid: Grid, min_sites: int = 2, timeout_s: float = 0.2) -> Federation:
    return Federation(grid, Terms(folder, 3, min_sites), timeout_s=timeout_s, poll_s=0.001)


def one_round(fed: Federation, number: int = 1) -> tuple[Any, Any]:
    strategy = Average(fed)
    letters = strategy.configure_train(number, "model 0", {}, fed)
    return strategy.aggregate_train(number, fed.send_and_receive(letters))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def test_terms_come_from_the_brokers_variables(tmp_path: Path) -> None:
    environ = {"BROKER_ARTIFACTS": str(tmp_path), "BROKER_ROUNDS": "5", "BROKER_MIN_SITES": "2"}
    assert Terms.from_environ(environ) == Terms(tmp_path, 5, 2)
    assert Terms.from_environ({}) == Terms(Path("artifacts"), 3, 1)


def test_a_full_round_is_aggregated_and_written_down(tmp_path: Path) -> None:
    fed = federation(tmp_path, Grid({"oslo": 0, "lyon": 2}))
    assert one_round(fed) == ("model 1", {"sites": 2})
    (line,) = lines(tmp_path)
    assert line["sites"] == ["lyon", "oslo"]
    assert line["aggregated"] is True
    assert line["measured"] == 1.0
    assert "failed" not in line


def test_messages_expire_with_their_round(tmp_path: Path) -> None:
    grid = Grid({"oslo": 0})
    federation(tmp_path, grid).send_and_receive([letter(10)], timeout=9.0)
    assert grid.sent[0].metadata.ttl == 0.2
    federation(tmp_path, grid).send_and_receive([letter(10)], timeout=0.1)
    assert grid.sent[0].metadata.ttl == 0.1


def test_below_the_quorum_the_old_model_stays(tmp_path: Path) -> None:
    fed = federation(tmp_path, Grid({"oslo": 0, "lyon": -1, "bonn": 0}, frozenset({"bonn"})))
    assert one_round(fed) == (None, None)
    (line,) = lines(tmp_path)
    assert line["aggregated"] is False
    assert line["sites"] == ["oslo"]
    assert line["failed"] == {"lyon": "no answer in time", "bonn": "it broke"}
    assert line["measured"] == 0.0


def test_an_error_is_the_asked_sites_whoever_sent_it(tmp_path: Path) -> None:
    fed = federation(tmp_path, Grid({"oslo": 0}, frozenset({"oslo"})))
    (reply,) = fed.send_and_receive([letter(node) for node in fed.online()])
    assert reply.metadata.src_node_id == 1
    assert fed.site(reply) == "oslo"
    stranger = SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id="?", src_node_id=77))
    assert fed.site(stranger) == "77"


def test_a_message_that_was_not_taken_is_not_waited_for(tmp_path: Path) -> None:
    grid = Grid({"oslo": 0, "lyon": 0}, lost=frozenset({"lyon"}))
    fed = federation(tmp_path, grid, timeout_s=30)
    assert len(fed.send_and_receive([letter(node) for node in fed.online()])) == 1
    assert fed.asked == ["oslo"]


def test_with_nobody_there_a_round_is_empty_and_does_not_wait(tmp_path: Path) -> None:
    fed = federation(tmp_path, Grid({}), timeout_s=30)
    assert one_round(fed) == (None, None)
    assert lines(tmp_path)[0]["sites"] == []


def test_a_site_without_a_name_goes_by_its_number(tmp_path: Path) -> None:
    grid = Grid({"": 0})
    fed = federation(tmp_path, grid)
    assert fed.online() == [10]
    (reply,) = fed.send_and_receive([letter(10)])
    assert fed.site(reply) == "10"


def test_what_the_grid_can_the_federation_can(tmp_path: Path) -> None:
    assert federation(tmp_path, Grid({"oslo": 0})).get_node_ids() == [10]


def test_the_quorum_leaves_evaluation_at_sites_out_unless_asked(tmp_path: Path) -> None:
    fed = federation(tmp_path, Grid({}))
    assert Average(fed).options["fraction_evaluate"] == 0.0
    assert Average(fed, fraction_evaluate=0.5).options["fraction_evaluate"] == 0.5

    class Plain(Quorum, Strategy):
        pass

    assert Plain(fed).measure("model 3") == {}


def test_the_result_comes_last_and_whole(tmp_path: Path) -> None:
    book = Book(tmp_path / "deep")
    book.add(Round(1, ["a"], aggregated=True, seconds=1.23456, metrics={"loss": 0.5}))
    book.add(Round(2, [], aggregated=False, seconds=0, failed={"a": "gone"}))
    book.note({"kind": "other"})
    assert not (tmp_path / "deep" / "result.json").exists()
    book.close({"accuracy": 0.9})
    result = json.loads((tmp_path / "deep" / "result.json").read_text())
    assert result["rounds"] == 1
    assert [item["round"] for item in result["history"]] == [1, 2]
    assert result["metrics"] == {"accuracy": 0.9}
    assert [item["kind"] for item in lines(tmp_path / "deep")] == ["round", "round", "other"]
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"result.json", "rounds.jsonl"}


def test_the_verdict_reads_what_the_book_writes(tmp_path: Path) -> None:
    from broker.model import OrderState
    from edge.flower.verdict import Records, judge, read_result

    book = Book(tmp_path)
    book.add(Round(1, ["a", "b"], aggregated=True, seconds=1))
    book.close({})
    assert [item["round"] for item in Records(tmp_path).new()] == [1]
    assert judge(read_result(tmp_path), 1, 2)[0] is OrderState.SUCCEEDED


@pytest.mark.slow
def test_nothing_of_flower_is_loaded_with_the_library() -> None:
    import subprocess
    import sys

    probe = "import sys, broker.fl; sys.exit(bool({'flwr', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", probe], check=True)
