"""Bodies in, answers out: bounded, JSON only, and never a traceback."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from broker.errors import AuthError, BrokerError, ConflictError, NotFoundError, UsageError

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 32
_DRAINED_BYTES = 8 * MAX_BODY_BYTES  # read and thrown away, so that the refusal can be read
_STATUS = {AuthError: 403, UsageError: 400, NotFoundError: 404, ConflictError: 503}

log = logging.getLogger("broker.gateway")
Endpoint = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=BaseModel)


class TooLargeError(UsageError):
    """A body of more than 1 MiB."""

    default_code = "USE011"


def problem(error: BrokerError, status: int | None = None, **members: Any) -> JSONResponse:
    """A refusal as RFC 9457 has it. 403 and 413 close the connection."""
    status = status or _status_of(error)
    body = {
        "type": f"docs/errors.md#{error.code.lower()}",
        "title": error.title,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
        **members,
    }
    headers = {"connection": "close"} if status in (403, 413) else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def answered(endpoint: Endpoint) -> Endpoint:
    """The endpoint with every failure turned into an answer."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BrokerError as error:
            known = _status_of(error) != 500
            return problem(error) if known else _defect(request, error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:  # noqa: BLE001 - one bad request must not end the gateway
            return _defect(request, error)

    return answer


async def not_routed(_: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return problem(UsageError("this path has another method", code="USE013"), 405)
    return problem(NotFoundError("no such path"), status)


async def body_of(request: Request) -> bytes:
    """The whole body, at most 1 MiB. A little more is drained, so that the client reads the 413."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > _DRAINED_BYTES:
        _refuse_size()
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > _DRAINED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        _refuse_size()
    return bytes(body)


async def json_of(request: Request, model: type[M]) -> M:
    """The body as a checked value of `model`; UsageError says what is wrong and where."""
    raw = await body_of(request)
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        return model.model_validate(_clean(found))
    except ValidationError as exc:
        raise UsageError(_first_problem(exc), code="USE010") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"the body is not usable JSON: {exc}", code="USE010") from exc


def whole_number(request: Request, name: str, default: int | None = None) -> int:
    """A query parameter that counts something."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise UsageError(f"`{name}` must be a whole number, 0 or more", code="USE010")
    return int(text)


def _status_of(error: BrokerError) -> int:
    if isinstance(error, TooLargeError):
        return 413
    return next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)


def _defect(request: Request, error: Exception) -> Response:
    """Told to the broker's owner; the agent learns only that it may try again."""
    where = f"{request.method} {request.url.path}"
    log.error("%s: %s: %s", where, type(error).__name__, error)
    return problem(BrokerError("the broker failed", code="BRK002", hint="try again"), 500)


def _refuse_size() -> NoReturn:
    raise TooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _clean(value: Any, depth: int = 0) -> Any:
    """The value with characters replaced that no database keeps; depth and numbers are bounded."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is out of range")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number is out of range")
    return value


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"`{where}`: {first['msg']}" if where else str(first["msg"])
