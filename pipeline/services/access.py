"""Access documents: what a site asks for and what the registrar answers (Y.4907 8.3, clause 11 authentication).

Both are small signed JSON files that people carry. A request proves that the site holds its key; an answer is
signed by a registrar of the genesis file, because the platform's key in it decides who can read the site's data.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.control import possession_message
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.names import SITE_ID_BYTES, SiteName, is_site_name, is_time, parse_site_id, site_id_text
from pipeline.core.record import is_indicator
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.core.signing import Signer, verify
from pipeline.core.state import Offer

MAX_DOCUMENT_BYTES = 128 * 1024
MAX_INDICATORS = 256
_REQUEST = "bkdms-access-request/v1"
_ANSWER = "bkdms-access-answer/v1"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What a site asks for; ``possession`` (64 bytes) proves that it holds the private half of ``key``."""

    chain: bytes
    site: SiteName
    key: PublicKey
    possession: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    """What a site was granted, and the platform's keys to seal to, oldest epoch first."""

    chain: bytes
    site: SiteName
    site_key: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]
    offers: tuple[Offer, ...]

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
    equipment: tuple[bytes, ...] = (),
) -> bytes:
    """Return the access request of a site as a file.

    Raises:
        ConfigError: the registrar would refuse it; the message says why.
    """
    key = signer.public
    fields = {
        **_grant_fields(genesis.chain, site, suites, indicators, equipment),
        "algorithm": key.algorithm.name.lower(),
        "public": key.raw.hex(),
        "possession": signer.sign(possession_message(genesis.chain, site, key.fingerprint)).hex(),
    }
    raw = _signed(_REQUEST, fields, signer)
    read_request(raw, genesis)
    return raw


