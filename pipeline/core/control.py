"""Control records: signed changes of who is allowed what (Y.4907 8.3 Permission).

They are entries of the ledger like packets, so the history of rights is in it too.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Any

from pipeline.core import avro
from pipeline.core.keys import Algorithm
from pipeline.core.names import MAX_LONG, SITE_ID_BYTES, SiteName, is_site_name, is_text, is_time
from pipeline.core.outcome import Outcome
from pipeline.core.record import is_indicator
from pipeline.core.sealing import Suite
from pipeline.core.signing import CONTROL_PREFIX, POSSESSION_PREFIX, Signer
from schemas import Schema, schema

MAX_CONTROL_BYTES = 16 * 1024
_MAX_ITEMS = 256
_ALGORITHMS = frozenset(Algorithm) - {Algorithm.MLDSA44}  # which is for cosignatures alone
_MAX_SIGNATURES = 16
_VERSION = 1
_CONTROL = schema("Control")
_ID_PREFIX = b"bkdms/control-id/v1\x00"


class Action(IntEnum):
    """What a control record does."""

    ENROL = 1
    REVOKE = 2
    BACKFILL_GRANT = 3
    KEY_OFFER = 4
    REANCHOR = 5


@dataclass(frozen=True, slots=True)
class Enrol:
    """Admit a site: its signing key with proof of possession, suites, indicators, equipment."""

    site: SiteName
    algorithm: Algorithm
    signing_key: bytes
    possession: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoke:
    """Refuse a site from here on; history stays checkable."""

    site: SiteName
    site_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class BackfillGrant:
    """Let a site send measurements older than the contract allows, until ``expires_ms``."""

    site: SiteName
    collected_from: int
    collected_to: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class KeyOffer:
    """The platform's sealing key for a site and epoch."""

    site: SiteName
    epoch: int
    algorithm: Algorithm
    public_key: bytes
    valid_to: int


@dataclass(frozen=True, slots=True)
class Reanchor:
    """Go on in another copy of the chain log, as ``incarnation``, after the block of this height and hash.

    Height 0 with the hash of the genesis file stands for a chain without blocks.
    """

    incarnation: int
    height: int
    block_hash: bytes


SiteBody = Enrol | Revoke | BackfillGrant | KeyOffer
Body = SiteBody | Reanchor


@dataclass(frozen=True, slots=True)
class Control:
    """A well-formed control record. Its signatures are not verified by construction."""

    chain: bytes
    issuer: bytes
    sequence: int
    previous: bytes
    body: Body
    signatures: tuple[tuple[bytes, bytes], ...]
    raw: bytes
    clear: bytes

    @property
    def signed(self) -> bytes:
        """The message that the signers signed."""
        return CONTROL_PREFIX + self.clear

    @property
    def control_id(self) -> bytes:
        """Identifier that dedupes and links control records, 32 bytes."""
        return sha256(_ID_PREFIX + self.clear).digest()


def possession_message(chain: bytes, site: SiteName, key_fingerprint: bytes) -> bytes:
    """Return what a site signs to prove that it holds the key it wants enrolled."""
    return POSSESSION_PREFIX + chain + key_fingerprint + site.site_id + f"{site.country}/{site.city}".encode()


def sign_control(chain: bytes, signer: Signer, sequence: int, previous: bytes, body: Body) -> bytes:
    """Return a signed, encoded control record."""
    action, body_schema, fields = _encoding(body)
    value = {
        "version": _VERSION,
        "chain": chain,
        "issuer": signer.public.fingerprint,
        "sequence": sequence,
        "previous": previous,
        "action": int(action),
        "body": avro.encode(body_schema, fields),
    }
    clear = avro.encode(_CONTROL, value | {"signatures": []})[:-1]
    signature = signer.sign(CONTROL_PREFIX + clear)
    return avro.encode(
        _CONTROL, value | {"signatures": [{"key": signer.public.fingerprint, "signature": signature}]}
    )


def countersign(raw: bytes, signer: Signer) -> bytes:
    """Return an encoded control record with one more signature; its identifier stays."""
    value = avro.decode(_CONTROL, raw)
    control = parse_control(raw)
    assert value is not None  # noqa: S101  encoded by us, or parsed before
    assert isinstance(control, Control)  # noqa: S101  as above
    line = {"key": signer.public.fingerprint, "signature": signer.sign(control.signed)}
    return avro.encode(_CONTROL, value | {"signatures": [*value["signatures"], line]})


def describe(body: Body) -> str:
    """Return what a control record does and about what, for people."""
    if isinstance(body, Reanchor):
        return f"Reanchor after block {body.height}"
    return f"{type(body).__name__} for {body.site}"


def control_id(raw: bytes) -> bytes | None:
    """Return the identifier of an encoded control record, or None for other bytes."""
    control = parse_control(raw)
    return control.control_id if isinstance(control, Control) else None


