"""Bearer tokens: those of the issuer, for this audience, in their short time, signed by its key; no others."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from pipeline.adapters.token_keys import (
    FRESH_S,
    MAX_JWKS_BYTES,
    MAX_KEYS,
    STALE_S,
    KeysAtUrl,
    KeysInFile,
    TokenKey,
    TokenKeys,
    parse_jwks,
)
from pipeline.adapters.tokens import (
    MAX_TOKEN_CHARS,
    TokenHolder,
    TokenPlan,
    TokenProblem,
    TokenVerifier,
    issue_token,
    key_name,
    public_jwks,
)
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.keys import Use
from pipeline.core.permit import Action, everywhere
from pipeline.core.signing import Ed25519Signer
from tests.support.world import secret

ISSUER, AUDIENCE, LIFE_S = "https://issuer.example", "bkdms", 600
SIGNER = Ed25519Signer(secret("token"), Use.TOKEN)
OTHER = Ed25519Signer(secret("other token"), Use.TOKEN)
EC = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def ec_jwk(**more: str) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec", **more}


def jwks(*items: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(items)}).encode()


class Keys:
    """Keys in memory."""

    def __init__(self, content: bytes) -> None:
        self.found = parse_jwks(content)

    async def key(self, key_id: str) -> TokenKey | None:
        return self.found.get(key_id)

    async def close(self) -> None:
        pass


def verifier(keys: TokenKeys | None = None) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, keys or Keys(public_jwks([SIGNER.public])), 900)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "maria",
        "scope": "traces",
        "iat": now,
        "exp": now + LIFE_S,
    }
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def by_ec(body: dict[str, Any], **header: Any) -> str:
    return jwt.encode(body, EC, "ES256", headers={"kid": "ec", **header})


async def judged(token: str) -> TokenHolder | TokenProblem:
    return await verifier(Keys(jwks(ec_jwk()))).verify(token)


def plan(**changes: Any) -> TokenPlan:
    made = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "subject": "maria",
        "permits": (everywhere(Action.TRACES),),
        "issued_s": int(time.time()),
        "life_s": LIFE_S,
        "token_id": "1",
    }
    return TokenPlan(**{**made, **changes})


async def test_a_token_of_the_local_issuer_tells_whom_it_is_for_and_what_it_permits() -> None:
    found = await verifier().verify(issue_token(SIGNER, plan()))
    assert found == TokenHolder("maria", frozenset({everywhere(Action.TRACES)}))


async def test_a_library_of_others_takes_a_token_of_the_local_issuer() -> None:
    key = jwt.PyJWKSet.from_json(public_jwks([SIGNER.public]).decode())[key_name(SIGNER.public)]
    assert jwt.decode(issue_token(SIGNER, plan()), key, ["EdDSA"], audience=AUDIENCE)["scope"] == "traces"


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "application/at+jwt"])
async def test_a_token_of_an_openid_provider_is_taken(typ: str) -> None:
    found = await judged(by_ec(claims(scope="openid traces profile"), typ=typ))
    assert isinstance(found, TokenHolder)
    assert found.permits == {everywhere(Action.TRACES)}


async def test_rsa_keys_of_providers_are_taken() -> None:
    item = {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa"}
    token = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    assert isinstance(await verifier(Keys(jwks(item))).verify(token), TokenHolder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (lambda: {"iss": "https://other.example"}, TokenProblem.ISSUER),
        (lambda: {"aud": "another"}, TokenProblem.AUDIENCE),
        (lambda: {"exp": 1}, TokenProblem.EXPIRED),
        (lambda: {"nbf": time.time() + 3600}, TokenProblem.EARLY),
        (lambda: {"iat": time.time() + 3600}, TokenProblem.EARLY),
        (lambda: {"exp": time.time() + 7 * 24 * 3600}, TokenProblem.LIFE),
        (lambda: {"iat": 1, "exp": time.time() + 60}, TokenProblem.LIFE),
        (lambda: {"iss": None}, TokenProblem.CLAIMS),
        (lambda: {"aud": None}, TokenProblem.CLAIMS),
        (lambda: {"exp": None}, TokenProblem.CLAIMS),
        (lambda: {"iat": None}, TokenProblem.CLAIMS),
        (lambda: {"sub": None}, TokenProblem.CLAIMS),
        (lambda: {"sub": ""}, TokenProblem.CLAIMS),
        (lambda: {"sub": "mar\x1b[2Jia"}, TokenProblem.CLAIMS),
        (lambda: {"sub": "x" * 200}, TokenProblem.CLAIMS),
        (lambda: {"scope": ["traces"]}, TokenProblem.CLAIMS),
        (lambda: {"scope": "traces " * 100}, TokenProblem.CLAIMS),
    ],
)
async def test_a_token_that_says_something_else_is_refused(
    changes: Callable[[], dict[str, Any]], problem: TokenProblem
) -> None:
    assert await judged(by_ec(claims(**changes()))) is problem


async def test_a_token_without_scopes_permits_nothing() -> None:
    found = await judged(by_ec(claims(scope="openid")))
    assert isinstance(found, TokenHolder)
    assert not found.permits
    assert not (await judged(by_ec(claims(scope=None)))).permits  # type: ignore[union-attr]


def part(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def hmac_with_the_public_key() -> str:
    pem = EC.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signing = f"{part({'alg': 'HS256', 'kid': 'ec'})}.{part(claims())}"
    mac = jwt.get_algorithm_by_name("HS256").sign(signing.encode(), pem)
    return f"{signing}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def unsigned() -> str:
    return f"{part({'alg': 'none', 'kid': 'ec'})}.{part(claims())}."


def with_own_key() -> str:
    mine = ec.generate_private_key(ec.SECP256R1())
    jwk = ECAlgorithm.to_jwk(mine.public_key(), as_dict=True)
    return jwt.encode(claims(), mine, "ES256", headers={"kid": "ec", "jwk": jwk})


def edited() -> str:
    head, _, signature = by_ec(claims()).split(".")
    return f"{head}.{part(claims(scope='assessments/*/*/*'))}.{signature}"


@pytest.mark.parametrize("forged", [hmac_with_the_public_key, unsigned, with_own_key, edited])
async def test_a_forged_token_is_refused(forged: Callable[[], str]) -> None:
    assert await judged(forged()) is TokenProblem.SIGNATURE


@pytest.mark.parametrize(
    "header", [{"kid": None}, {"kid": 7}, {"crit": ["b64"], "b64": False}, {"typ": "logout+jwt"}]
)
async def test_a_token_with_another_header_is_refused(header: dict[str, Any]) -> None:
    text = f"{part({'alg': 'ES256', 'kid': 'ec'} | header)}.{part(claims())}"
    signature = jwt.get_algorithm_by_name("ES256").sign(text.encode(), EC)
    token = f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert await judged(token) is TokenProblem.MALFORMED


async def test_a_token_of_a_key_that_the_issuer_has_not_got_is_refused() -> None:
    assert await verifier().verify(issue_token(OTHER, plan())) is TokenProblem.UNKNOWN_KEY


async def test_a_token_too_long_to_be_one_is_not_looked_at() -> None:
    token = by_ec(claims(x="x" * MAX_TOKEN_CHARS))
    assert await judged(token) is TokenProblem.MALFORMED


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
async def test_every_text_gets_a_verdict(text: str) -> None:
    assert isinstance(await judged(text), TokenProblem)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "sub", "scope", "jti"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
async def test_whatever_an_issuer_signs_gets_a_verdict(changes: dict[str, Any]) -> None:
    text = f"{part({'alg': 'ES256', 'kid': 'ec'})}.{part(claims() | changes)}"
    signature = jwt.get_algorithm_by_name("ES256").sign(text.encode(), EC)
    found = await judged(f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}")
    assert isinstance(found, TokenHolder | TokenProblem)


@pytest.mark.parametrize(
    "item",
    [
        {"kty": "oct", "k": "AAAA", "kid": "x"},
        ec_jwk(use="enc"),
        ec_jwk(alg="HS256"),
        ec_jwk(kid=""),
        {**ECAlgorithm.to_jwk(EC, as_dict=True), "kid": "x"},
        {**RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True), "kid": "x"},
        {**ec_jwk(), "x": "AAAA"},
        {"kty": ["EC"], "kid": "x"},
        "text",
    ],
)
def test_keys_that_must_not_sign_tokens_are_left_out(item: Any) -> None:
    assert parse_jwks(jwks(item)) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"keys": 1}',
        b"[" * 100_000,
        jwks(*[ec_jwk(kid=str(number)) for number in range(MAX_KEYS + 1)]),
        jwks(ec_jwk(), ec_jwk()),
        b" " * (MAX_JWKS_BYTES + 1),
    ],
)
def test_what_is_no_jwks_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it|two"):
        parse_jwks(content)


async def test_keys_in_a_file_follow_it(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(public_jwks([SIGNER.public]))
    keys = KeysInFile(file)
    assert await keys.key(key_name(SIGNER.public)) is not None
    file.write_bytes(public_jwks([OTHER.public, SIGNER.public]))
    assert await keys.key(key_name(OTHER.public)) is not None
    file.unlink()
    with pytest.raises(TransientError):
        await keys.key(key_name(OTHER.public))


def test_a_file_without_keys_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jwks_file"):
        KeysInFile(tmp_path / "none.json")


class Issuer:
    """An issuer's keys over HTTP, as it answers now; and a clock."""

    def __init__(self) -> None:
        self.content, self.status, self.asked, self.now_s = public_jwks([SIGNER.public]), 200, 0, 0.0
        transport = httpx.MockTransport(self.answer)
        self.keys = KeysAtUrl(f"{ISSUER}/jwks", transport=transport, monotonic=lambda: self.now_s)

    def answer(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, content=self.content, headers={"Location": "http://127.0.0.1/"})


