"""Assessments over HTTP. Who may have which of them is settled before (``pipeline.apps.api_access``)."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Query

from pipeline.apps.api_errors import BAD_REQUEST, ApiError
from pipeline.core.assess.document import document, parse_time
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import Place, Wanted, is_place, place_of
from pipeline.core.names import parse_site_id, site_id_text
from pipeline.services.follower import in_thread

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
        wanted = Wanted(
            country, city, _site(site), indicator, kind, window, _time("from", begin), _time("to", end)
        )
        place = None if after is None else _place(after)
        found = await in_thread(lambda: pages.page(wanted, place, limit + 1))
        shown = found[:limit]
        answer: dict[str, Any] = {"assessments": [document(item) for item in shown]}
        return answer | ({"next": _token(place_of(shown[-1]))} if len(found) > limit else {})

    return router


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
