"""Refusals of the API: a status, a stable code and a message for people; and how every error is answered."""

from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pipeline.apps.exchange import exchange_of
from pipeline.apps.schema_routes import RegistryError
from pipeline.core.errors import BkdmsError, ConflictError, TransientError
from pipeline.telemetry.logs import logger

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TOO_MANY: Final = 429
INTERNAL: Final = 500
AWAY: Final = 503
RETRY_AFTER_S: Final = 1

_log = logger(__name__)


class ApiError(HTTPException):
    """A refusal with a stable code and a message for people."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.code = code


def answer_errors(app: FastAPI) -> None:
    """Give every error a small JSON body and no stack trace."""

    @app.exception_handler(RegistryError)
    async def registry(request: Request, error: RegistryError) -> JSONResponse:
        exchange_of(request).outcome = "registry"
        return JSONResponse({"error_code": error.code, "message": error.detail}, error.status_code)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        code = error.code if isinstance(error, ApiError) else "http"
        return _answer(request, error.status_code, code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        message = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        return _answer(request, BAD_REQUEST, "parameter", message)

    async def away(request: Request, error: Exception) -> JSONResponse:
        code = str(getattr(error, "code", "transient"))
        later = {"Retry-After": str(RETRY_AFTER_S)}
        return _answer(request, AWAY, code, "not available right now; ask again", later)

    app.exception_handler(TransientError)(away)
    app.exception_handler(ConflictError)(away)

    @app.exception_handler(BkdmsError)
    async def broken(request: Request, error: BkdmsError) -> JSONResponse:
        _log.error("request_failed", code=error.code, reason=str(error))
        return _answer(request, INTERNAL, error.code, str(error))


def _answer(
    request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    exchange_of(request).outcome = code
    return JSONResponse({"error": code, "message": message}, status, headers)
