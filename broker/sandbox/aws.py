"""`python -m broker.sandbox.aws --folder DIR --port 0`: serve the sandboxed EC2 on the loopback.

DIR/sandbox.json appears, whole, once it serves: {"endpoint": "http://127.0.0.1:PORT", "pid": N}.
It ends on SIGTERM or SIGINT, or with the process named by --host ("pid:start"); every machine of
its instances ends with it, even when it is killed with -9.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from broker.sandbox.emulator import Emulator
from broker.sandbox.gate import Gate
from broker.sandbox.hosts import Hosts
from providers import local, machine_init

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

LOOK_S = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until asked to end; 1 when another sandbox has this folder."""
    options = _options(argv)
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (options.folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another sandbox runs in {options.folder}", file=sys.stderr)
            return 1
        _serve(options)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="broker.sandbox.aws", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="", help="end with this process (pid:start)")
    return parser.parse_args(argv)


def _serve(options: argparse.Namespace) -> None:
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    hosts = Hosts(options.folder / "machines", {"FEDBROKER_AGENT": local.agent_command()})
    gate = Gate(Emulator(), hosts)
    server = _server(gate, options.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    note = options.folder / "sandbox.json"
    endpoint = f"http://127.0.0.1:{server.server_port}"
    machine_init.write(note, json.dumps({"endpoint": endpoint, "pid": os.getpid()}))
    try:
        while not asked.wait(LOOK_S) and _host_is_there(options.host):
            gate.notice_ends()
    finally:
        server.server_close()  # first, so that nothing is launched any more
        hosts.stop_all()
        note.unlink(missing_ok=True)


def _server(gate: Gate, port: int) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):  # type: ignore[misc] # moto has no types
        def log_request(self, *_: object) -> None:
            """Nothing: requests carry user data."""

    return make_server("127.0.0.1", port, gate, threaded=True, request_handler=Quiet)


def _host_is_there(host: str) -> bool:
    return not host or machine_init.is_there(host)


if __name__ == "__main__":
    sys.exit(main())
