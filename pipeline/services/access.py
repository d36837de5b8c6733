"""Access documents: what a site asks for and what the registrar answers (Y.4907 8.3, clause 11 authentication).

A request proves that the site holds its key and, by a one-time token, that it is the site the token was given to. An
answer names the request that it answers and is signed by a registrar that the site pinned beforehand, because the
platform's key in it decides who can read the site's data. Owns both formats; what a registrar makes of a request is
``access_review``'s.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pipeline.core.access_book import TOKEN_ID_BYTES, Token
from pipeline.core.control import possession_message
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import SiteName
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.core.signing import Signer, verify
from pipeline.core.state import Offer
from pipeline.services.access_envelope import (
    Envelope,
    key_fields,
    open_document,
    read_key,
    refused,
    sign_document,
)
from pipeline.services.access_envelope import message as document_message
from pipeline.services.access_fields import (
    HASH_BYTES,
    WRONG,
    Manifest,
    grant_fields,
    manifest_fields,
    offer_fields,
    read_bytes,
    read_grant,
    read_manifest,
    read_offer,
    read_pem,
    read_time,
)

NONCE_BYTES: Final = 32
_REQUEST: Final = "bkdms-access-request/v2"
_ANSWER: Final = "bkdms-access-answer/v2"
_REQUEST_NAME: Final = "access request"
_ANSWER_NAME: Final = "access answer"
_BESIDE: Final = frozenset({"token_mac", "former_signature"})
_MAC_PREFIX: Final = b"bkdms/access-mac/v1\x00"
_SHOWN_CHARS: Final = 80
_FORMER_PREFIX: Final = b"bkdms/access-former/v1\x00"


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request was made, GMT ms, and 32 fresh random bytes that no other request has."""

    nonce: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What a site asks for; ``possession`` (64 bytes) proves that it holds the private half of ``key``.

    ``digest`` (32 bytes) names the request. ``token`` (16), ``bundle`` (32) and ``csr`` (PEM) are empty where the site
    had none. ``former`` is the fingerprint (32) of the key that ``key`` is to replace, else empty; ``by_former`` holds
    that key's signature.
    """

    digest: bytes
    chain: bytes
    site: SiteName
    key: PublicKey
    possession: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]
    moment: Moment
    manifest: Manifest
    bundle: bytes
    token: bytes
    token_mac: bytes
    csr: str
    former: bytes
    by_former: bytes
    message: bytes

    def is_backed_by(self, token: Token) -> bool:
        """Tell whether whoever made the request held this token."""
        wanted = _mac(token, self.message)
        return self.token == token.token_id and hmac.compare_digest(self.token_mac, wanted)

    def is_endorsed_by(self, former: PublicKey) -> bool:
        """Tell whether the holder of the key to be replaced wants it so."""
        return self.former == former.fingerprint and verify(
            former, self.by_former, _FORMER_PREFIX + self.message
        )


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    """What a site was granted, and the platform's keys to seal to, oldest epoch first.

    ``request`` (32 bytes) names the request that it answers; it may be taken up until ``expires_ms``. ``certificate``
    is the site's transport certificate with its chain (PEM), or empty. Packets that the site's former key signed are
    admitted until ``former_until_ms``; 0 where there is none.
    """

    chain: bytes
    site: SiteName
    site_key: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]
    offers: tuple[Offer, ...]
    request: bytes
    issued_ms: int
    expires_ms: int
    certificate: str = ""
    former_until_ms: int = 0

    def offer_for(self, suite: Suite) -> Offer | None:
        """Return the newest offered key that packets of ``suite`` can be sealed to."""
        fitting = (item for item in reversed(self.offers) if item.key.algorithm is SEALING_ALGORITHM[suite])
        return next(fitting, None)


def write_request(
    genesis: Genesis,
    site: SiteName,
    signer: Signer,
    *,
    suites: tuple[Suite, ...],
    indicators: tuple[str, ...],
    moment: Moment,
    equipment: tuple[bytes, ...] = (),
    manifest: Manifest | None = None,
    token: Token | None = None,
    bundle: bytes = b"",
    csr: str = "",
    former: Signer | None = None,
) -> bytes:
    """Return the access request of a site as a file; ``former`` is the key in force that ``signer`` is to replace.

    Raises:
        ConfigError: the registrar would refuse it; the message says why.
    """
    key, held = signer.public, manifest or Manifest(suites=suites)
    fields = {
        **grant_fields(genesis.chain, site, suites, indicators, equipment),
        **key_fields(key),
        "possession": signer.sign(possession_message(genesis.chain, site, key.fingerprint)).hex(),
        "nonce": moment.nonce.hex(),
        "time_ms": moment.time_ms,
        "manifest": manifest_fields(held),
        "bundle": bundle.hex(),
        "token": "" if token is None else token.token_id.hex(),
        "csr": csr,
        "former": "" if former is None else former.public.fingerprint.hex(),
    }
    transcript = document_message(_REQUEST, fields)
    beside = {} if token is None else {"token_mac": _mac(token, transcript)}
    if former is not None:
        beside["former_signature"] = former.sign(_FORMER_PREFIX + transcript)
    raw = sign_document(_REQUEST, fields, signer, beside)
    read_request(raw, genesis)
    return raw


def read_request(raw: bytes, genesis: Genesis) -> AccessRequest:
    """Check an access request by itself and return what it asks for; token and freshness are for the registrar.

    Raises:
        ConfigError: it is damaged, for another chain, not signed by the key it names, or asks for what can't be.
    """
    document = open_document(_REQUEST, _REQUEST_NAME, raw, _BESIDE)
    try:
        request = _request(document)
    except WRONG as error:
        raise refused(_REQUEST_NAME, f"{str(error)[:_SHOWN_CHARS]} is missing or wrong") from None
    key = request.key
    if request.chain != genesis.chain:
        raise refused(_REQUEST_NAME, "it is for another chain; give the site this chain's genesis file")
    if not verify(key, document.signature, request.message):
        raise refused(_REQUEST_NAME, "its signature is not good; it was changed after it was written")
    if not verify(key, request.possession, possession_message(request.chain, request.site, key.fingerprint)):
        raise refused(_REQUEST_NAME, "it does not prove that the site holds its key")
    unfit = [suite.name.lower() for suite in request.suites if SIGNING_ALGORITHM[suite] is not key.algorithm]
    if unfit:
        raise refused(_REQUEST_NAME, f"suite {', '.join(unfit)} does not go with a key of this algorithm")
    return request


def write_answer(answer: AccessAnswer, registrar: Signer) -> bytes:
    """Return the registrar's answer as a file."""
    fields = {
        **grant_fields(answer.chain, answer.site, answer.suites, answer.indicators, answer.equipment),
        "site_key": answer.site_key.hex(),
        "offers": [offer_fields(offer) for offer in answer.offers],
        "registrar": registrar.public.fingerprint.hex(),
        "request": answer.request.hex(),
        "issued_ms": answer.issued_ms,
        "expires_ms": answer.expires_ms,
        "certificate": answer.certificate,
        "former_until_ms": answer.former_until_ms,
    }
    return sign_document(_ANSWER, fields, registrar)