def parse_control(data: bytes) -> Control | Outcome:
    """Return the control record that ``data`` canonically encodes, else the refusal. Total."""
    if len(data) > MAX_CONTROL_BYTES:
        return Outcome.OVERSIZED
    raw = avro.decode(_CONTROL, data)
    if raw is None:
        return Outcome.MALFORMED
    if raw["version"] != _VERSION or not 1 <= raw["sequence"] <= MAX_LONG:
        return Outcome.OUT_OF_RANGE
    if not 0 < len(raw["signatures"]) <= _MAX_SIGNATURES:
        return Outcome.OUT_OF_RANGE
    if not 1 <= raw["action"] <= len(Action):
        return Outcome.UNKNOWN_ACTION
    body = _decode_body(Action(raw["action"]), raw["body"])
    if isinstance(body, Outcome):
        return body
    tail = avro.long_size(len(raw["signatures"])) + 96 * len(raw["signatures"]) + 1
    return Control(
        raw["chain"],
        raw["issuer"],
        raw["sequence"],
        raw["previous"],
        body,
        tuple((item["key"], item["signature"]) for item in raw["signatures"]),
        data,
        data[:-tail],
    )


def _site_fields(site: SiteName) -> dict[str, Any]:
    return {"country": site.country, "city": site.city, "site_id": site.site_id}


def _encoding(body: Body) -> tuple[Action, Schema, dict[str, Any]]:
    if isinstance(body, Reanchor):
        return Action.REANCHOR, schema("Reanchor"), asdict(body)
    fields = _site_fields(body.site)
    match body:
        case Enrol():
            fields |= {
                "algorithm": int(body.algorithm),
                "signing_key": body.signing_key,
                "possession": body.possession,
                "suites": [int(suite) for suite in body.suites],
                "indicators": list(body.indicators),
                "equipment": list(body.equipment),
            }
            return Action.ENROL, schema("Enrol"), fields
        case Revoke():
            fields |= {"site_key": body.site_key, "reason": body.reason}
            return Action.REVOKE, schema("Revoke"), fields
        case BackfillGrant():
            fields |= {
                "collected_from": body.collected_from,
                "collected_to": body.collected_to,
                "expires": body.expires_ms,
            }
            return Action.BACKFILL_GRANT, schema("BackfillGrant"), fields
        case KeyOffer():
            fields |= {
                "epoch": body.epoch,
                "algorithm": int(body.algorithm),
                "public_key": body.public_key,
                "valid_to": body.valid_to,
            }
            return Action.KEY_OFFER, schema("KeyOffer"), fields


def _decode_body(action: Action, data: bytes) -> Body | Outcome:
    name, build = _BODIES[action]
    raw = avro.decode(schema(name), data)
    if raw is None:
        return Outcome.MALFORMED
    body = build(raw)
    return Outcome.OUT_OF_RANGE if body is None else body


def _of_site(build: Callable[[SiteName, dict[str, Any]], Body | None]) -> "_Builder":
    def read(raw: dict[str, Any]) -> Body | None:
        site = SiteName(raw["country"], raw["city"], raw["site_id"])
        return build(site, raw) if is_site_name(site) else None

    return read


def _enrol(site: SiteName, raw: dict[str, Any]) -> Enrol | None:
    suites, indicators, equipment = raw["suites"], raw["indicators"], raw["equipment"]
    if raw["algorithm"] not in _ALGORITHMS or max(len(indicators), len(equipment)) > _MAX_ITEMS:
        return None
    if not suites or len(set(suites)) != len(suites) or not all(1 <= suite <= len(Suite) for suite in suites):
        return None
    if not indicators or not all(map(is_indicator, indicators)):
        return None
    if not all(len(item) == SITE_ID_BYTES for item in equipment):
        return None
    return Enrol(
        site,
        Algorithm(raw["algorithm"]),
        raw["signing_key"],
        raw["possession"],
        tuple(map(Suite, suites)),
        tuple(indicators),
        tuple(equipment),
    )


def _revoke(site: SiteName, raw: dict[str, Any]) -> Revoke | None:
    return Revoke(site, raw["site_key"], raw["reason"]) if is_text(raw["reason"]) else None


def _backfill(site: SiteName, raw: dict[str, Any]) -> BackfillGrant | None:
    first, last, expires = raw["collected_from"], raw["collected_to"], raw["expires"]
    if not (is_time(first) and is_time(last) and is_time(expires)) or first > last:
        return None
    return BackfillGrant(site, first, last, expires)


def _key_offer(site: SiteName, raw: dict[str, Any]) -> KeyOffer | None:
    in_range = 1 <= raw["epoch"] <= MAX_LONG and raw["algorithm"] in _ALGORITHMS
    if not in_range or not is_time(raw["valid_to"]):
        return None
    return KeyOffer(site, raw["epoch"], Algorithm(raw["algorithm"]), raw["public_key"], raw["valid_to"])


def _reanchor(raw: dict[str, Any]) -> Reanchor | None:
    in_range = 1 <= raw["incarnation"] <= MAX_LONG and 0 <= raw["height"] <= MAX_LONG
    return Reanchor(raw["incarnation"], raw["height"], raw["block_hash"]) if in_range else None


_Builder = Callable[[dict[str, Any]], Body | None]
_BODIES: dict[Action, tuple[str, _Builder]] = {
    Action.ENROL: ("Enrol", _of_site(_enrol)),
    Action.REVOKE: ("Revoke", _of_site(_revoke)),
    Action.BACKFILL_GRANT: ("BackfillGrant", _of_site(_backfill)),
    Action.KEY_OFFER: ("KeyOffer", _of_site(_key_offer)),
    Action.REANCHOR: ("Reanchor", _reanchor),
}
