"""Flower's grid with names, deadlines and a shorter breath.

The stock grid sleeps three seconds between looks, lets an unanswered message live for twelve hours
(so that a slow site works through the rounds of yesterday), and answers for a dead site under
another's id. Here a message expires with its round, and a reply is known by what it replies to.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from broker.fl.book import Book, Terms

POLL_S = 0.5
TIMEOUT_S = 120.0


class Federation:
    """Stands where Flower's `Grid` is wanted. Sites go by the names they are registered under."""

    def __init__(
        self, grid: Any, terms: Terms, *, timeout_s: float = TIMEOUT_S, poll_s: float = POLL_S
    ) -> None:
        self.terms = terms
        self.book = Book(terms.artifacts)
        self.timeout_s = timeout_s
        self._grid = grid
        self._poll_s = poll_s
        self._names: dict[int, str] = {}
        self._asked: dict[str, int] = {}  # message id -> node id, of the last exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def online(self) -> list[int]:
        """Flower ids of the sites that are there now, by name."""
        nodes = list(self._grid.get_nodes())
        self._names |= {node.node_id: node.name or str(node.node_id) for node in nodes}
        return sorted((node.node_id for node in nodes), key=self._names.__getitem__)

    def site(self, reply: Any) -> str:
        """Whose reply it is: errors come from the SuperLink itself, so its sender does not tell."""
        node_id = self._asked.get(reply.metadata.reply_to_message_id, reply.metadata.src_node_id)
        return self._names.get(node_id, str(node_id))

    @property
    def asked(self) -> list[str]:
        """Names of the sites that the last exchange asked."""
        return sorted(self._names.get(node_id, str(node_id)) for node_id in self._asked.values())

    def ask(self, message_type: str, content: Any) -> list[Any]:
        """The replies of every site that is there, within the time of a round."""
        from flwr.app import Message

        return self.send_and_receive(
            [
                Message(content, dst_node_id=node, message_type=message_type)
                for node in self.online()
            ]
        )

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> list[Any]:
        """As Flower's own, but late replies and dead sites end after `timeout` seconds."""
        limit_s = self.timeout_s if timeout is None else min(timeout, self.timeout_s)
        letters = list(messages)
        for letter in letters:
            letter.metadata.ttl = limit_s
        self._asked = {}
        if not letters:
            return []
        ids = list(self._grid.push_messages(letters))
        self._asked = {
            sent: letter.metadata.dst_node_id
            for sent, letter in zip(ids, letters, strict=True)
            if sent is not None
        }
        return self._collect(set(self._asked), time.monotonic() + limit_s)

    def _collect(self, pending: set[str], deadline: float) -> list[Any]:
        replies: list[Any] = []
        while pending and time.monotonic() < deadline:
            came = list(self._grid.pull_messages(pending))
            replies += came
            pending -= {reply.metadata.reply_to_message_id for reply in came}
            if pending:
                time.sleep(self._poll_s)
        return replies
