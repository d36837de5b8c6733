"""The exported log over HTTP (C2SP tlog-tiles): checkpoint, policy, tiles and bundles from the exporter's folder.

Only the paths that the format knows are looked up, in their one spelling; nothing else of the folder is served.
"""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from pipeline.core.errors import TransientError
from pipeline.core.tiles import CHECKPOINT, parse_tile_path
from pipeline.core.tlog_policy import POLICY_FILE
from pipeline.services.follower import in_thread

_NOT_FOUND: Final = 404
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_FOR_A_WHILE: Final = "public, max-age=3600"
_BINARY: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"


class _Tile(Response):
    """What the API's description says of a tile."""

    media_type = _BINARY


def tile_router(folder: Path) -> APIRouter:
    """Return the routes under ``/tiles``, the log's prefix."""
    router = APIRouter(prefix="/tiles", tags=["tiles"])

    @router.get("/checkpoint", response_class=PlainTextResponse)
    async def checkpoint() -> Response:
        """The signed checkpoint, with the nodes' cosignatures."""
        note = await _read(folder / CHECKPOINT)
        return Response(note, media_type=_TEXT, headers={"Cache-Control": "no-cache"})

    @router.get(f"/{POLICY_FILE}", response_class=PlainTextResponse)
    async def policy() -> Response:
        """The policy that the checkpoint fulfils (C2SP tlog-policy); trust it only as far as who gave it to you."""
        text = await _read(folder / POLICY_FILE)
        return Response(text, media_type=_TEXT, headers={"Cache-Control": "no-cache"})

    @router.get("/tile/{place:path}", response_class=_Tile)
    async def tile(place: str) -> Response:
        """A tile or an entry bundle; partial ones are gone some time after the full one is there."""
        found = parse_tile_path(f"tile/{place}")
        if found is None:
            raise HTTPException(_NOT_FOUND, "there is no such path in a log of tiles")
        caching = _FOR_EVER if found.is_full else _FOR_A_WHILE
        content = await _read(folder / found.path)
        return Response(content, media_type=_BINARY, headers={"Cache-Control": caching})

    return router


async def _read(path: Path) -> bytes:
    try:
        return await in_thread(path.read_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise HTTPException(_NOT_FOUND, "this is not exported (yet)") from None
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
