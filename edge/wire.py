"""What an agent says to its broker, verb by verb. Every verb may be repeated.

Raises as `edge.channel` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from broker.errors import RequestError
from broker.model import Capacity, Dataset
from edge.channel import ANSWER_S, Answer, Channel, HungUpError, checked
from edge.identity import Credentials
from edge.runner import Work


@dataclass(frozen=True, slots=True)
class Beat:
    """What this node says about itself."""

    capacity: Capacity
    datasets: Sequence[Dataset] = ()
    labels: Mapping[str, str] | None = None
    country: str | None = None
    address: str = ""
    running: Sequence[str] = ()

    def to_json(self, sent_at: datetime) -> dict[str, Any]:
        return {
            "sent_at": sent_at.isoformat(),
            "capacity": asdict(self.capacity),
            "datasets": [asdict(dataset) for dataset in self.datasets],
            "labels": dict(self.labels or {}),
            "country": self.country,
            "address": self.address,
            "running": list(self.running),
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """An order that the broker holds for this node and that has not ended."""

    work: Work
    wanted: bool


class Wire:
    """One connection as this node. Used by one thread at a time, except `close`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._channel = Channel(credentials.agent_url, credentials.context)

    def heartbeat(self, beat: Beat) -> tuple[datetime, float]:
        """The broker's time, and how many seconds until it wants to hear from us again."""
        said = self._post("/v1/heartbeat", beat.to_json(datetime.now(UTC))).json()
        return datetime.fromisoformat(said["server_time"]), float(said["next_s"])

    def orders(self, tag: str, wait_s: int) -> tuple[str, list[Listed]] | None:
        """The open orders with their tag; None when nothing differs from `tag` within `wait_s`."""
        headers = {"if-none-match": tag} if tag else {}
        answer = self._ask(
            "GET", f"/v1/orders?wait_s={wait_s}", headers=headers, answer_s=wait_s + ANSWER_S
        )
        if answer.status == 304:
            return None
        orders = [_listed(item) for item in answer.json()["orders"]]
        return answer.headers.get("etag", ""), orders

    def report(self, order_id: str, said: Mapping[str, Any]) -> None:
        self._post(f"/v1/orders/{order_id}/report", said)

    def log(self, order_id: str, offset: int, data: bytes) -> int:
        """Where the broker wants the next byte from; less than sent when it has a gap."""
        path = f"/v1/orders/{order_id}/log?offset={offset}"
        answer = self._channel.ask("POST", path, data)
        if answer.status != 409:
            checked(answer)
        return int(answer.json()["offset"])

    def events(self, order_id: str, first: int, items: Sequence[Mapping[str, Any]]) -> None:
        self._post(f"/v1/orders/{order_id}/events", {"seq0": first, "items": list(items)})

    def renew(self, csr_pem: str) -> str:
        said = self._post("/v1/renew", {"csr_pem": csr_pem}).json()
        if not isinstance(found := said.get("certificate_pem"), str):
            raise RequestError("the broker's answer holds no certificate", code="EDG008")
        return found

    def close(self) -> None:
        """For good. Whoever waits for an answer gets an UnknownOutcomeError."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self._ask("POST", path, body)

    def _ask(self, *request: Any, **options: Any) -> Answer:
        """The refusal of a certificate that has just been replaced is no refusal of the node."""
        try:
            answer = self._channel.ask(*request, **options)
        except HungUpError:
            self._credentials.check(datetime.now(UTC))
            raise
        while answer.status == 403 and self._channel.outdated:
            answer = self._channel.ask(*request, **options)
        return checked(answer)


def _listed(item: Mapping[str, Any]) -> Listed:
    work = Work(item["id"], item["run_id"], item["kind"], item["spec"])
    return Listed(work, bool(item["wanted"]))
