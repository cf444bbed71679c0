"""A cloud in memory: a little world with scarcity, slow sight, lost replies and strangers in it.

It keeps the contract of `ports.Provider` and breaks the same promises that real clouds break, but
on demand and repeatably: nothing in it is random and the time is the caller's.

    cloud = FakeCloud("sim", offers, now=clock.now, habits=Habits(lag=2))
    cloud.capacity["eu-1a"] = 0                    # that zone is sold out
    cloud.fail("launch", when="after")             # the next launch acts, its reply is lost
    cloud.fail("instances", CapacityError("503"))  # the next listing fails
    cloud.preempt(machine.id)
    assert cloud.alive() == [...]
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from broker.errors import (
    BrokerError,
    CapacityError,
    NotFoundError,
    RequestError,
    UnknownOutcomeError,
)
from broker.model import Instance, InstanceState, Offer

Verb = Literal["offers", "launch", "instances", "terminate"]
When = Literal["before", "after", "late"]

OURS = "ours"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Habits:
    """How this cloud behaves. Delays are counted in listings: a test decides how time goes by."""

    honours_tokens: bool = True  # the same token twice gives the same machine
    lag: int = 0  # listings in which a new machine is not shown, and cannot be terminated
    boot: int = 0  # listings in which a machine is PENDING before it runs
    stop: int = 0  # listings in which a machine is STOPPING before it is GONE
    linger: int = 2  # listings in which a GONE machine is still shown
    late: timedelta = timedelta(seconds=10)  # how long a late request stays on its way


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong once.

    before: `error` is raised and nothing happens; after: it happens, then `error` is raised;
    late: `error` is raised now, it happens `Habits.late` from now. With `gate` the call first
    waits until the gate is set: a hung request.
    """

    error: BaseException | None
    when: When = "before"
    gate: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call that arrived, as it was made."""

    verb: Verb
    at: datetime
    args: tuple[object, ...] = ()


@dataclass(slots=True)
class Machine:
    """What is really there, whether the listing shows it yet or not."""

    id: str
    offer: Offer
    token: str
    lease_id: str
    user_data: str
    launched_at: datetime
    owner: str = OURS
    state: InstanceState = InstanceState.PENDING
    reason: str = ""
    unseen: int = 0  # listings until it is shown
    steps: int = 0  # listings until its state moves on

    @property
    def alive(self) -> bool:
        """It runs or is about to: it costs, and nobody has ended it."""
        return self.state in {InstanceState.PENDING, InstanceState.RUNNING}


@dataclass
class FakeCloud:
    """A provider whose machines live in `machines`. A test may read and turn all that is public.

    `capacity` maps an offer's key, or a zone or region, to how many live machines it carries in
    all; what is not named there is never sold out.
    """

    name: str
    catalog: Sequence[Offer]
    now: Callable[[], datetime]
    habits: Habits = Habits()
    capacity: dict[str, int] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._faults: defaultdict[Verb, deque[Fault]] = defaultdict(deque)
        self._late: list[tuple[datetime, Callable[[], object]]] = []
        self._tokens: dict[str, tuple[str, tuple[object, ...]]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------------ the four verbs

    def offers(self) -> Iterable[Offer]:
        """The catalog, with `available=False` where nothing is left."""
        return self._carry_out("offers", self._catalog)

    def launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Instance:
        def act() -> Instance:
            return self._shown(self._launch(offer, token, lease_id, user_data))

        return self._carry_out("launch", act, offer, token, lease_id, user_data)

    def instances(self) -> Sequence[Instance]:
        return self._carry_out("instances", self._list)

    def terminate(self, instance_id: str) -> None:
        self._carry_out("terminate", lambda: self._terminate(instance_id), instance_id)

    # ------------------------------------------------------------------------- what a test may turn

    def fail(
        self,
        verb: Verb,
        error: BaseException | None = None,
        when: When = "before",
        *,
        times: int = 1,
        gate: threading.Event | None = None,
    ) -> None:
        """The next `times` calls of `verb` go wrong. Without an error: the reply is lost."""
        default = None if gate else UnknownOutcomeError(f"{self.name}: connection reset by peer")
        self._faults[verb].extend([Fault(error or default, when, gate)] * times)

    def preempt(self, instance_id: str, reason: str = "spot capacity was reclaimed") -> None:
        """The cloud takes a machine back."""
        with self._lock:
            self._end(self.machines[instance_id], reason)

    def vanish(self, instance_id: str) -> None:
        """A machine is gone from one moment to the next and is never listed again."""
        with self._lock:
            self.machines[instance_id].state = InstanceState.GONE
            self.machines[instance_id].steps = 0

    def add_foreign(self, offer: Offer, owner: str = "somebody else", token: str = "") -> Machine:
        """A machine of another owner, in the same account."""
        with self._lock:
            return self._make(offer, token, "theirs", "", owner)

    def alive(self, owner: str = OURS) -> list[Machine]:
        """The machines that really run, shown or not, oldest first."""
        with self._lock:
            self._arrive()
            return [item for item in self.machines.values() if item.alive and item.owner == owner]

    def calls_of(self, verb: Verb) -> list[Call]:
        return [call for call in self.calls if call.verb == verb]

    @property
    def settled(self) -> bool:
        """Nothing is on its way any more and no fault waits for its call."""
        return not self._late and not any(self._faults.values())

    # -------------------------------------------------------------------------------- how it works

    def _carry_out(self, verb: Verb, act: Callable[[], T], *args: object) -> T:
        with self._lock:
            self.calls.append(Call(verb, self.now(), args))
            self._arrive()
            faults = self._faults[verb]
            fault = faults.popleft() if faults else Fault(None)
        if fault.gate:
            fault.gate.wait()
        with self._lock:
            return self._act(fault, act)

    def _act(self, fault: Fault, act: Callable[[], T]) -> T:
        if fault.error is None:
            return act()
        if fault.when == "after":
            act()
        elif fault.when == "late":
            self._late.append((self.now() + self.habits.late, act))
        raise fault.error

    def _arrive(self) -> None:
        """Requests that were late act when their time has come; nobody hears their errors."""
        due = [act for at, act in self._late if at <= self.now()]
        self._late = [(at, act) for at, act in self._late if at > self.now()]
        for act in due:
            with contextlib.suppress(BrokerError):
                act()

    def _catalog(self) -> list[Offer]:
        return [replace(offer, available=self._has_room(offer)) for offer in self.catalog]

    def _launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Machine:
        request = (offer.key, lease_id, user_data)
        known = self._tokens.get(token) if self.habits.honours_tokens else None
        if known and known[1] != request:
            raise RequestError(f"{self.name}: the token {token} belongs to another request")
        if known:
            return self.machines[known[0]]
        if not self._has_room(offer):
            raise CapacityError(
                f"{self.name}: no capacity for {offer.instance_type} in {offer.key}"
            )
        machine = self._make(offer, token, lease_id, user_data, OURS)
        self._tokens[token] = (machine.id, request)
        return machine

    def _make(self, offer: Offer, token: str, lease_id: str, user_data: str, owner: str) -> Machine:
        machine = Machine(
            id=f"i-{self.name}-{next(self._numbers):05d}",
            offer=offer,
            token=token,
            lease_id=lease_id,
            user_data=user_data,
            launched_at=self.now(),
            owner=owner,
            unseen=self.habits.lag,
            steps=self.habits.boot,
        )
        self.machines[machine.id] = machine
        return machine

    def _has_room(self, offer: Offer) -> bool:
        return all(
            sum(item.alive and name in _pools(item.offer) for item in self.machines.values())
            < self.capacity[name]
            for name in _pools(offer) & self.capacity.keys()
        )

    def _list(self) -> list[Instance]:
        ours = [item for item in self.machines.values() if item.owner == OURS]
        return [self._shown(item) for item in ours if self._step(item)]

    def _step(self, item: Machine) -> bool:
        """Let one listing go by for a machine; whether this listing shows it."""
        if item.unseen:
            item.unseen -= 1
            return False
        if not item.steps and item.state is InstanceState.PENDING:
            item.state = InstanceState.RUNNING
        elif not item.steps and item.state is InstanceState.STOPPING:
            item.state, item.steps = InstanceState.GONE, self.habits.linger
        elif not item.steps and item.state is InstanceState.GONE:
            return False
        item.steps = max(0, item.steps - 1)
        return True

    def _shown(self, item: Machine) -> Instance:
        return Instance(
            id=item.id,
            cloud=self.name,
            region=item.offer.region,
            attempt_id=item.token,
            lease_id=item.lease_id,
            state=item.state,
            launched_at=item.launched_at,
            reason=item.reason,
        )

    def _terminate(self, instance_id: str) -> None:
        item = self.machines.get(instance_id)
        if item is None or item.unseen or item.state is InstanceState.GONE:
            raise NotFoundError(f"{self.name}: there is no machine {instance_id}")
        if item.alive:
            self._end(item, "terminated on request")

    def _end(self, item: Machine, reason: str) -> None:
        item.state, item.steps, item.reason = InstanceState.STOPPING, self.habits.stop, reason


def _pools(offer: Offer) -> set[str]:
    """The names under which a test may say how much there is of an offer."""
    return {offer.key, offer.region, offer.zone or offer.region}
