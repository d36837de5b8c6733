"""The site head from the HTTP API, over mutual TLS. Returns bytes as served; verifying them is the caller's."""

import ssl
from urllib.parse import quote, urlencode

import httpx

from pipeline.core.errors import TransientError
from pipeline.core.names import SiteName, site_id_text
from pipeline.core.site_head import MAX_DOCUMENT_BYTES

_TIMEOUT_S = 15.0
_NOT_FOUND = 404


class HttpHeadSource:
    """Asks the API at ``url``; one connection pool for all sites of a process.

    ``transport`` replaces the network, for programs that host the API themselves.
    """

    def __init__(
        self, url: str, context: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            verify=context, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Return the site head document, unverified, at most 1 MiB; on demand with the packet's bytes in it.

        ``since`` leaves out the registrar's records below that leaf.

        Raises:
            TransientError: nobody answers (``head_api``), the ledger has not got the site yet
                (``head_missing``), or the answer is too large.
        """
        place = "/".join(quote(part, safe="") for part in (*site[:2], site_id_text(site.site_id)))
        wanted = {"packet": "true"} if with_packet else {}
        wanted |= {"since": str(since)} if since else {}
        address = f"{self._url}/v1/sites/{place}/head" + (f"?{urlencode(wanted)}" if wanted else "")
        try:
            async with self._client.stream("GET", address) as answer:
                if answer.status_code == _NOT_FOUND:
                    raise TransientError(
                        f"the ledger knows no site {site} yet; is it enrolled?", code="head_missing"
                    )
                if answer.status_code != httpx.codes.OK:
                    raise TransientError(f"{address}: HTTP {answer.status_code}", code="head_api")
                return await _bounded(answer, address)
        except (httpx.HTTPError, OSError) as error:
            raise TransientError(f"{address}: {error or type(error).__name__}", code="head_api") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _bounded(answer: httpx.Response, address: str) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise TransientError(f"{address}: answer exceeds {MAX_DOCUMENT_BYTES} bytes", code="head_api")
    return bytes(body)
