"""Access requests over HTTPS, from the site. Returns bytes as served; whether to believe them is the caller's."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from pipeline.core.errors import ConfigError, TransientError

_TIMEOUT_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 256 * 1024
_MAX_ERROR_CHARS: Final = 300
_PATH: Final = "/v1/access-requests"


def pinned_context(ca_pem: str, transport: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts one authority and no other; TLS 1.3 alone.

    ``transport`` is the folder of the site's own certificate, which is shown where there is one.

    Raises:
        ConfigError: the authority's certificate is none, or the site's own can't be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca_pem)
        if transport is not None and (transport / "certificate.pem").exists():
            context.load_cert_chain(transport / "certificate.pem", transport / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"transport certificates: {error}", code="config.tls") from None
    return context


class RequestClient:
    """Sends requests to the API at ``url`` and fetches answers; blocks while it does."""

    def __init__(
        self, url: str, context: ssl.SSLContext, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(verify=context, timeout=_TIMEOUT_S, trust_env=False, transport=transport)

    def send(self, raw: bytes) -> None:
        """Hand over a request; the same one may be sent again.

        Raises:
            ConfigError: it was refused; the message says why (code ``config.access``).
            TransientError: nobody answers, or asks to come again later (code ``access_api``).
        """
        with self._answer("POST", _PATH, raw) as answer:
            body = _bounded(answer)
            if answer.status_code == httpx.codes.BAD_REQUEST:
                raise ConfigError(f"{self._url} refused the request: {_message(body)}", code="config.access")
            if answer.status_code != httpx.codes.ACCEPTED:
                raise _failed(answer, body)

    def fetch(self, name: str) -> bytes | None:
        """Return the answer to the request of this name, or None while there is none.

        Raises:
            TransientError: nobody answers, or asks to come again later (code ``access_api``).
        """
        with self._answer("GET", f"{_PATH}/{name}") as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            body = _bounded(answer)
            if answer.status_code != httpx.codes.OK:
                raise _failed(answer, body)
            return body

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _answer(self, method: str, path: str, raw: bytes | None = None) -> Iterator[httpx.Response]:
        address = f"{self._url}{path}"
        headers = {} if raw is None else {"Content-Type": "application/json"}
        try:
            with self._client.stream(method, address, content=raw, headers=headers) as answer:
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TransientError(f"{address}: {error or type(error).__name__}", code="access_api") from error


def _bounded(answer: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise TransientError(f"{answer.url}: answer exceeds {_MAX_ANSWER_BYTES} bytes", code="access_api")
    return bytes(body)


def _failed(answer: httpx.Response, body: bytes) -> TransientError:
    return TransientError(
        f"{answer.url}: HTTP {answer.status_code}: {_message(body)}; try again later", code="access_api"
    )


def _message(body: bytes) -> str:
    """Return what a refusal says, as far as it can be printed: it is somebody else's text."""
    text = body[:_MAX_ERROR_CHARS].decode("ascii", "replace")
    return "".join(char if char.isprintable() else " " for char in text)
