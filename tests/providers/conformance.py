"""The contract of `ports.Provider` as laws. Every provider, the fake too, passes all of them.

A test module gives a `stand` fixture (the provider, and hands to turn its world) and inherits
`ProviderLaws`. What the world really holds is asked of the stand, never of the provider.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.errors import BrokerError, CapacityError, NotFoundError, UnknownOutcomeError
from broker.model import Instance, InstanceState, Offer
from broker.ports import Provider

SCRIPT = "exec sleep 1000"
POLL_S = 0.02

_numbers = itertools.count(1)  # one world may serve many tests


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll real processes until it is true; fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(POLL_S)


class Stand(ABC):
    """A provider in its own world."""

    provider: Provider
    offer: Offer
    runs_user_data = False
    loses_replies = True

    @abstractmethod
    def alive(self) -> list[str]:
        """Ids of our machines that really run."""

    @abstractmethod
    def sell_out(self) -> None: ...

    @abstractmethod
    def restock(self) -> None: ...

    @abstractmethod
    def add_foreign(self) -> str:
        """A machine of another owner in the same account; its id."""

    @abstractmethod
    def foreign_lives(self, instance_id: str) -> bool: ...

    @abstractmethod
    def break_listing(self) -> None:
        """The next listing cannot read one part of the world."""

    @abstractmethod
    def mend_listing(self) -> None: ...

    @abstractmethod
    def take_away(self, instance_id: str) -> None:
        """The machine ends by itself."""

    def lose_reply(self) -> None:
        """The next launch acts, and its reply is lost."""
        raise NotImplementedError

    def launch(self, token: str, lease_id: str = "ls_1", script: str = SCRIPT) -> Instance:
        return self.provider.launch(self.offer, token, lease_id, script)

    def listed(self, instance_id: str) -> Instance | None:
        found = [item for item in self.provider.instances() if item.id == instance_id]
        assert len(found) <= 1, "listed twice"
        return found[0] if found else None

    def state(self, instance_id: str) -> InstanceState:
        """What the listing says; a machine that is not listed is gone."""
        found = self.listed(instance_id)
        return found.state if found else InstanceState.GONE


class ProviderLaws:
    """Inherited by one class for each provider."""

    @pytest.fixture
    def token(self) -> Callable[[], str]:
        return lambda: f"at_{next(_numbers):04d}"

    def test_it_is_a_provider_and_names_itself_in_all_it_shows(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        assert isinstance(stand.provider, Provider)
        made = stand.launch(token())
        assert {stand.provider.name} == {
            made.cloud,
            *(item.cloud for item in stand.provider.instances()),
            *(offer.cloud for offer in stand.provider.offers()),
        }

    def test_the_same_token_again_is_the_same_machine(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        same = token()
        ids = {stand.launch(same).id for _ in range(3)}
        assert stand.alive() == [*ids]

    def test_the_same_token_eight_times_at_once_is_one_machine(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        same = token()
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: stand.launch(same), range(8)))
        assert stand.alive() == [*{item.id for item in made}]

    def test_control_two_tokens_are_two_machines(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        ids = {stand.launch(token()).id, stand.launch(token()).id}
        assert set(stand.alive()) == ids
        assert len(ids) == 2

    def test_a_token_with_another_request_makes_no_second_machine(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        same = token()
        first = stand.launch(same)
        with pytest.raises(BrokerError) as refusal:
            stand.launch(same, script="exec sleep 2000")
        assert not isinstance(refusal.value, CapacityError)
        assert stand.alive() == [first.id]

    def test_after_a_lost_reply_the_same_token_finds_the_machine(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        if not stand.loses_replies:
            pytest.skip("a function call has no reply that could be lost; see the crash tests")
        same = token()
        stand.lose_reply()
        with pytest.raises(UnknownOutcomeError):
            stand.launch(same)
        assert len(stand.alive()) == 1, "the fault must strike after the act"
        assert stand.alive() == [stand.launch(same).id]

    def test_sold_out_is_a_capacity_error_and_makes_nothing(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        stand.sell_out()
        with pytest.raises(CapacityError):
            stand.launch(token())
        assert stand.alive() == []
        stand.restock()
        made = stand.launch(token())  # the control
        assert stand.alive() == [made.id]

    def test_a_token_refused_for_capacity_may_be_used_again(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        same = token()
        stand.sell_out()
        with pytest.raises(CapacityError):
            stand.launch(same)
        stand.restock()
        made = stand.launch(same)
        assert stand.alive() == [made.id]

    def test_the_list_shows_all_of_ours_and_nothing_foreign(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        foreign = stand.add_foreign()
        ids = {stand.launch(token()).id for _ in range(3)}
        assert {item.id for item in stand.provider.instances()} == ids
        assert stand.foreign_lives(foreign)

    def test_a_listing_that_cannot_be_whole_raises(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        made = stand.launch(token())
        stand.break_listing()
        with pytest.raises(Exception, match=r".+"):
            stand.provider.instances()
        stand.mend_listing()
        assert [item.id for item in stand.provider.instances()] == [made.id]  # the control

    def test_tags_carry_lease_and_attempt(self, stand: Stand, token: Callable[[], str]) -> None:
        same = token()
        made = stand.launch(same, "ls_tagged")
        listed = stand.listed(made.id)
        assert listed is not None
        for item in (made, listed):
            assert (item.attempt_id, item.lease_id) == (same, "ls_tagged")
            assert item.region == stand.offer.region
            assert item.launched_at is not None
            assert item.launched_at.utcoffset() is not None

    def test_a_machine_comes_to_run(self, stand: Stand, token: Callable[[], str]) -> None:
        made = stand.launch(token())
        assert made.state in {InstanceState.PENDING, InstanceState.RUNNING}
        until(lambda: stand.state(made.id) is InstanceState.RUNNING)

    def test_a_terminated_machine_is_gone_and_its_neighbour_is_not(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        ended, kept = stand.launch(token()), stand.launch(token())
        stand.provider.terminate(ended.id)
        until(lambda: stand.state(ended.id) is InstanceState.GONE)
        assert stand.alive() == [kept.id]
        assert stand.state(kept.id) is InstanceState.RUNNING

    def test_terminating_twice_is_not_found_or_quiet(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        made = stand.launch(token())
        stand.provider.terminate(made.id)
        until(lambda: stand.state(made.id) is InstanceState.GONE)
        with contextlib.suppress(NotFoundError):
            stand.provider.terminate(made.id)
        assert stand.state(made.id) is InstanceState.GONE
        assert stand.alive() == []

    def test_terminating_what_never_was_is_not_found(self, stand: Stand) -> None:
        for nothing in ("us-east-1/i-0123456789abcdef0", "at_nowhere", "i-0", "../x", ""):
            with pytest.raises(NotFoundError):
                stand.provider.terminate(nothing)

    def test_a_token_never_raises_its_dead(self, stand: Stand, token: Callable[[], str]) -> None:
        same = token()
        made = stand.launch(same)
        stand.provider.terminate(made.id)
        until(lambda: stand.state(made.id) is InstanceState.GONE)
        again = stand.launch(same)
        assert again.id == made.id
        assert stand.alive() == []

    def test_a_machine_that_ends_by_itself_is_gone_with_a_reason(
        self, stand: Stand, token: Callable[[], str]
    ) -> None:
        made, kept = stand.launch(token()), stand.launch(token())
        stand.take_away(made.id)
        until(lambda: stand.state(made.id) is InstanceState.GONE)
        shown = stand.listed(made.id)
        assert shown is None or shown.reason
        assert stand.alive() == [kept.id]

    def test_user_data_really_runs(
        self, stand: Stand, token: Callable[[], str], tmp_path: Path
    ) -> None:
        if not stand.runs_user_data:
            pytest.skip("its machines are in memory")
        marker = tmp_path / "it ran"
        stand.launch(token(), script=f"#!/bin/bash\ntouch '{marker}'\nexec sleep 1000")
        until(marker.exists)
