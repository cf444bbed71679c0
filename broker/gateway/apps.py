"""The two applications: enrolment for anyone with a token, and all else for known agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.errors import ConflictError
from broker.gateway import orders
from broker.gateway.answers import (
    Endpoint,
    answered,
    body_of,
    json_of,
    not_routed,
    problem,
    whole_number,
)
from broker.gateway.identity import identify, renew
from broker.gateway.logs import LogFiles
from broker.gateway.presence import Presence
from broker.gateway.watch import OrderWatch, tag_of
from broker.gateway.wire import Beat, Enrol, Events, Renew, ReportBody
from broker.model import Node, Order
from broker.ports import Store
from broker.trust.ca import CertificateAuthority
from broker.trust.tokens import redeem

P = ParamSpec("P")
T = TypeVar("T")
MAX_WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Desk:
    """What every endpoint works with. The ledger blocks, so it is only touched in `threads`."""

    store: Store
    ca: CertificateAuthority
    now: Callable[[], datetime]
    threads: Executor

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work beside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, lambda: work(*args, **kwargs))


def enrol_app(desk: Desk, agent_url: Callable[[], str]) -> Starlette:
    """`GET /v1/ca` and `POST /v1/enrol`."""

    async def ca(_: Request) -> Response:
        return Response(desk.ca.certificate_pem, media_type="application/x-pem-file")

    async def enrol(request: Request) -> Response:
        body = await json_of(request, Enrol)
        node, pem = await desk.call(
            redeem, desk.store, body.token, body.csr_pem, desk.now(), desk.ca
        )
        return JSONResponse(
            {
                "node_id": node.id,
                "name": node.name,
                "certificate_pem": pem,
                "ca_pem": desk.ca.certificate_pem,
                "agent_url": agent_url(),
            }
        )

    return _app([_route("GET", "/v1/ca", ca), _route("POST", "/v1/enrol", enrol)])


@dataclass(frozen=True, slots=True)
class AgentApi:
    """The endpoints of the listener that only certificates reach."""

    desk: Desk
    presence: Presence
    watch: OrderWatch
    logs: LogFiles
    heartbeat_s: float

    def app(self) -> Starlette:
        return _app(
            [
                _route("POST", "/v1/heartbeat", self.heartbeat),
                _route("GET", "/v1/orders", self.orders),
                _route("POST", "/v1/orders/{order_id}/report", self.report),
                _route("POST", "/v1/orders/{order_id}/log", self.log),
                _route("POST", "/v1/orders/{order_id}/events", self.events),
                _route("POST", "/v1/renew", self.renew),
            ]
        )

    async def heartbeat(self, request: Request) -> Response:
        node = await self._caller(request)
        beat = await json_of(request, Beat)
        now = self.desk.now()
        await self.desk.call(self.presence.beat, node, beat, now)
        return JSONResponse({"server_time": now.isoformat(), "next_s": self.heartbeat_s})

    async def orders(self, request: Request) -> Response:
        """Holds the answer while nothing differs; whoever waited is checked again before it."""
        known = request.headers.get("if-none-match")
        clock = asyncio.get_running_loop().time
        until = clock() + min(whole_number(request, "wait_s", 0), MAX_WAIT_S)
        while True:
            node = await self._caller(request)
            found = await self.desk.call(self._open_orders, node)
            tag, left = tag_of(found), until - clock()
            if tag != known:
                body = {"orders": [orders.summary(order) for order in found]}
                return JSONResponse(body, headers={"etag": tag})
            if left <= 0 or self.watch.closed:
                return Response(status_code=304, headers={"etag": tag})
            await self.watch.wait(node.id, tag, left)

    async def report(self, request: Request) -> Response:
        node = await self._caller(request)
        said = await json_of(request, ReportBody)
        state = await self.desk.call(
            orders.report, self.desk.store, _order_id(request), node.id, said, self.desk.now()
        )
        return JSONResponse({"state": state})

    async def log(self, request: Request) -> Response:
        order = await self._own_order(request)
        offset = whole_number(request, "offset")
        data = await body_of(request)
        done = await self.desk.call(self.logs.append, order.id, offset, data)
        if done.gap:
            error = ConflictError(f"the log has {done.size} bytes", code="CON002")
            return problem(error, 409, offset=done.size)
        return JSONResponse({"offset": done.size})

    async def events(self, request: Request) -> Response:
        order = await self._own_order(request)
        body = await json_of(request, Events)
        await self.desk.call(
            orders.record, self.desk.store, order, body.seq0, body.items, self.desk.now()
        )
        return JSONResponse({"next": body.seq0 + len(body.items)})

    async def renew(self, request: Request) -> Response:
        await self._caller(request)
        body = await json_of(request, Renew)
        issued = await self.desk.call(
            renew,
            self.desk.store,
            _certificate(request),
            body.csr_pem,
            self.desk.now(),
            self.desk.ca,
        )
        return JSONResponse({"certificate_pem": issued.pem})

    async def _caller(self, request: Request) -> Node:
        """The calling node, by the ledger as it is now."""
        node, _ = await self.desk.call(
            identify, self.desk.store, _certificate(request), self.desk.now()
        )
        return node

    async def _own_order(self, request: Request) -> Order:
        node = await self._caller(request)
        return await self.desk.call(orders.own_order, self.desk.store, _order_id(request), node.id)

    def _open_orders(self, node: Node) -> list[Order]:
        return self.desk.store.find(Order, node_id=node.id, state=orders.OPEN)


def _certificate(request: Request) -> bytes | None:
    """The peer's certificate as DER, put there by `PeerProtocol`."""
    found: bytes | None = request.scope["extensions"]["tls"]["client_cert_der"]
    return found


def _order_id(request: Request) -> str:
    found = request.path_params["order_id"]
    assert isinstance(found, str)
    return found


def _route(method: str, path: str, endpoint: Endpoint) -> Route:
    return Route(path, answered(endpoint), methods=[method])


def _app(routes: list[Route]) -> Starlette:
    return Starlette(routes=routes, exception_handlers={HTTPException: not_routed})
