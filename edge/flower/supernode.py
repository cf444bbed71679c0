"""Orders of kind "supernode": let this node's data take part in one federation.

A stock SuperNode and its SuperExec on loopback, and a tunnel that carries the SuperNode's
connection to the aggregator with this node's certificate. Where the data lies is told to the
SuperNode here; no message from the aggregator names a path.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from broker.model import OrderState
from edge.flower import install
from edge.flower.output import Output
from edge.flower.service import House, make_private
from edge.flower.spec import Seat, seat_of
from edge.flower.tls import LOOPBACK, free_port, make_loopback
from edge.flower.tunnel import Tunnel
from edge.processes import Process, ProcessGroup
from edge.runner import Identity, Report, Work

POLL_S = 0.25
RESTARTS = 3
GRACE_S = 2.0  # a SuperNode says goodbye to its SuperLink in that time, if there is one
PAUSE_S = 1.0  # before a restart
ONLINE = b"SuperNode ID:"  # what flwr 1.41 logs once the SuperLink has let it in


@dataclass(frozen=True, slots=True)
class _Desk:
    """One order while it is carried out."""

    seat: Seat
    house: House
    tunnel_port: int
    report: Report
    stop: threading.Event


class SuperNodeRunner:
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def run(self, work: Work, folder: Path, report: Report, stop: threading.Event) -> None:
        install.require()
        seat = seat_of(work.spec, self._identity)
        report.state(OrderState.RUNNING)
        loopback = make_loopback(folder, datetime.now(UTC))
        environ = install.environment(folder / "flwr", {}, os.environ)
        with ExitStack() as closing:
            tunnel = Tunnel(self._identity, seat.far, loopback)
            closing.callback(tunnel.close)
            group = closing.enter_context(ProcessGroup(work.id, GRACE_S))
            house = House(group, folder, environ, loopback, make_private(folder))
            why = _stay(_Desk(seat, house, tunnel.start(), report, stop))
        counted = {"bytes_up": tunnel.up, "bytes_down": tunnel.down}
        if stop.is_set():
            report.state(OrderState.CANCELLED, detail="stopped", data=counted)
        else:
            report.state(OrderState.FAILED, detail=f"{why} {tunnel.refused}".strip(), data=counted)


def _stay(desk: _Desk) -> str:
    """Until it is to stop, or the SuperNode has ended once too often; in words."""
    ready = False
    for _ in range(1 + RESTARTS):
        output = Output(desk.house.folder / "supernode.log", desk.report.log, ONLINE)
        processes = _start(desk, output)
        while all(process.wait(0) is None for process in processes):
            if output.seen.is_set() and not ready:
                ready = True
                desk.report.state(OrderState.READY, data={"dataset": desk.seat.dataset})
            if desk.stop.wait(POLL_S):
                return "stopped"
        desk.house.group.stop()
        if desk.stop.wait(PAUSE_S):
            return "stopped"
    return f"the SuperNode ended {1 + RESTARTS} times."


def _start(desk: _Desk, output: Output) -> list[Process]:
    port = free_port()
    apps = Output(desk.house.folder / "apps.log", desk.report.log)
    return [
        desk.house.start(_supernode(desk, port), output),
        desk.house.start(_superexec(desk, port), apps),
    ]


def _superexec(desk: _Desk, port: int) -> list[str]:
    runtime, private = f"{LOOPBACK}:{port}", str(desk.house.private)
    return [sys.executable, "-P", "-m", "edge.flower.warm", runtime, private]


def _supernode(desk: _Desk, port: int) -> list[str]:
    config = {"data-path": str(desk.seat.file), "dataset": desk.seat.dataset}
    return [
        *(sys.executable, "-P", "-m", "edge.flower.quick", str(desk.seat.nap_s)),
        *("--superlink", f"{LOOPBACK}:{desk.tunnel_port}"),
        *("--root-certificates", str(desk.house.loopback.certificate)),
        *("--auth-supernode-private-key", str(desk.seat.key)),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(desk.house.private)),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--node-config", " ".join(f"{key}={json.dumps(text)}" for key, text in config.items())),
    ]
