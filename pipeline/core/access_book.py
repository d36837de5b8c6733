"""What a registrar remembers of access: one-time tokens that it gave out, requests that it answered.

Pure values; storing them is an adapter's affair. The ledger says who is enrolled, this book what may still ask.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from pipeline.core.names import SiteName

TOKEN_ID_BYTES: Final = 16
TOKEN_SECRET_BYTES: Final = 32
_TOKEN_PREFIX: Final = b"bkdms/access-token/v1\x00"
_TEXT_START: Final = "bkdms-token.v1"


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """What a site proves that it was given: the token's identifier (16 bytes) and the key derived from it (32)."""

    token_id: bytes
    mac_key: bytes


@dataclass(frozen=True, slots=True)
class GivenToken:
    """A token that was given out; ``used_by`` names the one request (32 bytes) that used it, else is empty.

    ``bundle`` (32 bytes) names the bundle that it was given out with.
    """

    token: Token
    site: SiteName
    bundle: bytes
    expires_ms: int
    used_by: bytes = b""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request that was decided for: whose, with which key (fingerprint), made when (ms)."""

    site: SiteName
    site_key: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class AccessBook:
    """A registrar's book: tokens by identifier, requests by digest."""

    tokens: Mapping[bytes, GivenToken] = field(default_factory=lambda: MappingProxyType({}))
    requests: Mapping[bytes, SeenRequest] = field(default_factory=lambda: MappingProxyType({}))

    def giving(self, given: GivenToken) -> "AccessBook":
        """Return the book with one more token; earlier unused ones of the same site are dropped."""
        kept = {key: other for key, other in self.tokens.items() if other.used_by or other.site != given.site}
        return replace(self, tokens={**kept, given.token.token_id: given})

    def deciding(self, digest: bytes, seen: SeenRequest, token_id: bytes = b"") -> "AccessBook":
        """Return the book after a decision for a request, which uses up its token."""
        tokens = dict(self.tokens)
        if token_id in tokens:
            tokens[token_id] = replace(tokens[token_id], used_by=digest)
        return replace(self, tokens=tokens, requests={**self.requests, digest: seen})

    def last_request(self, site: SiteName, site_key: bytes) -> bytes | None:
        """Return the digest of the newest request decided for of a site with this key, or None."""
        own = [
            (seen.time_ms, digest)
            for digest, seen in self.requests.items()
            if (seen.site, seen.site_key) == (site, site_key)
        ]
        return max(own)[1] if own else None


def token_text(token_id: bytes, secret: bytes) -> str:
    """Return how a token is written for people to carry; whoever reads it can ask in the site's name."""
    return f"{_TEXT_START}.{token_id.hex()}.{secret.hex()}"


def parse_token(text: str, chain: bytes) -> Token | None:
    """Return what a token is on a chain (32 bytes), or None where the text is none.

    The secret itself is not kept: the registrar's book holds the key derived from it, as the site uses it.
    """
    start, dot, rest = text.strip().partition(f"{_TEXT_START}.")
    try:
        token_id, secret = map(bytes.fromhex, rest.split("."))
    except ValueError:
        return None
    if start or not dot or (len(token_id), len(secret)) != (TOKEN_ID_BYTES, TOKEN_SECRET_BYTES):
        return None
    return Token(token_id, hmac.digest(secret, _TOKEN_PREFIX + chain + token_id, sha256))
