"""Laws: a budget is never given out twice, whoever asks at the same time and whatever dies."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import admission
from broker.errors import BrokerError, BudgetError, ConflictError, PolicyError
from broker.model import (
    Account,
    Event,
    Explanation,
    Lease,
    LeaseState,
    Placement,
    Plan,
    Run,
    RunState,
)
from broker.policy import Policy, Rule, Verb, accounts
from broker.policy.rules import BlastRadius, Clause, Spot
from broker.ports import Store
from broker.store import Ledger, MemoryStore
from tests.admission.conftest import LINE, NOW, OFFER, Desk, asked, only, team

MANY = 200


class Unguarded:
    """A ledger that lets the last writer win: what the law must be able to notice.

    The first `readers` to ask for accounts wait for each other, so that all have read before any writes.
    """

    def __init__(self, store: Store, readers: int = 1) -> None:
        self.store = store
        self._read = threading.Barrier(readers, timeout=60)
        self._asked = itertools.count()
        self._readers = readers

    def find(self, kind: Any, **equal: Any) -> Any:
        found = self.store.find(kind, **equal)
        if kind is Account and next(self._asked) < self._readers:
            self._read.wait()
        return found

    def commit(self, *rows: Any) -> Any:
        while True:
            fresh = [replace(row, version=self._version(row)) for row in rows]
            try:
                return self.store.commit(*fresh)
            except ConflictError:
                continue

    def _version(self, row: Any) -> int:
        found = self.store.find(type(row), id=row.id)
        return found[0].version if found else 0


def race(stores: list[Store], policy: Policy, hours: list[int]) -> list[BrokerError | None]:
    """All at once, one thread for each of `hours`; None for those that were admitted."""
    verdicts: list[BrokerError | None] = [ConflictError("no verdict")] * len(hours)
    start = threading.Barrier(len(hours))

    def one(number: int) -> None:
        agreed = asked(hours[number])
        rows = Desk(f"{number:03d}_").rows(agreed)
        start.wait()
        try:
            admission.admit(stores[number % len(stores)], policy, [agreed], rows, NOW)
            verdicts[number] = None
        except BrokerError as error:
            verdicts[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(hours))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


# ------------------------------------------------------------------------------------ concurrency


def test_200_at_once_get_exactly_what_the_budget_holds(opened: Callable[[], Store]) -> None:
    stores = [opened() for _ in range(4)]
    verdicts = race(stores, team("125"), [10] * MANY)
    refused = [one for one in verdicts if one is not None]
    assert {type(one) for one in refused} == {BudgetError}, "everybody comes to a verdict"
    assert len(refused) == MANY - 12, "floor(125 / 10): none is refused while there is room"
    account = only(stores[0])
    assert account.held == {run.id: Decimal(10) for run in stores[0].find(Run)}
    assert len(stores[0].find(Run)) == len(stores[0].find(Lease)) == 12


def test_of_unequal_ones_no_more_is_held_than_there_is(opened: Callable[[], Store]) -> None:
    stores = [opened() for _ in range(2)]
    hours = [1 + number % 17 for number in range(40)]
    verdicts = race(stores, team("100"), hours)
    account = only(stores[0])
    assert accounts.taken(account) <= 100
    spare = accounts.left(account)
    refused = [hours[number] for number, one in enumerate(verdicts) if one]
    assert all(hour > spare for hour in refused), "whoever was refused would not fit now either"
    assert set(account.held) == {run.id for run in stores[0].find(Run)}


def test_an_unguarded_ledger_would_be_noticed() -> None:
    """The control: the same race over a ledger without versions gives out too much."""
    below = MemoryStore()
    race([Unguarded(below, MANY)], team("125"), [10] * MANY)
    assert len(below.find(Run)) > 12


CHILD = """
import sys
from broker import admission
from broker.errors import BudgetError
from broker.store import Ledger
from tests.admission.conftest import NOW, Desk, asked, team

