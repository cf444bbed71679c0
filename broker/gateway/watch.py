"""Long polls that cost the ledger one read for all who wait, not one for each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from broker.model import Order

EVERY_S = 0.2


def tag_of(orders: Iterable[Order]) -> str:
    """An ETag that changes exactly when an order comes or goes, or its `wanted` does."""
    facts = sorted((order.id, order.wanted) for order in orders)
    return f'"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    tag: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class OrderWatch:
    """`read` gives all open orders. Whoever runs `wake` again and again sets the pace (`EVERY_S`).

    While nobody waits, `wake` waits too and nothing is read. Lives in one event loop.
    """

    def __init__(self, read: Callable[[], Awaitable[Sequence[Order]]]) -> None:
        self._read = read
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._some = asyncio.Event()
        self.closed = False

    async def wait(self, node_id: str, tag: str, seconds: float) -> None:
        """Returns when the node's orders may differ from `tag`, when time is up, or at the end."""
        if self.closed:
            return
        with self._waiting(node_id, tag) as waiter, contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiter.woken.wait(), seconds)

    async def wake(self) -> None:
        """One read for all who wait; those whose orders differ are woken."""
        await self._some.wait()
        self._compare(await self._read())

    def close(self) -> None:
        """Wake everybody; nobody waits any more."""
        self.closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    def _compare(self, orders: Iterable[Order]) -> None:
        by_node: dict[str, list[Order]] = defaultdict(list)
        for order in orders:
            by_node[order.node_id].append(order)
        for node_id, waiters in self._waiters.items():
            tag = tag_of(by_node.get(node_id, ()))
            for waiter in waiters:
                if waiter.tag != tag:
                    waiter.woken.set()

    @contextlib.contextmanager
    def _waiting(self, node_id: str, tag: str) -> Iterator[_Waiter]:
        waiter = _Waiter(tag)
        self._waiters[node_id].add(waiter)
        self._some.set()
        try:
            yield waiter
        finally:
            self._waiters[node_id].discard(waiter)
            if not self._waiters[node_id]:
                del self._waiters[node_id]
            if not self._waiters:
                self._some.clear()
