"""An exported log over HTTP (C2SP tlog-tiles). Returns bytes as served; verifying them is the caller's."""

import ssl

import httpx

from pipeline.adapters.tile_files import MAX_FILE_BYTES
from pipeline.core.errors import TransientError

_TIMEOUT_S = 30.0


class TileClient:
    """Reads the files of the log at ``url``, its prefix; blocks while it does.

    ``context`` is for servers that want a client certificate; without it the usual public authorities are trusted.
    ``transport`` replaces the network, for programs that host the log themselves.
    """

    def __init__(
        self, url: str, context: ssl.SSLContext | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            verify=context or True, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )

    def read(self, path: str) -> bytes:
        """Return the content of a file of the log; empty where there is none.

        Raises:
            TransientError: nobody answers, or not as a log does (code ``tiles``).
        """
        address = f"{self._url}/{path}"
        try:
            with self._client.stream("GET", address) as answer:
                if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                    return b""
                if answer.status_code != httpx.codes.OK:
                    raise TransientError(f"{address}: HTTP {answer.status_code}", code="tiles")
                return _bounded(answer, address)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TransientError(f"{address}: {error or type(error).__name__}", code="tiles") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _bounded(answer: httpx.Response, address: str) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > MAX_FILE_BYTES:
            raise TransientError(f"{address}: answer exceeds {MAX_FILE_BYTES} bytes", code="tiles")
    return bytes(body)
