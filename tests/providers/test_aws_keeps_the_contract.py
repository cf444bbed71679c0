"""`aws` on the sandbox keeps the laws of `ports.Provider`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from broker.model import Market, Offer
from broker.sandbox.starter import Sandbox
from providers import machines
from providers.aws import Aws
from providers.aws_session import AwsSettings
from tests.providers.conformance import SCRIPT, ProviderLaws, Stand
from tests.stands.ec2 import inventory

REGIONS = ("us-east-1", "eu-central-1")
OFFER = Offer("aws", "us-east-1", "use1-az2", "g5.xlarge", Market.SPOT, 4, 16, "A10G", 1)


class AwsStand(Stand):
    runs_user_data = True

    def __init__(self, sandbox: Sandbox, owner: str) -> None:
        self.sandbox = sandbox
        self.owner = owner
        self.offer = OFFER
        self.provider = Aws(AwsSettings.of(sandbox.settings("aws", REGIONS, owner)))
        settings = sandbox.settings("aws", REGIONS, f"{owner}-stranger")
        self.stranger = Aws(AwsSettings.of(settings))

    def alive(self) -> list[str]:
        held = inventory(self.sandbox, self.owner, *REGIONS)
        return [item.id for item in held if item.runs]

    def sell_out(self) -> None:
        self.sandbox.control(capacity={"g5.xlarge@us-east-1d": 0, "g5.xlarge@*": 0})

    def restock(self) -> None:
        self.sandbox.control(capacity={})

    def add_foreign(self) -> str:
        return self.stranger.launch(OFFER, f"foreign-{id(self)}", "ls_x", SCRIPT).id

    def foreign_lives(self, instance_id: str) -> bool:
        return machines.alive(self.sandbox.machine(instance_id))

    def break_listing(self) -> None:
        broken = {"action": "DescribeInstances", "region": "eu-central-1", "status": 400}
        self.sandbox.control(fail=[{**broken, "code": "AuthFailure", "times": 9}])

    def mend_listing(self) -> None:
        self.sandbox.control(fail=[])

    def take_away(self, instance_id: str) -> None:
        born = (self.sandbox.machine(instance_id) / "born").read_text()
        os.kill(int(born.partition(":")[0]), signal.SIGKILL)

    def lose_reply(self) -> None:
        self.sandbox.control(drop=1)


class TestAws(ProviderLaws):
    @pytest.fixture
    def stand(self, sandbox: Sandbox, owner: str) -> Iterator[Stand]:
        made = AwsStand(sandbox, owner)
        yield made
        for item in inventory(sandbox, owner, *REGIONS):
            if item.runs:
                made.provider.terminate(item.id)
