"""Flower's long-running processes: how they are called, and when a SuperLink serves."""

from __future__ import annotations

import secrets
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.errors import RequestError
from edge.flower import install
from edge.flower.output import Output
from edge.flower.tls import LOOPBACK, Loopback, free_port
from edge.processes import Process, ProcessGroup

PORT_TRIES = 3
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class House:
    """What all of one order's processes share. `private` is a SuperExec's proof of being ours."""

    group: ProcessGroup
    folder: Path
    environ: Mapping[str, str]
    loopback: Loopback
    private: Path

    def start(self, argv: list[str], output: Output) -> Process:
        return self.group.spawn(argv, cwd=self.folder, env=self.environ, on_output=output)


@dataclass(frozen=True, slots=True)
class Server:
    """A SuperLink that serves on loopback."""

    port: int
    process: Process
    output: Output

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def check(self) -> None:
        """RequestError once the process has ended."""
        if self.process.wait(0) is not None:
            raise RequestError(f"the SuperLink ended: {self.output.tail()[-500:]}")


def make_private(folder: Path) -> Path:
    """A fresh secret in a file that only its owner reads."""
    path = folder / "superexec.secret"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32), encoding="ascii")
    return path


def start_superlink(house: House, stop: threading.Event, start_s: float) -> Server:
    """Once it serves, on a port of its own. RequestError: it does not come up, or is to stop."""
    output = Output(house.folder / "superlink.log")
    for _ in range(PORT_TRIES):
        port = free_port()
        server = Server(port, house.start(superlink(house, port), output), output)
        if _serves(house, server, stop, time.monotonic() + start_s):
            return server
        house.group.stop()
        if stop.is_set():
            break
    raise RequestError(f"no SuperLink: {output.tail()[-500:]}")


def superlink(house: House, port: int) -> list[str]:
    return [
        install.command("flower-superlink"),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--ssl-ca-certfile", str(house.loopback.certificate)),
        *("--ssl-certfile", str(house.loopback.certificate)),
        *("--ssl-keyfile", str(house.loopback.key)),
        "--enable-supernode-auth",
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(house.private)),
        *("--database", str(house.folder / "superlink.db")),
        "--disable-runtime-dependency-installation",
    ]


def superexec(house: House, runtime: str, *, tls: bool) -> list[str]:
    """Starts apps for the runtime API at `runtime` on loopback."""
    root = ["--root-certificates", str(house.loopback.certificate)]
    return [
        install.command("flower-superexec"),
        *("--runtime-api-address", runtime),
        *("--superexec-auth-secret-file", str(house.private)),
        *(root if tls else ["--insecure"]),
    ]


def _serves(house: House, server: Server, stop: threading.Event, deadline: float) -> bool:
    # A proxy of the environment must not stand between two processes of one machine.
    direct = urllib.request.ProxyHandler({})
    https = urllib.request.HTTPSHandler(context=house.loopback.client())
    opener = urllib.request.build_opener(direct, https)
    while time.monotonic() < deadline and server.process.wait(0) is None:
        if _healthy(opener, server.address):
            return True
        if stop.wait(POLL_S):
            return False
    return False


def _healthy(opener: urllib.request.OpenerDirector, address: str) -> bool:
    try:
        with opener.open(f"https://{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
