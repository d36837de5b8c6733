"""The API's own description (OpenAPI): what each route asks of its caller, and every answer that it may give."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pipeline.apps.api_table import ROUTES, Open
from pipeline.core.permit import FIELDS, Action

_ERROR: Final = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "stable code"},
        "error_code": {"type": "integer", "description": "code of a schema registry, on its paths"},
        "message": {"type": "string", "description": "for people"},
    },
    "required": ["message"],
}
_SCHEMES: Final = {
    "certificate": {
        "type": "mutualTLS",
        "description": "a client certificate of the deployment, by its role",
    },
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_REFUSALS: Final = {
    "400": "a parameter is wrong, unknown or given twice",
    "401": "nobody is known to ask, or the token is refused",
    "403": "the caller may not have this, or the certificate is revoked",
    "404": "there is none",
    "405": "there is no such method",
    "429": "too many requests; Retry-After says how many seconds to wait",
    "500": "contradicting data, or a defect; the log says which",
    "503": "not available right now; ask again",
}


def describe_api(app: FastAPI) -> None:
    """Have the application describe itself completely; once all routes are there."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            made.setdefault("components", {}).setdefault("schemas", {})["Error"] = _ERROR
            made["components"]["securitySchemes"] = _SCHEMES
            for path, operations in made["paths"].items():
                for operation in operations.values():
                    _complete(operation, _wanted(path))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # the way that FastAPI's documentation names


def _wanted(path: str) -> Action | Open | None:
    """Return what the route of a described path asks for; a described path lacks the converters."""
    return {template.replace(":path}", "}"): wanted for template, wanted in ROUTES.items()}.get(path)


def _complete(operation: dict[str, Any], wanted: Action | Open | None) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation["responses"].pop("422", None)
    for status, meaning in _REFUSALS.items():
        operation["responses"].setdefault(status, {"description": meaning, "content": content})
    if isinstance(wanted, Action):
        scope = "/".join((wanted.value, *(name.upper() for name in FIELDS[wanted])))
        operation["security"] = [{"certificate": []}, {"token": []}]
        operation["description"] = (
            f"{operation.get('description', '')}\n\nScope of tokens: `{scope}`.".strip()
        )
    else:
        operation["security"] = []
