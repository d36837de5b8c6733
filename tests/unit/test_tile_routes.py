"""The exported log over HTTP: what may be cached and how long, and nothing of the folder but the log."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pipeline.core.tiles import tiles_of
from tests.support.api import ApiCase
from tests.support.chain import Chain
from tests.support.tiles import exported_files, write_log

SIZE = 257


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    case = ApiCase(tmp_path / "api", Chain())
    write_log(tmp_path / "log", SIZE)
    (tmp_path / "log" / ".state").mkdir()
    (tmp_path / "log" / ".state" / "export.sqlite").write_bytes(b"not for others")
    case.parts.tiles = tmp_path / "log"
    async with case.client() as found:
        yield found
    case.close()


async def test_every_file_of_the_log_is_served_as_it_is(client: httpx.AsyncClient, tmp_path: Path) -> None:
    files = exported_files(tmp_path / "log")
    assert len(files) == 1 + len(list(tiles_of(SIZE)))
    for place, content in files.items():
        answer = await client.get(f"/tiles/{place}")
        assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(
    ("place", "caching"),
    [
        ("checkpoint", "no-cache"),
        ("tile/0/000", "public, max-age=31536000, immutable"),
        ("tile/entries/000", "public, max-age=31536000, immutable"),
        ("tile/0/001.p/1", "public, max-age=3600"),
    ],
)
async def test_what_never_changes_is_cached_for_ever(
    client: httpx.AsyncClient, place: str, caching: str
) -> None:
    assert (await client.get(f"/tiles/{place}")).headers["Cache-Control"] == caching


@pytest.mark.parametrize(
    "place",
    [
        "tile/0/002",
        "tile/0/000.p/256",
        "tile/0/000/0",
        "tile/0/..%2F..%2Fcheckpoint",
        "tile/0/%2e%2e/%2e%2e/.state/export.sqlite",
        "tile/..%2f.state%2fexport.sqlite",
        ".state/export.sqlite",
        "tile/%2Fetc%2Fpasswd",
        "",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, place: str) -> None:
    answer = await client.get(f"/tiles/{place}")
    assert answer.status_code == 404
    assert b"not for others" not in answer.content


async def test_without_a_folder_there_are_no_tiles(tmp_path: Path) -> None:
    case = ApiCase(tmp_path / "api", Chain())
    async with case.client() as client:
        assert (await client.get("/tiles/checkpoint")).status_code == 404
    case.close()
