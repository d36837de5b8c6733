"""Bearer tokens: JWTs of one issuer for one audience (RFC 7519, 9068), verified; and the local issuer that makes them.

The signature's algorithm comes from the issuer's key, never from the token. A token is short-lived, so that nobody
needs a list of withdrawn ones.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import jwt

from pipeline.adapters.token_keys import TokenKeys
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.permit import Permit, parse_permits
from pipeline.core.signing import Ed25519Signer

MAX_TOKEN_CHARS: Final = 8192
MAX_SUBJECT_CHARS: Final = 128
_LEEWAY_S: Final = 5
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt"})
_ID_DIGITS: Final = 16


class TokenProblem(StrEnum):
    """Why a token is refused."""

    MALFORMED = "token_malformed"
    UNKNOWN_KEY = "token_key"
    SIGNATURE = "token_signature"
    EXPIRED = "token_expired"
    EARLY = "token_early"
    ISSUER = "token_issuer"
    AUDIENCE = "token_audience"
    CLAIMS = "token_claims"
    LIFE = "token_life"


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whom a verified token speaks for, and what it permits."""

    subject: str
    permits: frozenset[Permit]


class TokenVerifier:
    """Verifies tokens of one issuer for one audience, none with a life longer than ``max_life_s``."""

    def __init__(self, issuer: str, audience: str, keys: TokenKeys, max_life_s: int) -> None:
        self._issuer, self._audience, self._keys, self._max_life_s = issuer, audience, keys, max_life_s

    async def verify(self, token: str) -> TokenHolder | TokenProblem:
        """Return whom a token speaks for, or why it is refused. Total.

        Raises:
            TransientError: the issuer's keys can't be had right now (``issuer``).
        """
        key_id = _key_id(token)
        if key_id is None:
            return TokenProblem.MALFORMED
        key = await self._keys.key(key_id)
        if key is None:
            return TokenProblem.UNKNOWN_KEY
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            return _problem(error)
        return self._holder(claims)

    async def close(self) -> None:
        """Let the issuer's connections go."""
        await self._keys.close()

    def _holder(self, claims: dict[str, Any]) -> TokenHolder | TokenProblem:
        subject, scope = claims["sub"], claims.get("scope", "")
        if not isinstance(subject, str) or not isinstance(scope, str):
            return TokenProblem.CLAIMS
        if not 0 < len(subject) <= MAX_SUBJECT_CHARS or not (subject.isascii() and subject.isprintable()):
            return TokenProblem.CLAIMS
        if int(claims["exp"]) - int(claims["iat"]) > self._max_life_s:
            return TokenProblem.LIFE
        try:
            return TokenHolder(subject, parse_permits(scope))
        except ValueError:
            return TokenProblem.CLAIMS


def _key_id(token: str) -> str | None:
    """Return which key a token says that it is signed by; None for none of our form."""
    if len(token) > MAX_TOKEN_CHARS:
        return None
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    kind, name = header.get("typ", "jwt"), header.get("kid")
    if "crit" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
        return None
    return name if isinstance(name, str) else None


def _problem(error: Exception) -> TokenProblem:
    match error:
        case jwt.ExpiredSignatureError():
            return TokenProblem.EXPIRED
        case jwt.ImmatureSignatureError():
            return TokenProblem.EARLY
        case jwt.InvalidIssuerError():
            return TokenProblem.ISSUER
        case jwt.InvalidAudienceError():
            return TokenProblem.AUDIENCE
        case jwt.InvalidSignatureError() | jwt.InvalidAlgorithmError() | jwt.InvalidKeyError():
            return TokenProblem.SIGNATURE
        case jwt.MissingRequiredClaimError() | jwt.InvalidIssuedAtError():
            return TokenProblem.CLAIMS
        case _:
            return TokenProblem.MALFORMED


def key_name(key: PublicKey) -> str:
    """Return the name (``kid``) of a key of the local issuer."""
    return key.fingerprint.hex()[:_ID_DIGITS]


def public_jwks(keys: Iterable[PublicKey]) -> bytes:
    """Return the JWKS of Ed25519 keys (RFC 8037).

    Raises:
        ValueError: one is of another algorithm.
    """
    items = []
    for key in keys:
        if key.algorithm is not Algorithm.ED25519:
            raise ValueError("the local issuer's keys are Ed25519 keys")
        names = {"kid": key_name(key), "use": "sig", "alg": "EdDSA"}
        items.append({"kty": "OKP", "crv": "Ed25519", "x": _base64(key.raw), **names})
    return json.dumps({"keys": items}, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """What a token of the local issuer is to say; times in seconds since 1970."""

    issuer: str
    audience: str
    subject: str
    permits: tuple[Permit, ...]
    issued_s: int
    life_s: int
    token_id: str


def issue_token(signer: Ed25519Signer, plan: TokenPlan) -> str:
    """Return a signed token (RFC 9068) of the local issuer."""
    header = {"alg": "EdDSA", "kid": key_name(signer.public), "typ": "at+jwt"}
    claims = {
        "iss": plan.issuer,
        "aud": plan.audience,
        "sub": plan.subject,
        "scope": " ".join(sorted(map(str, plan.permits))),
        "iat": plan.issued_s,
        "exp": plan.issued_s + plan.life_s,
        "jti": plan.token_id,
    }
    text = f"{_json(header)}.{_json(claims)}"
    return f"{text}.{_base64(signer.sign(text.encode()))}"


def _json(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
