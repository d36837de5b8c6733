"""Refusals of the API: a status, a stable code and a message for people."""

from fastapi import Request
from starlette.exceptions import HTTPException

BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404


class ApiError(HTTPException):
    """A refusal with a stable code and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.code = code


def refuse_other_parameters(request: Request, *names: str) -> None:
    """Refuse query parameters that the path has not got.

    Raises:
        ApiError: there is one.
    """
    unknown = sorted(set(request.query_params) - set(names))
    if unknown:
        raise ApiError(BAD_REQUEST, "parameter", f"there is no parameter {unknown[0][:64]!r}")
