"""Start and stop the sandboxed EC2 from another process."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from broker.errors import BrokerError, NotFoundError, UsageError, WaitTimeoutError
from providers import machine_init, machines

START_S = 60.0
STOP_S = 15.0
PROFILE = "sandbox"
CREDENTIALS = f"[{PROFILE}]\naws_access_key_id = sandbox\naws_secret_access_key = sandbox\n"


class Sandbox:
    """A running sandbox. As a context manager it is stopped at the end, with all its machines."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], endpoint: str) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.credentials_file = folder / "credentials"
        self._process = process

    @classmethod
    def start(cls, folder: Path, *, outlive: bool = False) -> Self:
        """Start one in this folder and wait until it serves.

        It ends with this process unless it is to `outlive` it. UsageError: moto is not installed.
        BrokerError: it did not start; WaitTimeoutError: not within a minute.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "sandbox.json").unlink(missing_ok=True)
        machine_init.write(folder / "credentials", CREDENTIALS)
        command = [sys.executable, "-m", "broker.sandbox.aws", "--folder", str(folder)]
        host = [] if outlive else ["--host", machines.here()]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *host],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for our caller, who stops it
            )
        try:
            return cls(folder, process, _endpoint(folder, process))
        except BaseException:
            _end(process)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def settings(self, name: str, regions: Sequence[str], owner: str) -> dict[str, Any]:
        """For `providers.registry.build("aws", ...)`."""
        return {
            "name": name,
            "regions": list(regions),
            "owner": owner,
            "endpoint": self.endpoint,
            "profile": PROFILE,
            "credentials_file": str(self.credentials_file),
        }

    def control(self, **faults: Any) -> None:
        """Set `capacity`, `fail`, `drop`, `cut`, `lag`, `forgetful` (see `faults.Faults`)."""
        status = self._post("/_gate", faults)
        if status != 200:
            raise UsageError(f"the sandbox does not know these faults: {faults}")

    def interrupt(self, instance_id: str) -> None:
        """Take a machine away as AWS takes a spot instance. NotFoundError: it does not run."""
        bare = instance_id.rpartition("/")[2]
        if self._post("/_gate/interrupt", {"instance_id": bare}) != 200:
            raise NotFoundError(f"the sandbox has no running instance {instance_id}")

    def machine(self, instance_id: str) -> Path:
        """The folder of the process tree behind an instance."""
        return self.folder / "machines" / instance_id.rpartition("/")[2]

    def stop(self) -> None:
        """End it; when this returns, no process of it or of its machines is left."""
        _end(self._process)
        for folder in (self.folder / "machines").glob("i-*"):
            machines.stop(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _post(self, path: str, content: dict[str, Any]) -> int:
        address = self.endpoint.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(content))
            return connection.getresponse().status


def _endpoint(folder: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + START_S
    note = folder / "sandbox.json"
    while not note.exists():
        if process.poll() is not None:
            raise _did_not_start(machines.log_tail(folder))
        if time.monotonic() > until:
            raise WaitTimeoutError(f"the sandbox did not serve within {START_S:g} s")
        time.sleep(0.02)
    endpoint: str = json.loads(note.read_text())["endpoint"]
    return endpoint


def _did_not_start(log: str) -> BrokerError:
    if "No module named" in log:
        return UsageError(
            f"the sandbox lacks a part: {log.strip().splitlines()[-1]}",
            hint='pip install "fedbroker[demo]"',
        )
    return BrokerError(f"the sandbox did not start: {log[-500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
