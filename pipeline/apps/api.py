"""HTTP API: site heads and proofs, traces, the chain's head, assessments, schemas, health, metrics.

Owns paths, parameters and errors; what is served of the ledger comes from a view that verified every block itself,
and is free of plain values. Assessments come from the platform's store. Who may ask for what is judged before any of it
(``pipeline.apps.api_access``), and every answer passes ``pipeline.apps.api_gate``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pipeline.apps.access_request_routes import RequestDesk, access_request_router
from pipeline.apps.api_access import ApiAccess
from pipeline.apps.api_document import describe_api
from pipeline.apps.api_errors import AWAY, BAD_REQUEST, NOT_FOUND, ApiError, answer_errors
from pipeline.apps.api_gate import ApiGate, GateParts
from pipeline.apps.assessment_routes import AssessmentPages, assessment_router
from pipeline.apps.schema_routes import schema_router
from pipeline.apps.tile_routes import tile_router
from pipeline.apps.upkeep import Upkeep
from pipeline.core.errors import BkdmsError, IntegrityError, TransientError
from pipeline.core.followed import BlockInfo
from pipeline.core.genesis import Genesis
from pipeline.core.names import MAX_LONG, SiteName, is_site_name, parse_site_id
from pipeline.core.replica import BlockReason
from pipeline.core.site_head import SiteHeadDocument
from pipeline.core.topics import Topics
from pipeline.services.block_source import BlockSource
from pipeline.services.ending import end
from pipeline.services.follower import Follower, Skipped, in_thread, run_steps
from pipeline.services.site_heads import LedgerView, site_head
from pipeline.services.trace import TraceProblem, trace_in_ledger
from pipeline.telemetry import api_metrics as metrics
from pipeline.telemetry.logs import logger
from pipeline.telemetry.metrics import WORKER_READY, show_zeros

_SYNC_S: Final = 1.0
"""Longest time between a line of the access log and its being on the disk."""

_log = logger(__name__)


@dataclass(slots=True)
class ApiParts:
    """What the API is made of. ``follower`` fills ``view``; ``blocks`` has a reader of its own.

    ``tiles`` is the exporter's folder, where one is to be served; ``assessments`` reads those of the store. ``access``
    judges who may ask for what, ``gate`` limits and logs. ``requests`` takes access requests, where any are taken.
    """

    genesis: Genesis
    topics: Topics
    view: LedgerView
    follower: Follower
    blocks: BlockSource
    tiles: Path | None = None
    assessments: AssessmentPages | None = None
    halted: IntegrityError | None = None
    is_ready: bool = False
    access: ApiAccess = field(default_factory=ApiAccess)
    gate: GateParts = field(default_factory=GateParts)
    upkeep: Upkeep | None = None
    requests: RequestDesk | None = None


def alarm(skipped: Skipped) -> None:
    """Count and log a record of the blocks topic that is no block of the chain."""
    reason = skipped.problem.reason.value
    metrics.VIEW_SKIPPED.labels(reason).inc()
    _log.warning("block_skipped", reason=reason, kafka_offset=skipped.kafka_offset)


def create_api(parts: ApiParts) -> FastAPI:
    """Return the application; it follows the blocks while it is served."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        following = asyncio.create_task(_follow(parts, stop))
        keeping = asyncio.create_task(_keep_log(parts, stop))
        upkeep = asyncio.create_task(parts.upkeep.run()) if parts.upkeep is not None else None
        yield
        if upkeep is not None:
            await end({upkeep})
        stop.set()
        await following
        await keeping
        await parts.access.close()
        await parts.follower.close()
        await parts.blocks.close()

    app = FastAPI(
        title="bkdms",
        summary="Verifiable ledger of city indicators (ITU-T Y.4907)",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=lifespan,
        dependencies=[Depends(parts.access.guard)],
    )
    app.add_middleware(ApiGate, parts=parts.gate)
    answer_errors(app)
    app.include_router(_ledger_router(parts))
    app.include_router(schema_router(parts.topics))
    if parts.assessments is not None:
        app.include_router(assessment_router(parts.assessments))
    if parts.tiles is not None:
        app.include_router(tile_router(parts.tiles))
    if parts.requests is not None:
        app.include_router(access_request_router(parts.genesis, parts.requests))
    app.include_router(_health_router(parts))
    describe_api(app)
    return app


async def _keep_log(parts: ApiParts, stop: asyncio.Event) -> None:
    """Force the access log to the disk now and then."""
    log = parts.gate.log
    while log is not None and not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SYNC_S)
        try:
            await in_thread(log.sync)
        except TransientError as error:
            _log.error("request_failed", code=error.code, reason=str(error))