store, name = Ledger(sys.argv[1]), sys.argv[2]
desk = Desk(name)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    agreed = asked(10)
    try:
        admission.admit(store, team("125"), [agreed], desk.rows(agreed), NOW)
        print("admitted", flush=True)
    except BudgetError:
        print("refused", flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_at_once_get_exactly_what_the_budget_holds(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").database()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, url, f"p{number}_"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for number in range(4)
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    words = [child.communicate("go\n", timeout=120)[0].split() for child in children]
    said = [word for each in words for word in each]
    assert (said.count("admitted"), said.count("refused")) == (12, 28)
    with Ledger(url) as ledger:
        assert accounts.taken(only(ledger)) == 120


# --------------------------------------------------------------------------------------- crashing

KILLED = """
import os, signal, sys
from broker import admission
from broker.store import Ledger
from tests.admission.conftest import NOW, Desk, asked, team

class Dying:
    def __init__(self, store): self.store = store
    def find(self, kind, **equal): return self.store.find(kind, **equal)
    def commit(self, *rows):
        if sys.argv[2] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        self.store.commit(*rows)
        os.kill(os.getpid(), signal.SIGKILL)

agreed = asked(10)
admission.admit(Dying(Ledger(sys.argv[1])), team(), [agreed], Desk().rows(agreed), NOW)
"""


@pytest.mark.parametrize(("moment", "admitted"), [("before", 0), ("after", 1)])
def test_a_kill_leaves_run_and_account_both_or_neither(
    moment: str, admitted: int, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    child = subprocess.run(
        [sys.executable, "-c", KILLED, url, moment],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.returncode == -signal.SIGKILL
    with Ledger(url) as ledger:
        assert len(ledger.find(Run)) == len(ledger.find(Account)) == admitted
        held = [amount for one in ledger.find(Account) for amount in one.held.values()]
        assert held == [Decimal(10)] * admitted


# --------------------------------------------------------------------------------------- one by one


def admit(store: Store, policy: Policy, agreed: Any, desk: Desk | None = None) -> Run:
    rows = (desk or Desk()).rows(agreed)
    run, *_ = admission.admit(store, policy, [agreed], rows, NOW)
    assert isinstance(run, Run)
    return run


def test_a_run_is_written_with_its_leases_account_and_explanation(store: Store) -> None:
    run = admit(store, team(), asked(10))
    assert store.find(Run) == [run]
    assert [one.run_id for one in store.find(Lease)] == [run.id]
    assert only(store).held == {run.id: Decimal(10)}
    (told,) = store.find(Explanation)
    assert (told.id, told.role, told.created_at) == (f"{run.id}:task", "task", NOW)


@pytest.mark.parametrize(
    ("own", "stop"), [(None, "10"), ("7", "7"), ("70", "10")], ids=["none", "less", "more"]
)
def test_the_run_is_stopped_at_the_least_of_its_bounds(own: str | None, stop: str) -> None:
    store, agreed = MemoryStore(), asked(10)
    run, *leases = Desk().rows(agreed)
    assert isinstance(run, Run)
    rows = [replace(run, spec={**run.spec, "budget_usd": own}), *leases]
    saved, *_ = admission.admit(store, team(), [agreed], rows, NOW)
    assert isinstance(saved, Run)
    assert saved.spec["budget_usd"] == stop
    assert admission.hard_stop(team(), [agreed], NOW) == 10
    assert admission.hard_stop(Policy(), [agreed], NOW) is None


def test_leases_know_how_often_a_spot_machine_may_be_taken_from_them() -> None:
    store = MemoryStore()
    rule = Rule("spot", Verb.SPOT, terms=Spot(max_preemptions=2), when=(Clause("role", ("task",)),))
    admit(store, Policy((rule,)), asked(1))
    admit(store, Policy((rule,)), asked(1, role="aggregator"), Desk("b"))
    assert [one.max_preemptions for one in store.find(Lease)] == [2, None]


def test_without_a_budget_nothing_is_held_and_nothing_stops_it(store: Store) -> None:
    run = admit(store, Policy(), asked(10))
    assert "budget_usd" not in run.spec
    assert store.find(Account) == []


def test_a_refusal_says_what_is_left_and_who_holds_it(store: Store) -> None:
    desk = Desk()
    runs = [admit(store, team(), asked(hours), desk) for hours in (1, 2, 30, 4, 5, 6, 7)]
    store.commit(replace(only(store), settled=Decimal(20)))
    with pytest.raises(BudgetError) as caught:
        admit(store, team(), asked(26), desk)
    error = caught.value
    assert error.message == (
        "team: this takes up to 26.00 $, 25.00 $ of 100.00 $ are left to project research in 2026-11"
    )
    assert (error.code, error.location, error.exit_code) == ("BUD005", LINE, 7)
    assert error.hint
    assert error.hint.startswith(f"{runs[2].id} holds 30.00 $; {runs[6].id} holds 7.00 $")
    assert error.hint.endswith(
        "2 more runs hold the rest; 20.00 $ are spent; `broker budget show team`"
    )
    assert len(store.find(Run)) == 7


def test_what_nobody_bounds_is_refused_with_what_would_bound_it() -> None:
    with pytest.raises(BudgetError, match="nothing says what this may cost") as caught:
        admit(MemoryStore(), team(), asked(10, duration_h=None))
    assert caught.value.code == "BUD006"
    assert "--max-cost" in (caught.value.hint or "")


def radius(**terms: Any) -> Policy:
    rule = Rule("radius", Verb.BLAST_RADIUS, terms=BlastRadius(**terms), location=LINE)
    return Policy((rule,))


def test_a_blast_radius_is_refused_as_policy(store: Store) -> None:
    rules, desk = radius(max_machines=1, max_usd_per_hour=Decimal(9)), Desk()
    admit(store, rules, asked(), desk)
    with pytest.raises(PolicyError, match=r"1 machine, 0 machines of 1 machine are left") as caught:
        admit(store, rules, asked(), desk)
    assert (caught.value.code, caught.value.location) == ("POL040", LINE)
    with pytest.raises(PolicyError, match=r"1\.00 \$/h, 0\.50 \$/h of 0\.50 \$/h"):
        admit(MemoryStore(), radius(max_usd_per_hour=Decimal("0.5")), asked())
    demand, _ = asked()
    unknown = Plan((Placement("train", 1, replace(OFFER, price=None)),), (), 1, 1)
    with pytest.raises(PolicyError, match="an unknown rate"):
        admit(MemoryStore(), radius(max_usd_per_hour=Decimal(9)), (demand, unknown))


def test_one_run_may_not_have_more_nodes_than_the_radius() -> None:
    demand, _ = asked()
    three = Plan((Placement("train", 3, OFFER),), (), 1, 1)
    with pytest.raises(PolicyError, match="one run may have 2 nodes, this one has 3"):
        admit(MemoryStore(), radius(max_nodes_per_run=2), (demand, three))


def test_a_taken_id_is_a_conflict_at_once() -> None:
    store = MemoryStore()
    admit(store, team(), asked(1))
    with pytest.raises(ConflictError, match="exists already"):
        admit(store, team(), asked(1))


def test_a_ledger_that_never_lets_anybody_through_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(MemoryStore):
        def commit(self, *rows: Any) -> Any:
            raise ConflictError("somebody else")

    monkeypatch.setattr(admission, "TRIES", 5)
    with pytest.raises(ConflictError, match="others always came first"):
        admit(Busy(), team(), asked(1))


def test_a_mark_that_is_reached_is_told_before_and_written_with_the_run(store: Store) -> None:
    policy, desk = team("100", warn_at=(50, 80)), Desk()
    assert admission.forecast(store, policy, [asked(49)], NOW) == ()
    admit(store, policy, asked(49), desk)
    (words,) = admission.forecast(store, policy, [asked(2)], NOW)
    assert words == "team: 50 % of 100.00 $ is reached by project research in 2026-11: 49.00 $ left"
    run = admit(store, policy, asked(2), desk)
    (event,) = store.find(Event, kind="run.budget_warning")
    assert (event.message, event.run_id) == (words, run.id)
    assert admission.forecast(store, policy, [asked(200)], NOW) == (), "it does not fit at all"


def test_the_judge_is_told_what_is_left(store: Store) -> None:
    rules = Policy((*team().rules, *radius(max_machines=5, max_usd_per_hour=Decimal(9)).rules))
    demand, _ = asked()
    admit(store, rules, asked(10))
    found = admission.standing(store, rules, demand, NOW)
    assert found.now == NOW
    assert found.left_usd == {"team/research/2026-11/usd": Decimal(90)}
    assert found.machines == {"radius/research/open/machines": Decimal(1)}
    assert found.usd_per_hour == {"radius/research/open/usd_per_hour": Decimal(1)}
    assert admission.standing(None, rules, demand, NOW).left_usd == {}


def test_the_next_month_is_another_account(store: Store) -> None:
    december = datetime(2026, 12, 1, tzinfo=NOW.tzinfo)
    admit(store, team(), asked(100))
    agreed = asked(100)
    admission.admit(store, team(), [agreed], Desk("b").rows(agreed), december)
    assert [one.period for one in store.find(Account)] == ["2026-11", "2026-12"]


# --------------------------------------------------------------------------------------- settling


def end(store: Store, run: Run, usd: str, state: LeaseState = LeaseState.CLOSED) -> None:
    """The run is over, and its machines cost this."""
    (lease,) = store.find(Lease, run_id=run.id)
    store.commit(
        replace(store.find(Run, id=run.id)[0], state=RunState.SUCCEEDED, ended_at=NOW),
        replace(lease, state=state, usd_spent=Decimal(usd), closed_at=NOW),
    )


def test_what_an_ended_run_really_cost_stays_taken_and_the_rest_is_free(store: Store) -> None:
    desk = Desk()
    done, other = (admit(store, team(), asked(hours), desk) for hours in (10, 5))
    assert admission.settle(store, NOW) == 0
    end(store, done, "3.25")
    assert admission.settle(store, NOW + timedelta(days=40)) == 1
    assert only(store).held == {other.id: Decimal(5)}
    assert only(store).settled == Decimal("3.25")
    assert admission.settle(store, NOW) == 0, "twice is once"


def test_machines_that_are_kept_hold_on_after_the_run(store: Store) -> None:
    run = admit(store, team(), asked(10))
    end(store, run, "3", LeaseState.RUNNING)
    assert admission.settle(store, NOW) == 0
    (lease,) = store.find(Lease)
    store.commit(replace(lease, state=LeaseState.CLOSED, usd_spent=Decimal(4)))
    assert admission.settle(store, NOW) == 1
    assert only(store).settled == 4


def test_settling_gives_way_to_an_admission_and_comes_again() -> None:
    store = MemoryStore()
    run = admit(store, team(), asked(10))
    end(store, run, "3")

    class Late(Unguarded):
        def commit(self, *rows: Any) -> Any:
            (before,) = self.store.find(Account)
            self.store.commit(before)
            return self.store.commit(*rows)

    assert admission.settle(Late(store), NOW) == 0
    assert admission.settle(store, NOW) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "end", "settle"]), st.integers(0, 40)), max_size=25
)


@given(STEPS)
def test_in_every_order_the_account_agrees_with_the_runs(steps: list[tuple[str, int]]) -> None:
    store, desk = MemoryStore(), Desk()
    spent, held = Decimal(0), dict[str, Decimal]()
    for verb, number in steps:
        open_runs = sorted(held)
        if verb == "admit":
            fits = spent + sum(held.values(), Decimal(0)) + number <= 100
            try:
                run = admit(store, team(), asked(number), desk)
                assert fits
                held |= {run.id: Decimal(number)} if number else {}
            except BudgetError:
                assert not fits
        elif verb == "end" and open_runs:
            run_id = open_runs[number % len(open_runs)]
            really = held.pop(run_id) * number / 40
            spent += really
            end(store, store.find(Run, id=run_id)[0], str(really))
        admission.settle(store, NOW)
        for account in store.find(Account):
            assert (account.held, account.settled) == (held, spent)
