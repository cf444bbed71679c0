"""The gateway as one object: two TLS listeners in a thread of their own, from `start` to `stop`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from broker.errors import BrokerError, UsageError, WaitTimeoutError
from broker.gateway.apps import AgentApi, Desk, enrol_app
from broker.gateway.logs import LogFiles
from broker.gateway.orders import OPEN
from broker.gateway.presence import Presence
from broker.gateway.tls import PeerProtocol, server_context
from broker.gateway.watch import EVERY_S, OrderWatch
from broker.model import Order
from broker.ports import Store
from broker.trust.ca import CertificateAuthority
from broker.trust.gateway_cert import gateway_pem

HOUSEKEEPING_S = 1.0  # between writes of heartbeats and looks for lost nodes
CERTIFICATE_S = 3600.0  # between looks at the age of our own certificate
START_S, STOP_S = 30.0, 10.0
MAX_ENROLLING = 512  # connections of strangers at once; the next ones get 503 and come back
_THREADS = 8
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - names to recognise, not to bind

log = logging.getLogger("broker.gateway")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the gateway listens and where its files lie. A port of 0 is chosen by the system.

    `public_host` is the name or address under which agents reach it, when that is not `host`.
    """

    keys_dir: Path
    logs_dir: Path
    host: str = "127.0.0.1"
    enrol_port: int = 0
    agent_port: int = 0
    public_host: str | None = None
    heartbeat_s: float = 5
    lost_after_s: float = 30

    @property
    def advertised(self) -> str:
        """The host in the URLs that agents are given."""
        if self.public_host:
            return self.public_host
        return socket.gethostname() if self.host in _WILDCARDS else self.host

    @property
    def names(self) -> list[str]:
        """Names and addresses in the gateway's certificate, beside its own."""
        return [self.advertised, "127.0.0.1", "::1", "localhost"]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Gateway:
    """Serves agents. `start` returns when both listeners serve; `stop` leaves no thread behind.

    It touches no signal handler, so any command may run one. `now` is the clock that tokens and
    certificates are judged by. Ports are known, and stay, from the first `start` on.
    """

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._ca = ca
        self._settings = settings
        self._now = now
        self.enrol_port = settings.enrol_port
        self.agent_port = settings.agent_port
        self._service: _Service | None = None

    @property
    def enrol_url(self) -> str:
        return self._url(self.enrol_port)

    @property
    def agent_url(self) -> str:
        return self._url(self.agent_port)

    def start(self) -> None:
        """UsageError GTW001 when a port is taken."""
        if self._service:
            return
        service = self._made()
        enrol = _bound(self._settings.host, self.enrol_port)
        try:
            agents = _bound(self._settings.host, self.agent_port)
        except BrokerError:
            enrol.close()
            raise
        self.enrol_port, self.agent_port = enrol.getsockname()[1], agents.getsockname()[1]
        self._service = service
        service.start([enrol, agents])

    def stop(self) -> None:
        """Answers those who wait, writes what is still in memory, and ends within some seconds."""
        if self._service:
            self._service.stop()
            self._service = None

    def _made(self) -> _Service:
        return _Service(
            self._store, self._ca, self._settings, self._now, agent_url=lambda: self.agent_url
        )

    def _url(self, port: int) -> str:
        host = self._settings.advertised
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"


class _Service:
    """One run of the gateway: its thread, its event loop and all that lives in it."""

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        settings: Settings,
        now: Callable[[], datetime],
        *,
        agent_url: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._ca = ca
        self._now = now
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        self._desk = Desk(store, ca, now, self._threads)
        self._presence = Presence(store, timedelta(seconds=settings.lost_after_s), time.monotonic)
        self._watch = OrderWatch(self._open_orders)
        pem = self._certificate()
        self._contexts = [server_context(pem), server_context(pem, ca.certificate_pem)]
        self._apps = [enrol_app(self._desk, agent_url), self._agent_app()]
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def start(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._thread.start()
        if not self._ready.wait(START_S):
            raise WaitTimeoutError(f"the gateway did not start in {START_S:g} s", code="GTW002")
        if self._failure:
            raise BrokerError(f"the gateway ended: {self._failure}", code="GTW002")

    def stop(self) -> None:
        if self._loop and self._ending:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(STOP_S)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - handed to whoever started the thread
            self._failure = error
            log.error("the gateway ended: %s: %s", type(error).__name__, error)  # noqa: TRY400
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_quietly)
        pairs = zip(self._apps, self._contexts, strict=True)
        servers = [_Server(_config(app, context)) for app, context in pairs]
        servers[0].config.limit_concurrency = MAX_ENROLLING
        async with asyncio.TaskGroup() as group:
            for server, sock in zip(servers, self._sockets, strict=True):
                group.create_task(server.serve(sockets=[sock]))
            helpers = [
                group.create_task(_every(EVERY_S, self._watch.wake)),
                group.create_task(_every(HOUSEKEEPING_S, self._keep_house)),
                group.create_task(_every(CERTIFICATE_S, self._renew_own)),
            ]
            for server in servers:
                await server.up.wait()
            self._ready.set()
            await self._ending.wait()
            self._watch.close()
            for server in servers:
                server.leave()
            for helper in helpers:
                helper.cancel()
        for server in servers:
            server.abort()
        await self._desk.call(self._presence.flush)

    async def _open_orders(self) -> list[Order]:
        return await self._desk.call(self._desk.store.find, Order, state=OPEN)

    async def _keep_house(self) -> None:
        await self._desk.call(self._presence.flush)
        await self._desk.call(self._presence.sweep, self._now())

    async def _renew_own(self) -> None:
        """New connections are served with the renewed certificate; open ones go on."""
        pem = await self._desk.call(self._certificate)
        for context in self._contexts:
            context.load_cert_chain(pem)

    def _certificate(self) -> Path:
        return gateway_pem(self._ca, self._settings.keys_dir, self._settings.names, self._now())

    def _agent_app(self) -> Starlette:
        logs = LogFiles(self._settings.logs_dir)
        heartbeat_s = self._settings.heartbeat_s
        return AgentApi(self._desk, self._presence, self._watch, logs, heartbeat_s).app()


class _Server(uvicorn.Server):
    """uvicorn's server that says when it is up, and can drop clients that do not hang up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._left = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """Refresh the date header once a second until `leave`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), 1)

    def leave(self) -> None:
        self.should_exit = True
        self._left.set()

    def abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is named: 40 ms for each answer else
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise UsageError(
            f"the gateway cannot listen on {host}:{port}: {exc.strerror}",
            code="GTW001",
            hint="choose another host or port in the configuration",
        ) from exc
    return sock


def _config(app: Starlette, context: ssl.SSLContext) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,  # a header must never say who is calling
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        ssl_context_factory=lambda *_: context,
    )


async def _every(seconds: float, work: Callable[[], Any]) -> None:
    """Again and again until cancelled; a failure is said and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            log.warning("gateway: %s: %s", type(error).__name__, error)


def _quietly(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A client that breaks its connection is no news."""
    log.debug("gateway: %s", context.get("message"))