async def _follow(parts: ApiParts, stop: asyncio.Event) -> None:
    """Follow the blocks; contradicting data stop the view, which goes on serving what it has verified."""

    def note() -> None:
        parts.is_ready = True
        metrics.VIEW_HEIGHT.set(parts.follower.height)

    show_zeros(metrics.VIEW_SKIPPED, [(reason.value,) for reason in BlockReason])
    try:
        await run_steps(parts.follower.step, stop, note)
    except BkdmsError as error:
        parts.halted = (
            error if isinstance(error, IntegrityError) else IntegrityError(str(error), code=error.code)
        )
        metrics.VIEW_HALTED.set(1)
        _log.error("view_halted", code=error.code, reason=str(error))


def _ledger_router(parts: ApiParts) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["ledger"])
    chain = parts.genesis.chain

    @router.get("/sites/{country}/{city:path}/{site_id}/head")
    async def head(
        country: str,
        city: str,
        site_id: str,
        packet: Annotated[bool, Query(description="put the bytes of the site's last packet in")] = False,
        since: Annotated[
            int, Query(ge=0, le=MAX_LONG, description="leave out records about the site below this leaf")
        ] = 0,
    ) -> dict[str, Any]:
        """The site's last committed packet, or its enrolment, with proof."""
        name = _site_name(country, city, site_id)
        document = await _head(parts, name, with_packet=packet, since=since)
        return document.as_json()

    @router.get("/trace/{code}")
    async def trace(code: str) -> dict[str, Any]:
        """Where a packet is and that it is there, by its tracing code."""
        found = await trace_in_ledger(code, chain, parts.view, parts.blocks)
        if isinstance(found, TraceProblem):
            status = BAD_REQUEST if found is TraceProblem.MISTYPED else NOT_FOUND
            raise ApiError(status, found.value, found.advice)
        return found

    @router.get("/chain")
    async def chain_head() -> dict[str, Any]:
        """The end of the chain, with its certificate."""
        last = await in_thread(lambda: _last_block(parts))
        return _chain_document(parts.genesis, last)

    return router


def _last_block(parts: ApiParts) -> BlockInfo | None:
    with parts.view.snapshot() as snapshot:
        return snapshot.last_block()


def _chain_document(genesis: Genesis, last: BlockInfo | None) -> dict[str, Any]:
    head = (
        {"height": 0, "tree_size": 0}
        if last is None
        else {
            "height": last.height,
            "block_hash": last.hash.hex(),
            "tree_size": last.tree_size,
            "root": last.root.hex(),
            "bytes": last.block_offset + last.block_length,
            "certified_first": last.certified_first,
            "certificate": last.certificate.decode(),
        }
    )
    return {"chain": genesis.chain.hex(), "chain_id": genesis.url, "origin": genesis.origin} | head


async def _head(parts: ApiParts, name: SiteName, *, with_packet: bool, since: int) -> SiteHeadDocument:
    def look_up() -> tuple[SiteHeadDocument, BlockInfo] | None:
        with parts.view.snapshot() as snapshot:
            document = site_head(parts.genesis.chain, snapshot, name, since)
            info = None if document is None else snapshot.block(document.height)
            return None if document is None or info is None else (document, info)

    found = await in_thread(look_up)
    if found is None:
        raise ApiError(NOT_FOUND, "unknown_site", f"the ledger has no enrolment of {name} (yet)")
    document, info = found
    if not with_packet or document.sequence == 0:
        return document
    block = await parts.blocks.block(info.kafka_offset, info.hash)
    return replace(document, head=replace(document.head, payload=block.entries[document.entry].payload))


def _site_name(country: str, city: str, site_id: str) -> SiteName:
    try:
        name = SiteName(country, city, parse_site_id(site_id))
    except ValueError:
        raise ApiError(BAD_REQUEST, "site_id", "site_id must be an IPv4 or IPv6 address") from None
    if not is_site_name(name):
        raise ApiError(
            BAD_REQUEST,
            "site",
            "country must be two capital letters, city 1 to 64 characters without spaces",
        )
    return name


def _health_router(parts: ApiParts) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        """Whether the view follows the chain."""
        is_ready = _is_ready(parts)
        body: dict[str, Any] = {"ready": is_ready, "height": parts.follower.height}
        if parts.halted is not None:
            body |= {"halted": parts.halted.code, "message": str(parts.halted)}
        return JSONResponse(body, 200 if is_ready else AWAY)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        WORKER_READY.set(_is_ready(parts))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _is_ready(parts: ApiParts) -> bool:
    return parts.is_ready and parts.halted is None and (parts.upkeep is None or parts.upkeep.is_good)
