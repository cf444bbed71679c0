"""The gate: a WSGI application before the emulator that makes launches behave as EC2's do.

What it adds: ClientToken (replay, mismatch, no twins), capacity, machines behind the instances,
spot interruption, delayed visibility, and faults on demand. What would make an instance without a
machine is refused. `POST /_gate` sets the faults, `POST /_gate/interrupt` takes a spot instance.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from broker.sandbox import replies
from broker.sandbox.emulator import Emulator
from broker.sandbox.faults import Faults
from broker.sandbox.hosts import Hosts
from broker.sandbox.replies import Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.wrappers import Response

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
MACHINELESS = {
    "CreateFleet",
    "RequestSpotInstances",
    "RequestSpotFleet",
    "StartInstances",
    "StopInstances",
}
INTERRUPTED = "Server.SpotInstanceTermination"
SHUT_DOWN = "Client.InstanceInitiatedShutdown"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an AWS API. `form` holds query and body parameters; `action` may be empty."""

    environ: WSGIEnvironment
    body: bytes
    form: dict[str, str]
    region: str

    @property
    def action(self) -> str:
        return self.form.get("Action", "")


@dataclass(frozen=True, slots=True)
class Made:
    """What a ClientToken made: from which request, and with which reply."""

    digest: str
    reply: Response
    instance_ids: tuple[str, ...]


class Gate:
    """The application. Launches go one at a time; all else is concurrent."""

    def __init__(self, emulator: Emulator, hosts: Hosts) -> None:
        self._emulator = emulator
        self._hosts = hosts
        self._faults = Faults()
        self._launching = Lock()
        self._tokens: dict[tuple[str, str], Made] = {}
        self._launched_at: dict[str, float] = {}
        self._actions: dict[str, Callable[[Call], Response]] = {
            "RunInstances": self._run,
            "DescribeInstances": self._describe,
            "TerminateInstances": self._terminate,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._answer(environ)(environ, start_response)

    def notice_ends(self) -> None:
        """An instance whose machine ended is terminated, as after `shutdown -h` inside it."""
        for item in self._emulator.living():
            with self._launching:  # not between an instance and its machine
                cause = self._hosts.cause_of_end(item.id)
            if cause is not None:
                self._emulator.end(item.id, SHUT_DOWN, cause)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0]
        if host not in LOOPBACK:  # a web page that re-bound its name to this address
            return replies.plain(421, {"error": "this is a sandbox for this computer only"})
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["PATH_INFO"].startswith("/_gate"):
            return self._control(environ["PATH_INFO"], json.loads(body or b"{}"))
        return self._api(_call(environ, body))

    def _control(self, path: str, wanted: dict[str, Any]) -> Response:
        if path == "/_gate/interrupt":
            return self._interrupt(str(wanted.get("instance_id")))
        try:
            self._faults.update(wanted)
        except (TypeError, ValueError, AttributeError) as exc:
            return replies.plain(400, {"error": str(exc)})
        return replies.plain(200, {})

    def _interrupt(self, instance_id: str) -> Response:
        found = self._emulator.end(instance_id, INTERRUPTED, "Spot instance interrupted")
        self._hosts.stop([instance_id] if found else [])
        return replies.plain(200 if found else 404, {"instance_id": instance_id})

    def _api(self, call: Call) -> Response:
        try:
            self._fail(call)
            reply = self._actions.get(call.action, self._pass)(call)
        except Refused as refused:
            return replies.error(refused)
        if self._faults.take("drop", call.action):
            call.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError  # done, and the caller hears nothing
        if self._faults.take("cut", call.action):
            return replies.halved(reply)
        return reply

    def _fail(self, call: Call) -> None:
        if failure := self._faults.take_failure(call.action, call.region):
            raise Refused(failure.code, failure.message, failure.status)

    def _pass(self, call: Call) -> Response:
        if call.action in MACHINELESS:
            raise Refused("UnsupportedOperation", f"the sandbox has no {call.action}", 400)
        return replies.from_app(self._emulator.app, call.environ, call.body)

    def _run(self, call: Call) -> Response:
        token = "" if self._faults.forgetful else call.form.get("ClientToken", "")
        with self._launching:
            known = self._tokens.get((call.region, token)) if token else None
            if known:
                return self._replay(known, call)
            reply = self._launch(call)
            ids = tuple(replies.instance_ids(reply))
            if token and ids:
                self._tokens[call.region, token] = Made(_digest(call), reply, ids)
            return reply

    def _replay(self, made: Made, call: Call) -> Response:
        if made.digest != _digest(call):
            raise Refused("IdempotentParameterMismatch", "same token, another request", 400)
        living = {item.id for item in self._emulator.living()}
        ended = not living.intersection(made.instance_ids)
        return replies.terminated(made.reply) if ended else made.reply

    def _launch(self, call: Call) -> Response:
        script = _user_data(call)
        shape = call.form.get("InstanceType", "")
        zone = call.form.get("Placement.AvailabilityZone") or f"{call.region}a"
        living = [(item.instance_type, item.zone) for item in self._emulator.living()]
        if not self._faults.room(shape, zone, living):
            words = f"no {shape} capacity in the Availability Zone you requested ({zone})"
            raise Refused("InsufficientInstanceCapacity", words, 500)
        reply = self._pass(call)
        for instance_id in replies.instance_ids(reply):
            self._launched_at[instance_id] = time.monotonic()
            self._hosts.boot(instance_id, script)
        return reply

    def _describe(self, call: Call) -> Response:
        self._refuse_hidden(call)
        reply = self._pass(call)
        hidden = self._hidden()
        return replies.without_instances(reply, hidden) if hidden else reply

    def _terminate(self, call: Call) -> Response:
        self._refuse_hidden(call)
        reply = self._pass(call)
        self._hosts.stop(replies.instance_ids(reply))
        return reply

    def _refuse_hidden(self, call: Call) -> None:
        named = {value for key, value in call.form.items() if key.startswith("InstanceId.")}
        if missing := sorted(named & self._hidden()):
            raise Refused("InvalidInstanceID.NotFound", f"no instance {missing[0]}", 400)

    def _hidden(self) -> set[str]:
        if not self._faults.lag_s:
            return set()
        since = time.monotonic() - self._faults.lag_s
        return {key for key, at in list(self._launched_at.items()) if at > since}


def _call(environ: WSGIEnvironment, body: bytes) -> Call:
    text = environ.get("QUERY_STRING", "")
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        text = f"{text}&{body.decode()}"
    scope = re.search(r"Credential=[^/]+/\d+/([a-z0-9-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return Call(
        environ={**environ, "wsgi.input": io.BytesIO(body)},
        body=body,
        form=dict(parse_qsl(text, keep_blank_values=True)),
        region=scope.group(1) if scope else "us-east-1",
    )


def _digest(call: Call) -> str:
    """Of all that was asked for."""
    return hashlib.sha256(json.dumps(sorted(call.form.items())).encode()).hexdigest()


def _user_data(call: Call) -> str:
    try:
        return base64.b64decode(call.form.get("UserData", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise Refused("InvalidUserData.Malformed", str(exc), 400) from exc