def read_request(raw: bytes, genesis: Genesis) -> AccessRequest:
    """Check an access request and return what it asks for.

    Raises:
        ConfigError: it is damaged, for another chain, not signed by the key it names, or asks for what can't be.
    """
    fields, signature = _opened(_REQUEST, raw)
    try:
        chain, site, suites, indicators, equipment = _grant(fields)
        key = PublicKey(Use.SITE, Algorithm[fields["algorithm"].upper()], bytes.fromhex(fields["public"]))
        possession = bytes.fromhex(fields["possession"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _refused("access request", f"{error} is missing or wrong") from None
    if chain != genesis.chain:
        raise _refused("access request", "it is for another chain; give the site this chain's genesis file")
    if not verify(key, signature, _message(_REQUEST, fields)):
        raise _refused("access request", "its signature is not good; it was changed after it was written")
    if not verify(key, possession, possession_message(chain, site, key.fingerprint)):
        raise _refused("access request", "it does not prove that the site holds its key")
    unfit = [suite.name.lower() for suite in suites if SIGNING_ALGORITHM[suite] is not key.algorithm]
    if unfit:
        raise _refused("access request", f"suite {', '.join(unfit)} does not go with a key of this algorithm")
    return AccessRequest(chain, site, key, possession, suites, indicators, equipment)


def write_answer(answer: AccessAnswer, registrar: Signer) -> bytes:
    """Return the registrar's answer as a file."""
    fields = {
        **_grant_fields(answer.chain, answer.site, answer.suites, answer.indicators, answer.equipment),
        "site_key": answer.site_key.hex(),
        "offers": [_offer_fields(offer) for offer in answer.offers],
        "registrar": registrar.public.fingerprint.hex(),
    }
    return _signed(_ANSWER, fields, registrar)


def read_answer(raw: bytes, genesis: Genesis) -> AccessAnswer:
    """Check a registrar's answer against the genesis file and return it.

    Raises:
        ConfigError: it is damaged, for another chain, or not signed by a registrar of this chain.
    """
    fields, signature = _opened(_ANSWER, raw)
    registrars = {key.fingerprint.hex(): key for key in genesis.registrars}
    try:
        chain, site, suites, indicators, equipment = _grant(fields)
        site_key, offers = bytes.fromhex(fields["site_key"]), tuple(map(_offer, fields["offers"]))
        registrar = registrars.get(fields["registrar"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _refused("access answer", f"{error} is missing or wrong") from None
    if chain != genesis.chain:
        raise _refused("access answer", "it is for another chain than this genesis file")
    if registrar is None or not verify(registrar, signature, _message(_ANSWER, fields)):
        raise _refused(
            "access answer", "no registrar of this chain signed it; ask the registrar for a new one"
        )
    return AccessAnswer(chain, site, site_key, suites, indicators, equipment, offers)


def _grant_fields(
    chain: bytes,
    site: SiteName,
    suites: tuple[Suite, ...],
    indicators: tuple[str, ...],
    equipment: tuple[bytes, ...],
) -> dict[str, Any]:
    return {
        "chain": chain.hex(),
        "country": site.country,
        "city": site.city,
        "site_id": site_id_text(site.site_id),
        "suites": [suite.name.lower() for suite in suites],
        "indicators": list(indicators),
        "equipment": [site_id_text(item) for item in equipment],
    }


def _grant(
    fields: Mapping[str, Any],
) -> tuple[bytes, SiteName, tuple[Suite, ...], tuple[str, ...], tuple[bytes, ...]]:
    site = SiteName(fields["country"], fields["city"], parse_site_id(fields["site_id"]))
    suites = tuple(Suite[name.upper()] for name in fields["suites"])
    indicators, equipment = tuple(fields["indicators"]), tuple(map(parse_site_id, fields["equipment"]))
    if not is_site_name(site):
        raise ValueError(f"site {site}")
    if not suites or len(set(suites)) != len(suites):
        raise ValueError("list of suites")
    if not 0 < len(indicators) <= MAX_INDICATORS or not all(map(is_indicator, indicators)):
        raise ValueError("list of indicators")
    if len(equipment) > MAX_INDICATORS or any(len(item) != SITE_ID_BYTES for item in equipment):
        raise ValueError("list of equipment")
    return bytes.fromhex(fields["chain"]), site, suites, indicators, equipment


def _offer_fields(offer: Offer) -> dict[str, Any]:
    return {
        "epoch": offer.epoch,
        "algorithm": offer.key.algorithm.name.lower(),
        "public": offer.key.raw.hex(),
        "valid_to_ms": offer.valid_to,
    }


def _offer(fields: Mapping[str, Any]) -> Offer:
    key = PublicKey(Use.PLATFORM, Algorithm[fields["algorithm"].upper()], bytes.fromhex(fields["public"]))
    epoch, valid_to = fields["epoch"], fields["valid_to_ms"]
    if type(epoch) is not int or type(valid_to) is not int or epoch < 1 or not is_time(valid_to):
        raise ValueError("epoch or validity of an offered key")
    return Offer(epoch, key, valid_to)


def _message(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return what is signed: one fixed spelling of the fields behind a prefix of the document's own."""
    return f"{kind}\x00".encode() + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _signed(kind: str, fields: Mapping[str, Any], signer: Signer) -> bytes:
    signature = signer.sign(_message(kind, fields))
    document = {"format": kind, "content": fields, "signature": signature.hex()}
    return (json.dumps(document, indent=2) + "\n").encode()


def _opened(kind: str, raw: bytes) -> tuple[dict[str, Any], bytes]:
    name = "access request" if kind == _REQUEST else "access answer"
    try:
        document = json.loads(raw) if len(raw) <= MAX_DOCUMENT_BYTES else {}
        fields, signature = document["content"], bytes.fromhex(document["signature"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _refused(name, "it is no such file, or damaged") from None
    if document.get("format") != kind or not isinstance(fields, dict):
        raise _refused(name, f"its format is not {kind}")
    return fields, signature


def _refused(name: str, problem: str) -> ConfigError:
    return ConfigError(f"{name} refused: {problem}", code="config.access")
