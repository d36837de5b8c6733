"""Assessments over HTTP, for clients whose certificate's role may see plain values; everybody else gets 403."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Query, Request

from ops.tls.principal import Role
from pipeline.apps.api_errors import BAD_REQUEST, FORBIDDEN, ApiError, refuse_other_parameters
from pipeline.apps.client_identity import client_of
from pipeline.core.assess.document import document, parse_time
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import Place, Wanted, is_place, place_of
from pipeline.core.names import parse_site_id, site_id_text
from pipeline.services.follower import in_thread

READERS: Final = frozenset({Role.ANALYST, Role.PLATFORM, Role.REGISTRAR, Role.ASSESS})
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
_MAX_TEXT: Final = 256
_Text = Annotated[str | None, Query(max_length=_MAX_TEXT)]


class AssessmentPages(Protocol):
    """Where assessments are read; the call blocks."""

    def page(self, wanted: Wanted, after: Place | None, limit: int) -> list[Assessment]:
        """Return the next wanted assessments after a place, in order."""


def assessment_router(pages: AssessmentPages) -> APIRouter:
    """Return the route ``/v1/assessments``."""
    router = APIRouter(prefix="/v1", tags=["analysis"])

    @router.get("/assessments")
    async def assessments(
        request: Request,
        *,
        country: _Text = None,
        city: _Text = None,
        site: Annotated[
            str | None, Query(max_length=_MAX_TEXT, description="empty: a whole city's figures")
        ] = None,
        indicator: _Text = None,
        kind: _Text = None,
        window: Annotated[
            str | None, Query(max_length=_MAX_TEXT, description="hour, day, month, year")
        ] = None,
        begin: Annotated[
            str | None, Query(alias="from", max_length=_MAX_TEXT, description="windows from this time on")
        ] = None,
        end: Annotated[
            str | None,
            Query(alias="to", max_length=_MAX_TEXT, description="windows that begin before this time"),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        after: Annotated[
            str | None, Query(max_length=8 * _MAX_TEXT, description="`next` of the page before")
        ] = None,
    ) -> dict[str, Any]:
        """Quality, availability, values and scores, oldest window first; `next` is there while there are more."""
        _require_reader(request)
        refuse_other_parameters(request, *_PARAMETERS)
        wanted = Wanted(
            country, city, _site(site), indicator, kind, window, _time("from", begin), _time("to", end)
        )
        place = None if after is None else _place(after)
        found = await in_thread(lambda: pages.page(wanted, place, limit + 1))
        shown = found[:limit]
        answer: dict[str, Any] = {"assessments": [document(item) for item in shown]}
        return answer | ({"next": _token(place_of(shown[-1]))} if len(found) > limit else {})

    return router


_PARAMETERS: Final = (
    *("country", "city", "site", "indicator", "kind", "window"),
    *("from", "to", "limit", "after"),
)


def _require_reader(request: Request) -> None:
    """Refuse clients whose certificate does not let them see plain values."""
    client = client_of(request)
    if client is None or client.role not in READERS:
        who = "no client certificate" if client is None else f"role {client.role.value}"
        roles = ", ".join(sorted(READERS))
        raise ApiError(
            FORBIDDEN,
            "role",
            f"assessments are for certificates of the roles {roles}; this request has {who}",
        )


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    found = parse_time(text)
    if found is None:
        raise ApiError(BAD_REQUEST, "parameter", f"{name}: write a time as 2026-11-20T00:00:00Z")
    return found


def _token(place: Place) -> str:
    return urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place(token: str) -> Place:
    try:
        place = tuple(json.loads(urlsafe_b64decode(token.encode("ascii"))))
    except (ValueError, TypeError, RecursionError):
        place = ()
    if not is_place(place):
        raise ApiError(BAD_REQUEST, "parameter", "after: give `next` of the page before, unchanged")
    return place


def _site(text: str | None) -> str | None:
    """Return a site identifier in the spelling of the store; empty stands for a whole city."""
    if not text:
        return text
    try:
        return site_id_text(parse_site_id(text))
    except ValueError:
        raise ApiError(
            BAD_REQUEST, "parameter", "site: write an IPv4 or IPv6 address, or leave it empty"
        ) from None
