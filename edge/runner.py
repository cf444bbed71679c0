"""The seam between the agent and the things it can run.

A runner carries out one order at a time in a thread of its own, in a folder of its own. The agent
owns the wire: the runner only tells its `Report` what happens.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from broker.model import OrderState


@dataclass(frozen=True, slots=True)
class Work:
    """An order as the agent got it. `spec` is plain JSON; its shape goes with `kind`."""

    id: str
    run_id: str
    kind: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is and where its files lie. All paths exist once the node is enrolled."""

    node_id: str
    name: str
    key: Path  # PEM, P-256, made here, never sent
    certificate: Path  # PEM, clientAuth and serverAuth, DNS name `<node_id>.node.fedbroker`
    ca: Path  # PEM, the broker's CA
    home: Path  # the agent's folder
    address: str  # host or IP under which other nodes may dial this machine
    flower_key: Path | None = None  # OpenSSH P-384 private key of this node's SuperNode
    datasets: dict[str, Path] = field(default_factory=dict)  # name -> file that never leaves


class Report(Protocol):
    """Where a runner says what happens. Calls never block on the network; they are kept and sent."""

    def state(
        self,
        state: OrderState,
        *,
        exit_code: int | None = None,
        detail: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        """RUNNING, READY (a service that serves), then exactly one of SUCCEEDED, FAILED, CANCELLED."""

    def log(self, data: bytes) -> None:
        """Append to the order's log."""

    def event(self, item: dict[str, Any]) -> None:
        """A structured record, e.g. `{"kind": "round", "round": 1, "loss": 0.3}`."""


class Runner(Protocol):
    """`run` blocks until the work has ended and no process of it is left, whatever happened.

    `stop` is set when the order is no longer wanted: end soon and report CANCELLED.
    An exception counts as FAILED with its text as detail.
    """

    def run(self, work: Work, folder: Path, report: Report, stop: threading.Event) -> None: ...
