"""The invitation that goes with each launched machine, and the user data that carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.errors import ConflictError
from broker.model import Attempt, JoinToken, Lease, Node
from broker.ports import Store
from broker.trust.tokens import attempt_token, mint, token_hash
from broker.userdata import JoinInfo, user_data

TTL = timedelta(hours=1)  # from the last time the launch was asked for


@dataclass(frozen=True, slots=True)
class MachineInvitations:
    """Called with a lease whose attempt is committed: its user data, the same bytes every time.

    The node and the hash of its token are in the ledger before the user data is given away. While
    the token is unused each call makes it last for another hour, so a launch whose outcome stays
    unknown for long can still enrol. An edge node already has its agent and gets "".
    """

    store: Store
    key: bytes
    url: Callable[[], str]  # of the enrolment listener
    ca_pin: str
    version: str
    now: Callable[[], datetime]
    extras: tuple[str, ...] = ()

    def __call__(self, lease: Lease) -> str:
        attempt = lease.attempt
        if attempt is None or attempt.offer.node_id:
            return ""
        secret = attempt_token(self.key, attempt.id)
        self._record(lease, attempt, secret)
        return user_data(JoinInfo(self.url(), secret, self.ca_pin), self.version, self.extras)

    def _record(self, lease: Lease, attempt: Attempt, secret: str) -> None:
        now = self.now()
        try:
            found = self.store.find(JoinToken, id=token_hash(secret))
            if not found:
                _, token, node = mint(machine_node(lease, attempt, now), secret, now, TTL)
                self.store.commit(node, token)
            elif found[0].used_at is None and found[0].expires_at < now + TTL / 2:
                self.store.commit(replace(found[0], expires_at=now + TTL))
        except ConflictError:
            return  # somebody else recorded it, or the machine has just enrolled: both are enough


def machine_node(lease: Lease, attempt: Attempt, now: datetime) -> Node:
    """The node that the machine of this attempt will be; its id follows from the attempt's."""
    return Node(
        id=f"nd_{attempt.id.partition('_')[2] or attempt.id}",
        name=f"{lease.role}-{lease.rank}",
        kind="cloud",
        created_at=now,
        attempt_id=attempt.id,
        country=attempt.offer.site.country,
    )