def read_answer(raw: bytes, genesis: Genesis, registrars: Sequence[PublicKey] | None = None) -> AccessAnswer:
    """Check a registrar's answer against the keys of the ``registrars`` that the site pinned, and return it.

    Without them those of the genesis file count.

    Raises:
        ConfigError: it is damaged, for another chain, or not signed by a registrar of this chain.
    """
    document = open_document(_ANSWER, _ANSWER_NAME, raw)
    known = {key.fingerprint.hex(): key for key in registrars or genesis.registrars}
    try:
        answer, registrar = _answer(document.fields), known.get(document.fields["registrar"])
    except WRONG as error:
        raise refused(_ANSWER_NAME, f"{str(error)[:_SHOWN_CHARS]} is missing or wrong") from None
    if answer.chain != genesis.chain:
        raise refused(_ANSWER_NAME, "it is for another chain than this genesis file")
    if registrar is None or not verify(registrar, document.signature, document.message):
        raise refused(_ANSWER_NAME, "no registrar of this chain signed it; ask the registrar for a new one")
    return answer


def check_fit(answer: AccessAnswer, request: AccessRequest, now_ms: int) -> None:
    """Check at the site, before an answer is taken up, that it answers this request, and in time.

    Raises:
        ConfigError: it answers another request, has expired, or grants what was not asked for.
    """
    if answer.request != request.digest or answer.site_key != request.key.fingerprint:
        raise refused(_ANSWER_NAME, "it answers another request than the one made here last")
    if answer.site != request.site:
        raise refused(_ANSWER_NAME, f"it is for {answer.site}")
    if now_ms > answer.expires_ms:
        raise refused(
            _ANSWER_NAME, "it has expired; ask the registrar for a new one", code="config.access_expired"
        )
    unasked = [suite.name.lower() for suite in answer.suites if suite not in request.suites]
    if unasked:
        raise refused(_ANSWER_NAME, f"it names suite {', '.join(unasked)}, which this site did not ask for")


def _mac(token: Token, transcript: bytes) -> bytes:
    return hmac.digest(token.mac_key, _MAC_PREFIX + transcript, sha256)


def _request(document: Envelope) -> AccessRequest:
    fields = document.fields
    chain, site, suites, indicators, equipment = read_grant(fields)
    moment = Moment(read_bytes(fields["nonce"], NONCE_BYTES), read_time(fields["time_ms"]))
    former, token, bundle = fields["former"], fields["token"], fields["bundle"]
    return AccessRequest(
        digest=document.digest,
        chain=chain,
        site=site,
        key=read_key(Use.SITE, fields),
        possession=bytes.fromhex(fields["possession"]),
        suites=suites,
        indicators=indicators,
        equipment=equipment,
        moment=moment,
        manifest=read_manifest(fields["manifest"]),
        bundle=read_bytes(bundle, HASH_BYTES) if bundle else b"",
        token=read_bytes(token, TOKEN_ID_BYTES) if token else b"",
        token_mac=document.beside.get("token_mac", b""),
        csr=read_pem(fields["csr"]),
        former=read_bytes(former, HASH_BYTES) if former else b"",
        by_former=document.beside.get("former_signature", b""),
        message=document.message,
    )


def _answer(fields: Mapping[str, Any]) -> AccessAnswer:
    chain, site, suites, indicators, equipment = read_grant(fields)
    return AccessAnswer(
        chain,
        site,
        bytes.fromhex(fields["site_key"]),
        suites,
        indicators,
        equipment,
        tuple(map(read_offer, fields["offers"])),
        read_bytes(fields["request"], HASH_BYTES),
        read_time(fields["issued_ms"]),
        read_time(fields["expires_ms"]),
        read_pem(fields["certificate"]),
        read_time(fields["former_until_ms"]),
    )
