"""Access requests over HTTP: what a site carries to the registrar by hand otherwise, and his answer back.

The API checks what anybody could check (form, chain, the site's own signatures) and keeps the request for the
registrar; it holds no key and decides nothing. Whoever sends learns nothing that he did not send: a good request gets
the same answer whoever it is from, and one without an answer looks like one that never was.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.request_inbox import RequestInbox
from pipeline.apps.api_access import too_many
from pipeline.apps.api_errors import BAD_REQUEST, NOT_FOUND, ApiError
from pipeline.apps.api_gate import address_of
from pipeline.apps.exchange import exchange_of
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.services.access import read_request
from pipeline.services.access_envelope import MAX_DOCUMENT_BYTES
from pipeline.services.follower import in_thread
from pipeline.services.rate_limit import Rate, RateLimit
from pipeline.telemetry import api_metrics as metrics
from pipeline.telemetry.logs import logger

ACCEPTED: Final = 202
TOO_LARGE: Final = 413
TIMED_OUT: Final = 408
_BODY_S: Final = 15.0
_REFUSALS: Final = {
    TIMED_OUT: "the request did not come to its end in time",
    TOO_LARGE: "the request is too large",
}

_log = logger(__name__)


@dataclass(slots=True)
class RequestDesk:
    """Where access requests go, how often one address may send them, and the clocks."""

    inbox: RequestInbox
    addresses: RateLimit[str] = field(default_factory=lambda: RateLimit(Rate(60 / 3600, 10)))
    now_ms: Callable[[], int] = SystemClock().now_ms
    monotonic: Callable[[], float] = time.monotonic


def access_request_router(genesis: Genesis, desk: RequestDesk) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["enrolment"])

    @router.post(
        "/access-requests",
        status_code=ACCEPTED,
        responses=_described(),
        openapi_extra={"requestBody": _BODY},
    )
    async def ask(request: Request) -> JSONResponse:
        """Keep a site's access request (`bkdms site request`) for the registrar; the same one again changes nothing."""
        # Written down though it is for everybody: it puts something on the disk.
        exchange_of(request).is_public = False
        wait_s = desk.addresses.take(address_of(request.scope), desk.monotonic())
        if wait_s:
            raise too_many(wait_s)
        raw = await _body(request)
        name = await in_thread(lambda: _keep(genesis, desk, raw))
        exchange_of(request).asked["request"] = name
        return JSONResponse({"request": name}, ACCEPTED)

    @router.get("/access-requests/{request}")
    async def answer(request: str) -> Response:
        """The registrar's answer to a request, by the SHA-256 of the request's bytes; 404 while there is none."""
        found = await in_thread(lambda: desk.inbox.answer(request))
        if found is None:
            raise ApiError(NOT_FOUND, "no_answer", "there is no answer (yet) to a request of this name")
        return Response(found, media_type="application/json")

    return router


_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "format": {"type": "string"},
                    "content": {"type": "object"},
                    "signature": {"type": "string"},
                },
                "required": ["format", "content", "signature"],
            }
        }
    },
}


def _described() -> dict[int | str, dict[str, Any]]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": text, "content": error} for status, text in _REFUSALS.items()}


async def _body(request: Request) -> bytes:
    """Return a request's body, bounded in bytes and time whatever the client says of it."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise ApiError(TOO_LARGE, "too_large", f"at most {MAX_DOCUMENT_BYTES} bytes are taken")
    except TimeoutError:
        raise ApiError(TIMED_OUT, "timed_out", _REFUSALS[TIMED_OUT]) from None
    except ClientDisconnect:
        raise ApiError(BAD_REQUEST, "broken_off", "the request broke off") from None
    return bytes(body)


def _keep(genesis: Genesis, desk: RequestDesk, raw: bytes) -> str:
    try:
        read_request(raw, genesis)
    except ConfigError as error:
        raise ApiError(BAD_REQUEST, "access_request", str(error)) from None
    except RecursionError:
        raise ApiError(BAD_REQUEST, "access_request", "the request is nested too deeply") from None
    try:
        name = desk.inbox.put(raw, desk.now_ms())
    except TransientError as error:
        _log.error("access_request_not_kept", code=error.code, reason=str(error))
        raise
    metrics.ACCESS_REQUESTS.set(sum(not item.is_answered for item in desk.inbox.requests()))
    return name
