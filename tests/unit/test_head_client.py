"""Asking the API for a site's head."""

import ssl
from collections.abc import Callable

import httpx
import pytest

from pipeline.adapters.head_client import HttpHeadSource
from pipeline.core.errors import TransientError
from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.site_head import MAX_DOCUMENT_BYTES

SITE = SiteName("US", "unlocode:USMES", parse_site_id("fd62::1"))


async def ask(answer: Callable[[httpx.Request], httpx.Response], *, with_packet: bool = False) -> bytes:
    context = ssl.create_default_context()
    source = HttpHeadSource("https://127.0.0.1:1/", context, httpx.MockTransport(answer))
    try:
        return await source.head(SITE, with_packet=with_packet)
    finally:
        await source.close()


async def test_the_document_comes_back_as_served() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=b' {"as": "served"}\n')

    assert await ask(answer) == b' {"as": "served"}\n'
    await ask(answer, with_packet=True)
    place = "https://127.0.0.1:1/v1/sites/US/unlocode%3AUSMES/fd62%3A%3A1/head"
    assert asked == [place, f"{place}?packet=true"]


def refuse(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refuse, "head_api"),
        (lambda _: httpx.Response(404), "head_missing"),
        (lambda _: httpx.Response(503), "head_api"),
        (lambda _: httpx.Response(302, headers={"location": "https://elsewhere/"}), "head_api"),
        (lambda _: httpx.Response(200, content=bytes(MAX_DOCUMENT_BYTES + 1)), "head_api"),
    ],
)
async def test_everything_but_a_bounded_answer_is_a_passing_fault(
    answer: Callable[[httpx.Request], httpx.Response], code: str
) -> None:
    with pytest.raises(TransientError) as failed:
        await ask(answer)
    assert failed.value.code == code
