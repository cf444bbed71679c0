"""The one place that speaks to a SuperLink's Control API.

`connect` gives `ControlClient` (Flower's own HTTP client, 25 ms a call) where the tested Flower is
installed and its private modules are where they were, else `ControlCommand` (the documented `flwr`
command and its JSON, one to two seconds a call). Both keep one contract, proved by one test.

Ids are 64-bit numbers that JSON readers corrupt: they are text here. The status of a run says how
its process ended and nothing about what was learnt: judge a run by its result record.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import ssl
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from broker.errors import RequestError, UnknownOutcomeError
from edge.flower import install
from edge.processes import MARKER, Output, Process, spawn

Scalar = bool | int | float | str
CALL_S = 60.0
LOOK_S = 0.25  # for what a command that runs on has said
GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class SuperLink:
    """The Control API's address, the root of its certificate (PEM), and FLWR_HOME.

    What is started to ask it belongs to the order `order_id`, and ends with it.
    """

    address: str  # host:port
    ca: Path
    home: Path
    order_id: str = ""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """`state` is pending, starting, running or finished; `end` completed, failed or stopped."""

    state: str
    end: str = ""
    detail: str = ""


class Control(Protocol):
    """RequestError: the SuperLink refused. UnknownOutcomeError: it could not be asked."""

    def register(self, key: bytes, name: str) -> str:
        """Let the SuperNode with this public key (PEM) in; returns its Flower id."""

    def online(self) -> frozenset[str]:
        """Flower ids of the SuperNodes that are connected now."""

    def submit(self, fab: bytes, config: Mapping[str, Scalar]) -> str:
        """Start a run of an app bundle; every key of `config` must be declared in the app."""

    def status(self, run_id: str) -> RunStatus: ...

    def follow(self, run_id: str) -> Iterator[str]:
        """What the ServerApp logs, piece by piece; blocks; ends with the run or the SuperLink."""


def connect(link: SuperLink) -> Control:
    try:
        install.require_tested()
        return ControlClient(link)
    except ImportError:
        return ControlCommand(link)


class ControlClient:
    """Through `flwr.supercore.control`, which is private to Flower: hence the version guard."""

    def __init__(self, link: SuperLink) -> None:
        import httpx
        from flwr.common import serde
        from flwr.proto import control_pb2
        from flwr.supercore.control import ControlHttpClient
        from flwr.supercore.fab import Fab
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

        self._pb: Any = control_pb2
        self._serde: Any = serde
        self._fab: Any = Fab
        self._client: Any = ControlHttpClient.from_server_address(
            server_address=link.address,
            insecure=False,
            root_certificates=link.ca.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr")],
        )
        # As Flower makes it, but past any proxy that the environment names: this is loopback.
        self._client._client.close()  # noqa: SLF001 - guarded by the version
        trust = ssl.create_default_context(cafile=str(link.ca))
        self._client._client = httpx.Client(verify=trust, timeout=CALL_S, trust_env=False)  # noqa: SLF001

    def register(self, key: bytes, name: str) -> str:
        request = self._pb.RegisterNodeRequest(public_key=key, name=name)
        return str(self._ask(self._client.RegisterNode, request).node_id)

    def online(self) -> frozenset[str]:
        found = self._ask(self._client.ListNodes, self._pb.ListNodesRequest()).nodes_info
        return frozenset(str(node.node_id) for node in found if node.status == "online")

    def submit(self, fab: bytes, config: Mapping[str, Scalar]) -> str:
        bundle = self._fab(hashlib.sha256(fab).hexdigest(), fab, {})
        request = self._pb.StartRunRequest(
            fab=self._serde.fab_to_proto(bundle),
            override_config=self._serde.user_config_to_proto(dict(config)),
        )
        answer = self._ask(self._client.StartRun, request)
        if not answer.run_id:
            raise RequestError(f"the SuperLink started no run: {answer.note}")
        return str(answer.run_id)

    def status(self, run_id: str) -> RunStatus:
        request = self._pb.ListRunsRequest(run_id=int(run_id))
        run = self._ask(self._client.ListRuns, request).run_dict[int(run_id)]
        return RunStatus(run.status.status, run.status.sub_status, run.status.details)

    def follow(self, run_id: str) -> Iterator[str]:
        import httpx

        request = self._pb.StreamLogsRequest(run_id=int(run_id), after_timestamp=0.0)
        try:
            for piece in self._client.StreamLogs(request):
                yield str(piece.log_output)
        except httpx.HTTPError:
            return  # the SuperLink is gone, and with it the run

    def _ask(self, call: Any, request: Any) -> Any:
        import httpx

        try:
            return call(request)
        except httpx.HTTPStatusError as exc:
            raise RequestError(f"SuperLink: {exc.response.text[:300]}") from exc
        except httpx.HTTPError as exc:
            raise UnknownOutcomeError(f"SuperLink: {exc!r}") from exc


class ControlCommand:
    """Through the `flwr` command. It exits with 0 on failure, too: `success` in its JSON counts."""

    def __init__(self, link: SuperLink) -> None:
        self._home = link.home
        self._environ = install.environment(link.home, {MARKER: link.order_id}, os.environ)
        (link.home / "config.toml").write_text(
            '[superlink]\ndefault = "broker"\n\n[superlink.broker]\n'
            f"address = {json.dumps(link.address)}\n"
            f"root-certificates = {json.dumps(str(link.ca))}\n",
            encoding="utf-8",
        )

    def register(self, key: bytes, name: str) -> str:
        public = self._home / f"{name}.pub"
        public.write_bytes(_openssh(key))
        answer = self._ask("supernode", "register", str(public), "broker", "--name", name)
        return str(answer["node-id"])

    def online(self) -> frozenset[str]:
        nodes = self._ask("supernode", "list", "broker")["nodes"]
        return frozenset(str(node["node-id"]) for node in nodes if node["status"] == "online")

    def submit(self, fab: bytes, config: Mapping[str, Scalar]) -> str:
        app = self._home / "submitted" / hashlib.sha256(fab).hexdigest()[:8]
        with zipfile.ZipFile(BytesIO(fab)) as bundle:
            bundle.extractall(app)  # members that point outside are kept inside by zipfile
        pairs = [f"{name}={json.dumps(value)}" for name, value in config.items()]
        override = ["--run-config", " ".join(pairs)] if pairs else []
        return str(self._ask("run", str(app), "broker", *override)["run-id"])

    def status(self, run_id: str) -> RunStatus:
        run = self._ask("ls", "broker", "--run-id", run_id)["runs"][0]
        state, _, end = str(run["status"]).partition(":")
        return RunStatus(state, end, str(run.get("status-details") or ""))

    def follow(self, run_id: str) -> Iterator[str]:
        pieces: SimpleQueue[bytes] = SimpleQueue()
        child = self._start(["log", run_id, "broker", "--stream"], pieces.put)
        text = codecs.getincrementaldecoder("utf-8")("replace")
        ended = False
        try:
            while not ended:
                ended = child.wait(LOOK_S) is not None
                while not pieces.empty():
                    yield text.decode(pieces.get())
        finally:
            child.stop()

    def _start(self, arguments: list[str], on_output: Output, *wrapper: str) -> Process:
        argv = [*wrapper, install.command("flwr"), *arguments]
        return spawn(argv, cwd=self._home, env=self._environ, on_output=on_output, grace_s=GRACE_S)

    def _ask(self, *arguments: str) -> dict[str, Any]:
        said: list[bytes] = []
        quiet = ("sh", "-c", 'exec "$@" 2>/dev/null', "sh")  # warnings are no part of the JSON
        child = self._start([*arguments, "--format", "json"], said.append, *quiet)
        child.wait(CALL_S)
        child.stop()
        try:
            answer = json.loads(b"".join(said))
        except ValueError as exc:
            raise UnknownOutcomeError(f"flwr {arguments[0]}: no answer in JSON") from exc
        if not isinstance(answer, dict) or not answer.get("success"):
            raise RequestError(f"flwr {arguments[0]}: {_words(answer)}")
        return answer


def _words(answer: object) -> str:
    if isinstance(answer, dict):
        return str(answer.get("error-message", answer))[:300]
    return str(answer)[:300]


def _openssh(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_public_key,
    )

    return load_pem_public_key(pem).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
