"""Stands for an agent: `python -m tests.flower.one_agent FOLDER DATA ADAPTER`.

An aggregator and one site, whose federation takes longer than any test. Once rounds have been
aggregated, `FOLDER/midway` says so and names a SuperLink that was started without a warden.
SIGTERM stops both orders in good order; `FOLDER/ended` then holds their last states.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from broker.model import OrderState
from edge.flower import control, install, superlink
from edge.flower.service import House, make_private
from edge.flower.service import superlink as superlink_argv
from edge.flower.superlink import SuperLinkRunner
from edge.flower.supernode import SuperNodeRunner
from edge.flower.tls import free_port, make_loopback
from edge.processes import ProcessGroup
from tests.flower.conftest import DATA, NOW, Stage, Trust, superlink_spec, supernode_spec


def main(folder: Path, data: Path, adapter: str) -> None:
    superlink.connect = getattr(control, adapter)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    bare = without_warden(folder / "bare")
    stage = federation(folder, data)
    (folder / "midway.draft").write_text(str(bare.pid))
    (folder / "midway.draft").replace(folder / "midway")
    stopped.wait()
    stage.stop()
    bare.kill()
    bare.wait()
    last = {name: told.last.value for name, told in stage.told.items()}
    (folder / "ended").write_text(json.dumps(last))


def federation(folder: Path, data: Path) -> Stage:
    trust, stage = Trust(folder / "trust"), Stage(folder)
    site = trust.node("oslo", datasets={DATA: data / "oslo.npz"})
    runner = SuperLinkRunner(trust.node("aggregator").identity)
    told = stage.start("aggregator", runner, "superlink", superlink_spec([site], 999, 1))
    stage.wait("aggregator", lambda told: told.said(OrderState.READY) is not None, 90)
    stage.start("oslo", SuperNodeRunner(site.identity), "supernode", supernode_spec(told))
    stage.wait("aggregator", lambda told: len(told.events) >= 2, 120)
    return stage


def without_warden(folder: Path) -> subprocess.Popen[bytes]:
    """What a runner starts, with a pipe for its output and in a session of its own, too."""
    folder.mkdir()
    environ = install.environment(folder / "flwr", {}, os.environ)
    house = House(
        ProcessGroup("or_none"), folder, environ, make_loopback(folder, NOW), make_private(folder)
    )
    bare = subprocess.Popen(
        superlink_argv(house, free_port()),
        cwd=folder,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    threading.Thread(target=bare.communicate, daemon=True).start()
    return bare


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
