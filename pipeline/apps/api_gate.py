"""Around every request: limits per address, the access log, metrics, headers, and the last word on unguarded routes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from typing import Final

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.adapters.access_log_files import AccessLogFiles
from pipeline.adapters.clock import SystemClock
from pipeline.apps.api_access import too_many
from pipeline.apps.api_errors import AWAY, BAD_REQUEST, FORBIDDEN, INTERNAL, RETRY_AFTER_S, UNAUTHORIZED
from pipeline.apps.exchange import Exchange, begin_exchange
from pipeline.core.access_log import Access
from pipeline.core.errors import TransientError
from pipeline.services.rate_limit import Rate, RateLimit
from pipeline.telemetry import api_metrics as metrics
from pipeline.telemetry.logs import logger

REFUSAL_COST: Final = 20
"""Requests that a refused one counts for, so that trying tokens or sites is slow and fills no disk."""
OPENAPI_PATH: Final = "/v1/openapi.json"
_NONE: Final = "none"

_log = logger(__name__)


@dataclass(slots=True)
class GateParts:
    """What the gate uses: limits per address, the access log where one is kept, clocks."""

    addresses: RateLimit[str] = field(default_factory=lambda: RateLimit(Rate(500, 2_000)))
    log: AccessLogFiles | None = None
    log_public: bool = False
    now_ms: Callable[[], int] = SystemClock().now_ms
    monotonic: Callable[[], float] = time.monotonic


class ApiGate:
    """ASGI middleware; nothing is answered before its line is in the access log."""

    def __init__(self, app: ASGIApp, parts: GateParts) -> None:
        self._app, self._parts = app, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = begin_exchange(scope)
        answer = _Answer(self._parts, scope, exchange, send)
        wait_s = self._parts.addresses.take(address_of(scope), self._parts.monotonic())
        if wait_s:
            error = too_many(wait_s)
            body = {"error": error.code, "message": error.detail}
            await JSONResponse(body, error.status_code, error.headers)(scope, receive, send)
            metrics.REQUESTS.labels(_NONE, error.status_code).inc()
            return
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            _log.error("request_failed", code="defect", reason=type(error).__name__, exc_info=error)
            if answer.status is None:
                exchange.outcome = "internal"
                body = {"error": "internal", "message": "an internal error; see the log"}
                await JSONResponse(body, INTERNAL)(scope, receive, answer.send)
        if answer.status in (UNAUTHORIZED, FORBIDDEN):
            self._parts.addresses.take(address_of(scope), self._parts.monotonic(), REFUSAL_COST - 1)
        route = exchange.route or _NONE
        metrics.REQUESTS.labels(route, answer.status or INTERNAL).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)


class _Answer:
    """Passes an answer on, once it is admitted and logged; otherwise puts a refusal in its place."""

    def __init__(self, parts: GateParts, scope: Scope, exchange: Exchange, send: Send) -> None:
        self._parts, self._scope, self._exchange, self._send = parts, scope, exchange, send
        self._is_replaced = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            if not self._is_admitted(message["status"]):
                self._exchange.outcome = "undeclared"
                await self._replace(FORBIDDEN, "undeclared", "this path answers nobody")
                return
            try:
                self._write_down(message["status"])
            except TransientError as error:
                _log.error("request_failed", code=error.code, reason=str(error))
                await self._replace(AWAY, error.code, "not available right now; ask again", is_logged=False)
                return
            self.status = message["status"]
            _add_headers(message)
        await self._send(message)

    def _is_admitted(self, status: int) -> bool:
        """Tell whether an answer may leave: the guard let the request pass, or it is a refusal."""
        return self._exchange.is_admitted or status >= BAD_REQUEST or self._scope["path"] == OPENAPI_PATH

    def _write_down(self, status: int) -> None:
        exchange, log = self._exchange, self._parts.log
        if log is None or (exchange.is_public and status < BAD_REQUEST and not self._parts.log_public):
            return
        log.append(
            Access(
                self._parts.now_ms(),
                exchange.who,
                exchange.via,
                (self._scope.get("client") or (_NONE, 0))[0],
                self._scope["method"][:16],
                exchange.route or _NONE,
                exchange.asked,
                status,
                exchange.outcome,
            )
        )

    async def _replace(self, status: int, code: str, message: str, *, is_logged: bool = True) -> None:
        self._is_replaced, self.status = True, status
        if is_logged:
            self._write_down(status)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == AWAY else None
        response = JSONResponse({"error": code, "message": message}, status, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
        await self._send({"type": "http.response.body", "body": bytes(response.body)})


def address_of(scope: Scope) -> str:
    """Return whose requests count together: an IPv4 address, or an IPv6 network of 64 bits."""
    host = (scope.get("client") or (_NONE, 0))[0]
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
