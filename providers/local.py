"""`local`: this computer as a cloud. A lease is a process tree in a folder (see `machines`).

One offer, at no price, as long as fewer than `capacity` machines run. The machines outlive the
command that launched them, as those of any cloud do.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from broker.errors import (
    CapacityError,
    ConflictError,
    NotFoundError,
    RequestError,
    UnknownOutcomeError,
)
from broker.model import Instance, InstanceState, Market, Offer, Price, Site
from providers import machines
from providers.machines import Machine

TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")
INSTANCE_TYPE = "local"
REGION = "local"


@dataclass(eq=False)
class Local:
    """The provider. `folder` holds a folder for each machine; `owner` is whose machines these are.

    A machine that ended is listed as GONE for `forget_after_s`, then its folder is removed.
    """

    name: str
    folder: Path
    owner: str
    country: str | None = None
    capacity: int = 16
    forget_after_s: float = 3600
    env: Mapping[str, str] = field(default_factory=lambda: {"FEDBROKER_AGENT": agent_command()})
    clock: Callable[[], float] = time.time

    def offers(self) -> Iterable[Offer]:
        """One offer, unavailable while every place is taken."""
        today = datetime.fromtimestamp(self.clock(), UTC).date().isoformat()
        return (
            Offer(
                cloud=self.name,
                region=REGION,
                zone=None,
                instance_type=INSTANCE_TYPE,
                market=Market.OWNED,
                vcpus=float(len(os.sched_getaffinity(0))),
                memory_gib=_memory_gib(),
                price=Price(Decimal(0), as_of=today, source="owned"),
                site=Site(country=self.country, source="config"),
                available=len(self._living()) < self.capacity,
            ),
        )

    def launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Instance:
        """Boot the machine of this token; the same one when it was booted before."""
        if not TOKEN.fullmatch(token):
            raise RequestError(f"{self.name}: not a token: {token!r}")
        place = self.folder / token
        note = {"owner": self.owner, "lease": lease_id, "attempt": token, "offer": offer.key}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with machines.locked(self.folder / ".lock"):  # counting and booting are one step
            if machines.look(place) is None and len(self._living()) >= self.capacity:
                raise CapacityError(f"{self.name}: all {self.capacity} machines are taken")
            try:
                machine = machines.boot(place, user_data, self.env, note=note)
            except ConflictError as exc:  # it exists: to call this a refusal would lose it
                raise UnknownOutcomeError(f"{self.name}: {exc.message}") from exc
        return self._instance(machine)

    def instances(self) -> Sequence[Instance]:
        """Our machines, the ended ones until they are forgotten."""
        found = self._ours()
        for machine in found:
            if machine.ended_at and machine.ended_at + self.forget_after_s < self.clock():
                shutil.rmtree(machine.folder, ignore_errors=True)
        return [self._instance(machine) for machine in found if machine.folder.exists()]

    def terminate(self, instance_id: str) -> None:
        """End the whole process tree; it is gone when this returns."""
        ours = {machine.folder.name: machine for machine in self._ours()}
        if instance_id not in ours or not ours[instance_id].alive:
            raise NotFoundError(f"{self.name}: no machine {instance_id} runs")
        machines.stop(self.folder / instance_id)

    def _ours(self) -> list[Machine]:
        seen = (machines.look(place) for place in _folders(self.folder))
        return [item for item in seen if item is not None and item.note["owner"] == self.owner]

    def _living(self) -> list[Path]:
        return [place for place in _folders(self.folder) if machines.alive(place)]

    def _instance(self, machine: Machine) -> Instance:
        return Instance(
            id=machine.folder.name,
            cloud=self.name,
            region=REGION,
            attempt_id=machine.note["attempt"],
            lease_id=machine.note["lease"],
            state=InstanceState.RUNNING if machine.alive else InstanceState.GONE,
            launched_at=datetime.fromtimestamp(machine.born_at, UTC),
            reason=machine.cause,
        )


def connect(
    name: str, folder: str, owner: str, country: str | None = None, capacity: int = 16
) -> Local:
    """A `Local` from settings as they stand in a file."""
    return Local(name, Path(folder), owner, country, capacity)


def agent_command() -> str:
    """How user data starts the agent on a machine that shares this interpreter."""
    return f"{sys.executable} -m edge"


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(item for item in root.iterdir() if TOKEN.fullmatch(item.name) and item.is_dir())


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
