"""What a test or a demo can make the sandbox do wrong. Pure but for its lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

EVERYWHERE = "*"


@dataclass(slots=True)
class Failure:
    """An answer that a call gets instead of being done, `times` times. Empty region = any."""

    action: str
    code: str
    status: int = 503
    message: str = "made to fail"
    region: str = ""
    times: int = 1


@dataclass
class Faults:
    """`capacity` bounds how many instances may live: by "type@zone", "type@*" or "*".

    `drop`: so many replies to an action are lost after it was done. `cut`: the same, but half of
    the reply arrives. `lag_s`: for how long a new instance is invisible to Describe and Terminate.
    `forgetful`: client tokens are ignored, as by clouds that have none.
    """

    capacity: dict[str, int] = field(default_factory=dict)
    fail: list[Failure] = field(default_factory=list)
    drop: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    lag_s: float = 0
    forgetful: bool = False
    _lock: Lock = field(default_factory=Lock, repr=False)

    def update(self, wanted: Mapping[str, Any]) -> None:
        """Replace each part that is named: capacity, fail, drop, cut, lag, forgetful."""
        with self._lock:
            if "capacity" in wanted:
                self.capacity = {str(key): int(count) for key, count in wanted["capacity"].items()}
            if "fail" in wanted:
                self.fail = [Failure(**item) for item in wanted["fail"]]
            if "drop" in wanted:
                self.drop = _counts(wanted["drop"])
            if "cut" in wanted:
                self.cut = _counts(wanted["cut"])
            self.lag_s = float(wanted.get("lag", self.lag_s))
            self.forgetful = bool(wanted.get("forgetful", self.forgetful))

    def take_failure(self, action: str, region: str) -> Failure | None:
        """The failure that this call gets, used up by one; None = do it."""
        with self._lock:
            for item in self.fail:
                if item.action == action and item.region in ("", region) and item.times > 0:
                    item.times -= 1
                    return item
        return None

    def take(self, what: str, action: str) -> bool:
        """Whether this reply is to be lost ("drop") or halved ("cut"), used up by one."""
        counts: dict[str, int] = getattr(self, what)
        with self._lock:
            left = counts.get(action, 0)
            counts[action] = max(0, left - 1)
        return left > 0

    def room(self, instance_type: str, zone: str, living: Iterable[tuple[str, str]]) -> bool:
        """Whether one more of this type fits in this zone beside the `living` (type, zone)s."""
        placed = list(living)
        limits = {
            f"{instance_type}@{zone}": placed.count((instance_type, zone)),
            f"{instance_type}@{EVERYWHERE}": sum(kind == instance_type for kind, _ in placed),
            EVERYWHERE: len(placed),
        }
        return all(used < self.capacity.get(key, used + 1) for key, used in limits.items())


def _counts(wanted: int | Mapping[str, int]) -> dict[str, int]:
    """A bare number means launches."""
    if isinstance(wanted, int):
        return {"RunInstances": wanted}
    return {str(key): int(count) for key, count in wanted.items()}
