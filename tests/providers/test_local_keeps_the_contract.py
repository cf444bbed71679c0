"""`local` keeps the laws of `ports.Provider`, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from broker.errors import CapacityError, RequestError
from broker.model import Market
from providers import machines
from providers.local import Local
from tests.providers.conformance import SCRIPT, ProviderLaws, Stand, until


class LocalStand(Stand):
    runs_user_data = True
    loses_replies = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local = Local("local", folder, "me", country="CH")
        self.provider = self.local
        self.stranger = Local("local", folder, "somebody else")
        (self.offer,) = self.local.offers()

    def alive(self) -> list[str]:
        found = [machines.look(item) for item in sorted(self.folder.glob("at_*"))]
        return [item.folder.name for item in found if item and item.alive]

    def sell_out(self) -> None:
        self.local.capacity = 0

    def restock(self) -> None:
        self.local.capacity = 16

    def add_foreign(self) -> str:
        return self.stranger.launch(self.offer, "xx_foreign", "ls_x", SCRIPT).id

    def foreign_lives(self, instance_id: str) -> bool:
        return machines.alive(self.folder / instance_id)

    def break_listing(self) -> None:
        self.stranger.launch(self.offer, "xx_broken", "ls_x", SCRIPT)
        card = self.folder / "xx_broken" / "machine.json"
        card.rename(card.with_suffix(".away"))

    def mend_listing(self) -> None:
        card = self.folder / "xx_broken" / "machine.json"
        card.with_suffix(".away").rename(card)

    def take_away(self, instance_id: str) -> None:
        born = (self.folder / instance_id / "born").read_text()
        os.kill(int(born.partition(":")[0]), signal.SIGKILL)


@pytest.fixture
def local_stand(state: Path) -> Iterator[LocalStand]:
    yield LocalStand(state)
    for folder in state.glob("*_*"):
        machines.stop(folder, grace_s=0.2)


class TestLocal(ProviderLaws):
    @pytest.fixture
    def stand(self, local_stand: LocalStand) -> Stand:
        return local_stand


def test_the_offer_is_this_computer_at_no_price_and_says_where_it_stands(
    local_stand: LocalStand,
) -> None:
    offer = local_stand.offer
    assert (offer.market, offer.site.country, offer.available) == (Market.OWNED, "CH", True)
    assert offer.price is not None
    assert (offer.price.usd_per_hour, offer.price.source) == (Decimal(0), "owned")
    assert offer.vcpus == len(os.sched_getaffinity(0))
    assert offer.memory_gib
    assert offer.memory_gib > 0


def test_the_offer_is_unavailable_exactly_while_every_place_is_taken(
    local_stand: LocalStand,
) -> None:
    local_stand.local.capacity = 1
    made = local_stand.launch("at_1")
    assert [offer.available for offer in local_stand.provider.offers()] == [False]
    with pytest.raises(CapacityError):
        local_stand.launch("at_2")
    assert local_stand.launch("at_1").id == made.id, "its place is its own"
    local_stand.provider.terminate(made.id)
    assert [offer.available for offer in local_stand.provider.offers()] == [True]


def test_a_gone_machine_is_listed_for_a_while_and_then_forgotten(local_stand: LocalStand) -> None:
    made = local_stand.launch("at_1")
    local_stand.provider.terminate(made.id)
    assert local_stand.listed(made.id) is not None
    local_stand.local.forget_after_s = -1
    assert local_stand.listed(made.id) is None
    assert not (local_stand.folder / made.id).exists()


LAUNCHER = """
import sys
from pathlib import Path
from providers.local import Local
local = Local("local", Path(sys.argv[1]), "me")
(offer,) = local.offers()
print("go", flush=True)
local.launch(offer, "at_1", "ls_1", sys.argv[2])
"""


@pytest.mark.parametrize("delay_ms", [0, 1, 3, 6, 10, 15, 20, 25, 30, 40, 50, 70])
def test_killed_at_any_moment_of_a_launch_the_same_token_is_still_one_machine(
    local_stand: LocalStand, tmp_path: Path, delay_ms: int
) -> None:
    count = tmp_path / "count"
    script = f"echo x >> {count}; exec sleep 1000"
    command = [sys.executable, "-c", LAUNCHER, str(local_stand.folder), script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as broker:
        assert broker.stdout
        broker.stdout.readline()
        time.sleep(delay_ms / 1000)
        broker.kill()
    made = local_stand.launch("at_1", script=script)
    assert local_stand.alive() == [made.id]
    until(count.exists)
    local_stand.provider.terminate(made.id)  # an init that came too late would begin now
    assert local_stand.alive() == []
    assert count.read_text() == "x\n"


@pytest.mark.parametrize("token", ["../up", "", ".hidden", "a/b", "a\0b", "x" * 200])
def test_a_token_that_is_no_name_is_refused(local_stand: LocalStand, token: str) -> None:
    with pytest.raises(RequestError):
        local_stand.launch(token)


def test_a_machine_sees_none_of_the_brokers_environment(
    local_stand: LocalStand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen = tmp_path / "seen"
    local_stand.launch("at_1", script=f"env > {seen}.part; mv {seen}.part {seen}; exec sleep 1000")
    until(seen.exists)
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "AWS_SECRET_ACCESS_KEY" not in names
    assert {"PATH", "HOME", "FEDBROKER_AGENT", "BROKER_MACHINE"} <= names
