"""Orders of kind "superlink": carry one federation on the aggregator's machine.

SuperLink on loopback; the sites' keys registered; the listener opened and READY said with its
address; the app submitted once enough sites are online, and watched until its result record is
there. When `run` returns, every process of it has ended and every port is closed.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker.errors import BrokerError, RequestError
from broker.model import OrderState
from edge.flower import install
from edge.flower.artifacts import collect
from edge.flower.control import Control, RunStatus, SuperLink, connect
from edge.flower.listener import FleetListener, Upstream
from edge.flower.output import Output
from edge.flower.service import House, Server, make_private, start_superlink, superexec
from edge.flower.spec import Federation, federation_of
from edge.flower.tls import make_loopback
from edge.flower.verdict import Records, judge, read_result
from edge.processes import ProcessGroup
from edge.runner import Identity, Report, Work

POLL_S = 0.25
GRACE_S = 1.0  # what it kept in memory is of no use any more
LAST_WORDS_S = 3.0  # for the app to end and its last lines to come


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    start_s: float = 90.0  # for the SuperLink to serve
    join_s: float = 900.0  # for `min_sites` to come online
    rest_s: float = 20.0  # then for the remaining sites
    look_s: float = 1.0  # between two questions to the SuperLink


@dataclass(slots=True)
class _Stage:
    """One order while it is carried out."""

    order_id: str
    folder: Path
    report: Report
    stop: threading.Event
    federation: Federation
    sites: dict[str, str] = field(default_factory=dict)  # Flower id -> node id
    listener: FleetListener | None = None
    result: dict[str, Any] | None = None

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"


class SuperLinkRunner:
    def __init__(self, identity: Identity, patience: Patience | None = None) -> None:
        self._identity = identity
        self._patience = patience or Patience()

    def run(self, work: Work, folder: Path, report: Report, stop: threading.Event) -> None:
        install.require()
        stage = _Stage(work.id, folder, report, stop, federation_of(work.spec))
        stage.artifacts.mkdir(parents=True, exist_ok=True)
        report.state(OrderState.RUNNING)
        environ = install.environment(folder / "flwr", _told(stage), os.environ)
        loopback = make_loopback(folder, datetime.now(UTC))
        with ExitStack() as closing:
            group = closing.enter_context(ProcessGroup(work.id, GRACE_S))
            house = House(group, folder, environ, loopback, make_private(folder))
            try:
                state, words = self._carry(stage, house, closing)
            except BrokerError as exc:
                state, words = OrderState.FAILED, exc.message
        if stop.is_set():
            state, words = OrderState.CANCELLED, "stopped"
        if state is OrderState.FAILED:
            _explain(stage)
        report.state(state, detail=words, data=_outcome(stage))

    def _carry(self, stage: _Stage, house: House, closing: ExitStack) -> tuple[OrderState, str]:
        server = start_superlink(house, stage.stop, self._patience.start_s)
        house.start(superexec(house, server.address, tls=True), Output(stage.folder / "apps.log"))
        home = stage.folder / "flwr"
        link = SuperLink(server.address, house.loopback.certificate, home, stage.order_id)
        control = connect(link)
        for member in stage.federation.members.values():
            stage.sites[control.register(member.key, member.name)] = member.node_id
        self._open(stage, closing, Upstream(server.port, house.loopback.client()))
        if self._gather(stage, control, server):
            self._watch(stage, control, server)
        return judge(stage.result, stage.federation.rounds, stage.federation.min_sites)

    def _open(self, stage: _Stage, closing: ExitStack, upstream: Upstream) -> None:
        audit = stage.folder / "audit.jsonl"
        listener = FleetListener(self._identity, stage.federation.members, upstream, audit)
        closing.callback(listener.close)
        stage.listener = listener
        address = f"{self._identity.address}:{listener.start()}"
        name = f"{self._identity.node_id}.node.fedbroker"
        stage.report.state(OrderState.READY, data={"address": address, "name": name})

    def _gather(self, stage: _Stage, control: Control, server: Server) -> bool:
        """True when the run may begin, False when it is to stop. RequestError: too few came."""
        federation, start, enough = stage.federation, time.monotonic(), 0.0
        while not stage.stop.wait(self._patience.look_s / 2):
            server.check()
            present = control.online() & stage.sites.keys()
            now = time.monotonic()
            if len(present) >= federation.min_sites:
                enough = enough or now
                if len(present) == len(federation.members) or now - enough > self._patience.rest_s:
                    return True
            elif now - start > self._patience.join_s:
                raise RequestError(_too_few(stage, present))
        return False

    def _watch(self, stage: _Stage, control: Control, server: Server) -> None:
        """Until the result record is there, the run has ended without one, or it is to stop."""
        run_id = control.submit(stage.federation.fab, stage.federation.config)
        follower = threading.Thread(
            target=_follow, args=(control, run_id, stage.report), daemon=True
        )
        follower.start()
        records, status, asked = Records(stage.artifacts), RunStatus("pending"), time.monotonic()
        while stage.result is None and not stage.stop.wait(POLL_S):
            finished = status.state == "finished"  # seen before the files are read: none come later
            stage.result = read_result(stage.artifacts)
            for item in records.new():
                stage.report.event(item)
            if finished:
                break
            server.check()
            if time.monotonic() - asked >= self._patience.look_s:
                status, asked = control.status(run_id), time.monotonic()
        follower.join(LAST_WORDS_S)
        if stage.result is None and status.detail:
            raise RequestError(status.detail)


def _told(stage: _Stage) -> dict[str, str]:
    """What the ServerApp finds in its environment; `broker.fl` reads it."""
    return {
        "BROKER_ARTIFACTS": str(stage.artifacts),
        "BROKER_ROUNDS": str(stage.federation.rounds),
        "BROKER_MIN_SITES": str(stage.federation.min_sites),
    }


def _follow(control: Control, run_id: str, report: Report) -> None:
    for piece in control.follow(run_id):
        report.log(piece.encode())


def _too_few(stage: _Stage, present: frozenset[str]) -> str:
    here = {stage.sites[flower_id] for flower_id in present}
    absent = [m.name for m in stage.federation.members.values() if m.node_id not in here]
    least = stage.federation.min_sites
    return f"{len(here)} of at least {least} sites came online; not seen: {', '.join(absent)}"


def _explain(stage: _Stage) -> None:
    for name in ("superlink.log", "apps.log"):
        text = Output(stage.folder / name).tail()
        if text:
            stage.report.log(f"--- {name}\n{text}\n".encode())


def _outcome(stage: _Stage) -> dict[str, Any]:
    """The result record, and what this side counted itself."""
    listener = stage.listener
    traffic = {} if listener is None else listener.traffic
    return {
        "result": stage.result or {},
        "traffic": {
            node_id: {
                "name": stage.federation.members[node_id].name,
                "bytes_up": seen.up,
                "bytes_down": seen.down,
            }
            for node_id, seen in traffic.items()
        },
        "audit": {} if listener is None else listener.audit_end,
        "artifacts": collect(stage.artifacts),
    }
