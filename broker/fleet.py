"""Enrolled edge nodes as one more provider, and the verbs over them.

A launch on an edge node makes no machine: it gives the attempt a share of a node that is there.
That share is an `Allocation` row whose id is the launch token, so asking again finds it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from broker.diagnostics import suggest
from broker.errors import (
    CapacityError,
    ConflictError,
    NotFoundError,
    RequestError,
    UnknownOutcomeError,
    UsageError,
)
from broker.ids import new_id
from broker.model import (
    ENDED,
    Allocation,
    Event,
    Instance,
    InstanceState,
    Market,
    Node,
    NodeState,
    Offer,
    Order,
    OrderState,
    Price,
    Site,
)
from broker.ports import Store
from broker.trust.tokens import TTL, mint, random_token

MAX_ALLOCATIONS = 4  # at once on one node
_LISTED_FOR = timedelta(hours=1)  # a released share is shown as GONE for that long
_RETRIES = 20
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_OFFERED = (NodeState.ONLINE, NodeState.LOST, NodeState.DRAINED)
_AWAY = (NodeState.REVOKED, NodeState.GONE)
_OPEN = [state for state in OrderState if state not in ENDED]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Fleet:
    """A `ports.Provider` over the ledger's edge nodes. `sites` has the facts about each country."""

    def __init__(
        self,
        store: Store,
        sites: Mapping[str, Site] | None = None,
        *,
        name: str = "edge",
        limit: int = MAX_ALLOCATIONS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = name
        self._store = store
        self._sites = sites or {}
        self._limit = limit
        self._now = now

    def offers(self) -> Iterable[Offer]:
        """Every node that has enrolled; it is available when it is online and has a free share."""
        shares = self._shares()
        today = self._now().date().isoformat()
        nodes = self._store.find(Node, kind="edge", state=_OFFERED)
        return [self._offer(node, shares.get(node.id, 0), today) for node in nodes]

    def launch(self, offer: Offer, token: str, lease_id: str, user_data: str) -> Instance:
        """Give the attempt a share of the node; `user_data` is not run: the agent is there."""
        request = _hash(offer.node_id, lease_id, user_data)
        for _ in range(_RETRIES):
            known = self._store.find(Allocation, id=token)
            if known:
                return self._same(known[0], request)
            node = self._usable(offer)
            share = Allocation(token, node.id, lease_id, self._now(), request)
            try:
                self._store.commit(share, node)  # the node's version guards its state and its limit
            except ConflictError:
                continue
            return self._instance(share, node)
        raise UnknownOutcomeError(f"the ledger is busy: no share of {offer.node_id} yet")

    def instances(self) -> Sequence[Instance]:
        """Shares in use, and those released within the last hour as GONE."""
        nodes = {node.id: node for node in self._store.find(Node, kind="edge")}
        since = self._now() - _LISTED_FOR
        return [
            self._instance(share, nodes.get(share.node_id))
            for share in self._store.find(Allocation)
            if share.released_at is None or share.released_at > since
        ]

    def terminate(self, instance_id: str) -> None:
        """Give the share back and ask the agent to stop what the attempt still runs there."""
        for _ in range(_RETRIES):
            found = self._store.find(Allocation, id=instance_id, released=False)
            if not found:
                raise NotFoundError(f"no share {instance_id} is in use")
            share = replace(found[0], released=True, released_at=self._now())
            try:
                self._store.commit(share, *self._unwanted(share))
            except ConflictError:
                continue
            return
        raise UnknownOutcomeError(f"the ledger is busy: {instance_id} is not released yet")

    def _offer(self, node: Node, shares: int, today: str) -> Offer:
        held = node.capacity
        return Offer(
            cloud=self.name,
            region=node.name,
            zone=None,
            instance_type="node",
            market=Market.OWNED,
            vcpus=held.vcpus or None,
            memory_gib=held.memory_gib or None,
            accelerator=held.accelerator,
            accelerator_count=held.accelerator_count,
            price=Price(Decimal(0), today, "owner"),
            site=self._site(node.country),
            available=node.state is NodeState.ONLINE and shares < self._limit,
            node_id=node.id,
            datasets=tuple(sorted(data.name for data in node.datasets)),
            classes=tuple(
                sorted((data.name, data.data_class) for data in node.datasets if data.data_class)
            ),
            node=node.name,
        )

    def _site(self, country: str | None) -> Site:
        known = self._sites.get(country or "", Site())
        return replace(known, country=country, source=known.source or "owner")

    def _usable(self, offer: Offer) -> Node:
        """The offer's node, when it can take one more. CapacityError: it cannot, try another."""
        found = self._store.find(Node, id=offer.node_id or "", kind="edge")
        if not found:
            raise CapacityError(f"no edge node {offer.node_id} is enrolled")
        node = found[0]
        if node.state is not NodeState.ONLINE:
            raise CapacityError(f"{node.name} is {node.state}")
        if self._shares().get(node.id, 0) >= self._limit:
            raise CapacityError(f"all {self._limit} shares of {node.name} are in use")
        return node

    def _shares(self) -> dict[str, int]:
        """Node id -> shares in use."""
        count: dict[str, int] = {}
        for share in self._store.find(Allocation, released=False):
            count[share.node_id] = count.get(share.node_id, 0) + 1
        return count

    def _same(self, share: Allocation, request: str) -> Instance:
        if share.request != request:
            raise RequestError(f"the token {share.id} belongs to another launch")
        found = self._store.find(Node, id=share.node_id)
        return self._instance(share, found[0] if found else None)

    def _instance(self, share: Allocation, node: Node | None) -> Instance:
        """LOST and DRAINED nodes still run: unknown is not absent."""
        away = node is None or node.state in _AWAY
        gone = share.released or away
        return Instance(
            id=share.id,
            cloud=self.name,
            region=node.name if node else share.node_id,
            attempt_id=share.id,
            lease_id=share.lease_id,
            state=InstanceState.GONE if gone else InstanceState.RUNNING,
            launched_at=share.created_at,
            reason=f"the node is {node.state if node else 'unknown'}" if away else "",
        )

    def _unwanted(self, share: Allocation) -> Iterator[Order]:
        for order in self._store.find(Order, attempt_id=share.id, state=_OPEN, wanted=True):
            yield replace(order, wanted=False)


def invite(
    store: Store,
    name: str,
    country: str | None = None,
    *,
    now: datetime,
    ttl: timedelta = TTL,
) -> tuple[str, Node]:
    """A one-time secret for a node of this name, new or already known (it may have lost its key).

    UsageError FLT001 for a bad name, FLT002 for a bad country, FLT003 when the node already runs.
    """
    _check_names(name, country)
    known = [node for node in nodes(store) if node.name == name and node.state not in _AWAY]
    if known and known[0].state is NodeState.ONLINE:
        raise UsageError(
            f"{name} is already enrolled and online", code="FLT003", hint="revoke it first"
        )
    node = _invited(known[0] if known else None, name, now)
    node = replace(node, country=country or node.country)
    secret, token, node = mint(node, random_token(), now, ttl)
    store.commit(token, node, _event(node, now, "node.invited", f"{name} is invited"))
    return secret, node


def nodes(store: Store) -> list[Node]:
    """All edge nodes, by id, so the oldest first."""
    return store.find(Node, kind="edge")


def node_named(store: Store, word: str) -> Node:
    """The edge node with this id or name; of several with one name the newest that is not away."""
    every = nodes(store)
    found = [node for node in every if word in (node.id, node.name)]
    found.sort(key=lambda node: (node.id == word, node.state not in _AWAY, node.id))
    if not found:
        hint = suggest(word, {node.name for node in every})
        raise NotFoundError(f"no edge node `{word}`", hint=hint)
    return found[-1]


def drain(store: Store, node_id: str, now: datetime) -> Node:
    """Give the node no new work; what runs there may end."""
    return _moved(store, node_id, NodeState.DRAINED, now)


def resume(store: Store, node_id: str, now: datetime) -> Node:
    """Undo `drain`: the node counts as lost until it is heard again, some seconds later."""
    return _moved(store, node_id, NodeState.LOST, now, only=NodeState.DRAINED)


def revoke(store: Store, node_id: str, now: datetime) -> Node:
    """Refuse the node's certificates and tokens from the next request on."""
    return _moved(store, node_id, NodeState.REVOKED, now)


def _moved(
    store: Store, node_id: str, state: NodeState, now: datetime, only: NodeState | None = None
) -> Node:
    """Guarded: a heartbeat at the same moment changes nothing back. Revoked stays revoked."""
    for _ in range(_RETRIES):
        node = node_named(store, node_id)
        if node.state in (state, *_AWAY) or (only and node.state is not only):
            return node
        after = replace(node, state=state)
        try:
            store.commit(after, _event(after, now, f"node.{state}", f"{node.name} is {state}"))
        except ConflictError:
            continue
        return node_named(store, node.id)
    raise ConflictError("the ledger is busy", hint="try again")


def _check_names(name: str, country: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"`{name}` is no name for a node",
            code="FLT001",
            hint="a small letter, then up to 40 small letters, digits and hyphens",
        )
    if country is not None and not _COUNTRY.fullmatch(country):
        raise UsageError(f"`{country}` is no country code", code="FLT002", hint="e.g. NO")


def _invited(known: Node | None, name: str, now: datetime) -> Node:
    return known or Node(new_id("nd", now, secrets.token_bytes(8)), name, "edge", now)


def _hash(*parts: str | None) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _event(node: Node, now: datetime, kind: str, message: str) -> Event:
    return Event(new_id("ev", now, secrets.token_bytes(8)), now, node.id, "", kind, message)
