"""The contract of `ports.Store` as laws: the ledger on disk and the one in memory pass them all."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker.errors import ConflictError
from broker.model import (
    Account,
    Allocation,
    Attempt,
    Decision,
    Event,
    Explanation,
    Finding,
    JoinToken,
    Kind,
    Lease,
    LeaseState,
    Location,
    Market,
    Node,
    NodeState,
    Offer,
    Order,
    Price,
    Reason,
    Refusal,
    Run,
    RunState,
    Site,
    Verdict,
)
from broker.ports import Store

AT = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
OFFER = Offer(
    "aws@sandbox",
    "eu-north-1",
    "eu-north-1a",
    "m5.large",
    Market.SPOT,
    2,
    8.0,
    price=Price(Decimal("0.1000"), "2026-03-01", "catalog"),
    site=Site("SE", frozenset({"EU", "EEA"}), 12.5, "em"),
    datasets=("a", "b"),
)


def run(name: str = "run_1", **more: Any) -> Run:
    return replace(Run(name, "train", "task", {"envs": {"A": "1"}}, AT), **more)


def lease(name: str = "ls_1", **more: Any) -> Lease:
    return replace(Lease(name, "run_1", "task", 0, (OFFER,), AT), **more)


def full_rows() -> list[Any]:
    """One row of each kind with every field that matters set."""
    attempt = Attempt("at_1", OFFER, AT, "i-1", AT, AT, AT, 3, AT, "silent")
    where = Location("rules.yaml", 3, 5, 9)
    reason = Reason(Kind.POLICY, "no-spot", "spot", "not spot", where, why="slow")
    finding = Finding("no-spot", Verdict.REFUSES, "spot", location=where, scope="project a")
    return [
        run(
            state=RunState.CLOSING,
            outcome=RunState.FAILED,
            plan={"a": [1, {"b": None}]},
            ended_at=AT,
        ),
        lease(attempt=attempt, failed={"k": "sold out"}, usd_spent=Decimal("1.50"), closed_at=AT),
        Node("nd_1", "pi", "edge", AT, NodeState.ONLINE, labels={"a": "b"}, seen_at=AT),
        JoinToken("hash", "nd_1", AT, AT + timedelta(hours=1)),
        Allocation("at_1", "nd_1", "ls_1", AT),
        Order("or_1", "run_1", "ls_1", "at_1", "nd_1", "process", {"run": "x"}, AT, exit_code=3),
        Account(
            "cap/research/2026-03/usd",
            "cap",
            "research",
            "2026-03",
            "usd",
            Decimal("500.00"),
            {"run_1": Decimal("12.50")},
            Decimal("0.000001"),
        ),
        Explanation(
            "run_1:task",
            "run_1",
            "task",
            AT,
            (Decision(OFFER, (reason,), 1, Decimal("0.2"), (finding,)),),
            (Refusal(reason, 7, OFFER),),
            ("rules.yaml",),
            "2026-03-01",
        ),
        Event("ev_1", AT, "ls_1", "run_1", "lease.running", "runs ✓", {"n": 1}),
    ]


class StoreLaws:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_every_kind_comes_back_as_it_was_written(self, store: Store) -> None:
        rows = full_rows()
        written = store.commit(*rows)
        assert [row.version for row in written] == [1] * len(rows)
        for before, after in zip(rows, written, strict=True):
            assert replace(before, version=1) == after
            assert store.find(type(before), id=before.id) == [after]

    def test_rows_are_found_by_equality_and_come_by_id(self, store: Store) -> None:
        store.commit(
            lease("ls_3"),
            lease("ls_1", state=LeaseState.RUNNING),
            lease("ls_2", run_id="run_2", wanted=False),
        )
        names = lambda **equal: [row.id for row in store.find(Lease, **equal)]  # noqa: E731
        assert names() == ["ls_1", "ls_2", "ls_3"]
        assert names(run_id="run_1") == ["ls_1", "ls_3"]
        assert names(run_id="run_1", state=LeaseState.PENDING) == ["ls_3"]
        assert names(state="running") == ["ls_1"]
        assert names(wanted=False) == ["ls_2"]
        assert names(closed_at=None) == ["ls_1", "ls_2", "ls_3"]
        assert names(created_at=AT) == ["ls_1", "ls_2", "ls_3"]
        assert names(usd_spent=Decimal(0)) == ["ls_1", "ls_2", "ls_3"]
        assert names(forgiven=0, rank=0) == ["ls_1", "ls_2", "ls_3"]
        assert names(forgiven=1) == []

    @pytest.mark.parametrize("many", [list, tuple, set, frozenset])
    def test_many_values_mean_one_of_them(self, store: Store, many: Any) -> None:
        store.commit(
            lease("ls_1"), lease("ls_2", state=LeaseState.RUNNING), lease("ls_3", closed_at=AT)
        )
        found = store.find(Lease, id=many(["ls_1", "ls_3", "ls_9"]))
        assert [row.id for row in found] == ["ls_1", "ls_3"]
        assert store.find(Lease, id=many([])) == []
        assert len(store.find(Lease, closed_at=many([None, AT]))) == 3
        assert len(store.find(Lease, closed_at=many([None]))) == 2
        assert len(store.find(Lease, state=many([LeaseState.RUNNING]))) == 1

    def test_a_very_long_list_of_values_is_no_problem(self, store: Store) -> None:
        store.commit(lease("ls_1"), lease("ls_2"))
        assert len(store.find(Lease, id=[f"ls_{n}" for n in range(2, 60_000)])) == 1

    def test_a_misspelt_field_is_an_error(self, store: Store) -> None:
        with pytest.raises(TypeError, match="Lease has no field runid"):
            store.find(Lease, runid="run_1")

    def test_a_version_guards_against_the_second_writer(self, store: Store) -> None:
        (first,) = store.commit(run())
        (second,) = store.commit(replace(first, reason="a"))
        with pytest.raises(ConflictError, match="has changed"):
            store.commit(replace(first, reason="b"))
        assert store.find(Run) == [second]

    def test_a_taken_id_and_a_missing_row_are_conflicts(self, store: Store) -> None:
        store.commit(run())
        with pytest.raises(ConflictError, match="exists already"):
            store.commit(run())
        with pytest.raises(ConflictError, match="has changed"):
            store.commit(run("run_9", version=4))

    def test_a_conflict_leaves_nothing_of_the_commit(self, store: Store) -> None:
        (row,) = store.commit(run())
        stale = replace(row, version=7)
        with pytest.raises(ConflictError):
            store.commit(lease("ls_1"), replace(row, reason="new"), stale)
        with pytest.raises(ConflictError):
            store.commit(lease("ls_1"), lease("ls_1"))
        assert store.find(Lease) == []
        assert store.find(Run) == [row]

    def test_one_id_may_stand_in_two_kinds(self, store: Store) -> None:
        store.commit(run("same"), lease("same"))
        assert len(store.find(Run, id="same")) == len(store.find(Lease, id="same")) == 1

    def test_nothing_that_a_caller_changes_later_changes_the_store(self, store: Store) -> None:
        spec = {"envs": {"A": "1"}}
        (row,) = store.commit(run(spec=spec))
        spec["envs"]["A"] = "2"
        row.spec["envs"]["B"] = "3"
        (found,) = store.find(Run)
        found.spec["envs"]["C"] = "4"
        assert store.find(Run)[0].spec == {"envs": {"A": "1"}}

    def test_ids_sort_by_their_characters_alone(self, store: Store) -> None:
        names = ["B", "a", "a-b", "a/b", "a_b", "ab", "b", "é", "z"]
        store.commit(*(run(name) for name in names))
        assert [row.id for row in store.find(Run)] == sorted(names)

    def test_what_an_agent_says_may_hold_any_character(self, store: Store) -> None:
        words = "it said \x00 and 'ø' -- ; %s :x \\"
        store.commit(run(reason=words, result={"said": words}))
        (found,) = store.find(Run)
        assert found.reason.replace("\ufffd", "\x00") == words
        assert found.result == {"said": words}

    def test_rows_are_written_whatever_their_order(self, store: Store) -> None:
        """Two writers of the same two rows in opposite orders: neither hangs, one or both win."""
        store.commit(run("run_a"), run("run_b"))
        start, odd = threading.Barrier(8), []

        def write(worker: int) -> None:
            start.wait()
            for _ in range(10):
                rows = store.find(Run)
                try:
                    store.commit(*(rows if worker % 2 else reversed(rows)))
                except ConflictError:
                    continue
                except Exception as error:
                    odd.append(error)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert odd == []
        one, other = store.find(Run)
        assert one.version == other.version > 1

    def test_an_empty_commit_is_nothing(self, store: Store) -> None:
        assert store.commit() == ()

    def test_of_200_guarded_writes_one_wins_each_version(self, store: Store) -> None:
        store.commit(run())
        won: Counter[int] = Counter()
        start, lock = threading.Barrier(20), threading.Lock()

        def write(worker: int) -> None:
            start.wait()
            for _ in range(10):
                (row,) = store.find(Run)
                try:
                    (after,) = store.commit(replace(row, reason=f"by {worker}"))
                except ConflictError:
                    continue
                with lock:
                    won[after.version] += 1

        threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(won.values()) == {1}
        assert sorted(won) == list(range(2, store.find(Run)[0].version + 1))
