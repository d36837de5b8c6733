"""add-checkpoint over HTTP: sends a request to a witness and returns what it answered, within bounds.

Redirects are not followed and proxies of the environment not used: a witness is asked where the policy says.
"""

import asyncio
import ssl
from typing import Final

import httpx

from pipeline.core.errors import TransientError
from pipeline.core.witness import ADD_CHECKPOINT, MAX_ANSWER_BYTES

TIMEOUT_S: Final = 10.0
"""From the first byte sent to the last one received."""


class HttpWitnessClient:
    """Asks witnesses; one connection pool for all of them. Certificates are checked by the system's authorities."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            timeout=None,  # noqa: S113  the whole call has one below
            trust_env=False,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def add_checkpoint(self, url: str, request: bytes) -> tuple[int, bytes]:
        """Send a request to the witness with the submission prefix ``url``; return status and body of the answer.

        Raises:
            TransientError: nobody answers in time, or with too much (code ``witness_away``).
        """
        address = f"{url.rstrip('/')}/{ADD_CHECKPOINT}"
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", address, content=request) as answer,
            ):
                return answer.status_code, await _bounded(answer, address)
        except TimeoutError:
            raise TransientError(
                f"{address}: no answer in {self._timeout_s} s", code="witness_away"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TransientError(
                f"{address}: {error or type(error).__name__}", code="witness_away"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _bounded(answer: httpx.Response, address: str) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():  # not unpacked: little can become much
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise TransientError(f"{address}: answer exceeds {MAX_ANSWER_BYTES} bytes", code="witness_away")
    return bytes(body)
