"""Public keys of a token issuer (JWKS, RFC 7517): bounded, kept for a while, fetched again when one is missing."""

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pipeline.core.errors import ConfigError, TransientError

MAX_JWKS_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 32
FRESH_S: Final = 300.0
"""Age at which keys are fetched again."""
STALE_S: Final = 3600.0
"""Age at which keys that can't be fetched again are not believed any more: they may have been withdrawn."""
_PAUSE_S: Final = 10.0
"""Least time between two fetches, so that made-up key names don't flood the issuer."""
_MIN_RSA_BITS: Final = 2048
_MAX_ID_CHARS: Final = 256
_TIMEOUT_S: Final = 5.0
# Key type and curve -> the one algorithm that its signatures may have: the key decides, never the token.
_ALGORITHMS: Final = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA", ("RSA", None): "RS256"}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key of an issuer and the one algorithm of its signatures."""

    algorithm: str
    key: Any


KeySet = dict[str, TokenKey]


class TokenKeys(Protocol):
    """Where an issuer's keys are looked up."""

    async def key(self, key_id: str) -> TokenKey | None:
        """Return the key of this name, or None where the issuer has none.

        Raises:
            TransientError: the issuer's keys can't be had right now (``issuer``).
        """

    async def close(self) -> None:
        """Let connections go."""


def parse_jwks(content: bytes) -> KeySet:
    """Return the usable signature keys of a JWKS; others in it are left out.

    Raises:
        ValueError: it is no JWKS, too large, or two of its keys have one name.
    """
    if len(content) > MAX_JWKS_BYTES:
        raise ValueError(f"it exceeds {MAX_JWKS_BYTES} bytes")
    try:
        items = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is no JSON object with keys") from None
    if not isinstance(items, list) or len(items) > MAX_KEYS:
        raise ValueError(f"it has not got a list of at most {MAX_KEYS} keys")
    found: KeySet = {}
    for item in items:
        named = _read_key(item)
        if named is None:
            continue
        if named[0] in found:
            raise ValueError(f"two of its keys are named {named[0]!r}")
        found[named[0]] = named[1]
    return found


def _read_key(item: Any) -> tuple[str, TokenKey] | None:
    if not isinstance(item, dict) or item.get("use", "sig") != "sig" or "d" in item:
        return None
    name, kind, curve = item.get("kid"), item.get("kty"), item.get("crv")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_ID_CHARS or not isinstance(kind, str):
        return None
    algorithm = _ALGORITHMS.get((kind, curve if isinstance(curve, str) else None))
    if algorithm is None or item.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(item, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return None
    return name, TokenKey(algorithm, key)


class KeysInFile:
    """Keys in a file, read again when it changes.

    Raises:
        ConfigError: the file is missing or no JWKS.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: KeySet = {}
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"setting access.jwks_file: {path}: {error}", code="config.jwks") from None

    async def key(self, key_id: str) -> TokenKey | None:
        """Return the key of this name, or None where the file has none.

        Raises:
            TransientError: the file can't be read right now, or is no JWKS any more (``issuer``).
        """
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise TransientError(f"{self._path}: {error}", code="issuer") from None
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Nothing is open."""

    def _read(self) -> None:
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._stamp:
            return
        self._keys = parse_jwks(self._path.read_bytes()[: MAX_JWKS_BYTES + 1])
        self._stamp = stamp


class KeysAtUrl:
    """Keys at an address, verified by TLS; redirects and proxies of the environment are not followed.

    ``transport`` replaces the network, for programs that host the issuer themselves.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._monotonic = url, monotonic
        self._client = httpx.AsyncClient(
            verify=context or True, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )
        self._keys: KeySet = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None

    async def key(self, key_id: str) -> TokenKey | None:
        """Return the key of this name, or None where the issuer has none.

        Raises:
            TransientError: the keys can't be had, and those we have are older than ``STALE_S`` (``issuer``).
        """
        if self._age() > FRESH_S or key_id not in self._keys:
            await self._fetch()
        if self._age() > STALE_S:
            raise TransientError(f"the keys of the token issuer at {self._url} can't be had", code="issuer")
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _age(self) -> float:
        return float("inf") if self._fetched_s is None else self._monotonic() - self._fetched_s

    async def _fetch(self) -> None:
        now_s = self._monotonic()
        if self._tried_s is not None and now_s - self._tried_s < _PAUSE_S:
            return
        self._tried_s = now_s
        try:
            async with self._client.stream("GET", self._url) as answer:
                if answer.status_code != httpx.codes.OK:
                    return
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_JWKS_BYTES:
                        return
            self._keys, self._fetched_s = parse_jwks(bytes(body)), now_s
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return  # what we have counts until it is stale
