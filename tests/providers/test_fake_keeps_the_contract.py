"""The fake cloud keeps the laws of `ports.Provider`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.errors import UnknownOutcomeError
from broker.model import Market, Offer
from providers.fake import FakeCloud
from tests.providers.conformance import ProviderLaws, Stand

OFFER = Offer("sim", "eu-1", "eu-1a", "small", Market.SPOT, vcpus=2, memory_gib=4)


class FakeStand(Stand):
    def __init__(self) -> None:
        self.offer = OFFER
        self.cloud = FakeCloud("sim", [OFFER], now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.provider = self.cloud

    def alive(self) -> list[str]:
        return [item.id for item in self.cloud.alive()]

    def sell_out(self) -> None:
        self.cloud.capacity["eu-1a"] = 0

    def restock(self) -> None:
        self.cloud.capacity.clear()

    def add_foreign(self) -> str:
        return self.cloud.add_foreign(OFFER).id

    def foreign_lives(self, instance_id: str) -> bool:
        return self.cloud.machines[instance_id].alive

    def break_listing(self) -> None:
        self.cloud.fail("instances", UnknownOutcomeError("eu-2 does not answer"))

    def mend_listing(self) -> None:
        """The fault has struck."""

    def take_away(self, instance_id: str) -> None:
        self.cloud.preempt(instance_id)

    def lose_reply(self) -> None:
        self.cloud.fail("launch", when="after")


class TestFakeCloud(ProviderLaws):
    @pytest.fixture
    def stand(self) -> Stand:
        return FakeStand()