async def test_keys_are_fetched_once_and_kept() -> None:
    issuer = Issuer()
    for _ in range(50):
        assert await issuer.keys.key(key_name(SIGNER.public)) is not None
    assert issuer.asked == 1


async def test_a_new_key_of_the_issuer_is_found_and_a_withdrawn_one_goes() -> None:
    issuer = Issuer()
    await issuer.keys.key(key_name(SIGNER.public))
    issuer.content, issuer.now_s = public_jwks([OTHER.public]), 20.0
    assert await issuer.keys.key(key_name(OTHER.public)) is not None
    assert await issuer.keys.key(key_name(SIGNER.public)) is None


async def test_made_up_key_names_do_not_flood_the_issuer() -> None:
    issuer = Issuer()
    for number in range(100):
        assert await issuer.keys.key(f"made-up-{number}") is None
    assert issuer.asked == 1


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_an_issuer_that_is_away_is_believed_for_a_while_and_then_no_more(status: int) -> None:
    issuer = Issuer()
    await issuer.keys.key(key_name(SIGNER.public))
    issuer.status, issuer.now_s = status, FRESH_S + 1
    assert await issuer.keys.key(key_name(SIGNER.public)) is not None
    issuer.now_s = STALE_S + 1
    with pytest.raises(TransientError):
        await issuer.keys.key(key_name(SIGNER.public))


async def test_an_endless_answer_of_the_issuer_is_cut() -> None:
    issuer = Issuer()
    issuer.content = public_jwks([SIGNER.public]) + b" " * MAX_JWKS_BYTES
    with pytest.raises(TransientError):
        await issuer.keys.key(key_name(SIGNER.public))
