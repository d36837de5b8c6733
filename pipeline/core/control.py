"""Control records: signed changes of who is allowed what (Y.4907 8.3 Permission).

They are entries of the ledger like packets, so the history of rights is in it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from hashlib import sha256
from typing import Any

from pipeline.core import avro
from pipeline.core.authority_bodies import (
    AUTHORITY_READERS,
    AccessLogHead,
    AccessLogKey,
    AuthorityBody,
    NewContract,
    Nodes,
    Reanchor,
    Registrars,
    RootBody,
    Rules,
    TermsBody,
    authority_fields,
    read_authority,
)
from pipeline.core.names import MAX_LONG, SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.signing import CONTROL_PREFIX, POSSESSION_PREFIX, Signer
from pipeline.core.site_bodies import (
    SITE_READERS,
    Amend,
    BackfillGrant,
    Enrol,
    KeyOffer,
    Resume,
    Revoke,
    SiteBody,
    Suspend,
    site_fields,
)
from schemas import schema

__all__ = [
    "MAX_CONTROL_BYTES",
    "AccessLogHead",
    "AccessLogKey",
    "Action",
    "Amend",
    "AuthorityBody",
    "BackfillGrant",
    "Body",
    "Control",
    "Enrol",
    "KeyOffer",
    "NewContract",
    "Nodes",
    "Reanchor",
    "Registrars",
    "Resume",
    "Revoke",
    "RootBody",
    "Rules",
    "SiteBody",
    "Suspend",
    "TermsBody",
    "action_of",
    "control_id",
    "countersign",
    "decode_body",
    "describe",
    "encode_body",
    "parse_control",
    "possession_message",
    "sign_control",
]

MAX_CONTROL_BYTES = 16 * 1024
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
    SUSPEND = 6
    RESUME = 7
    AMEND = 8
    REGISTRARS = 9
    NODES = 10
    CONTRACT = 11
    RULES = 12
    ACCESS_LOG_KEY = 13
    ACCESS_LOG_HEAD = 14


Body = SiteBody | AuthorityBody

_ACTIONS: dict[type[Body], tuple[Action, str]] = {
    Enrol: (Action.ENROL, "Enrol"),
    Revoke: (Action.REVOKE, "Revoke"),
    BackfillGrant: (Action.BACKFILL_GRANT, "BackfillGrant"),
    KeyOffer: (Action.KEY_OFFER, "KeyOffer"),
    Reanchor: (Action.REANCHOR, "Reanchor"),
    Suspend: (Action.SUSPEND, "Suspend"),
    Resume: (Action.RESUME, "Resume"),
    Amend: (Action.AMEND, "Amend"),
    Registrars: (Action.REGISTRARS, "Registrars"),
    Nodes: (Action.NODES, "Nodes"),
    NewContract: (Action.CONTRACT, "Contract"),
    Rules: (Action.RULES, "Rules"),
    AccessLogKey: (Action.ACCESS_LOG_KEY, "AccessLogKey"),
    AccessLogHead: (Action.ACCESS_LOG_HEAD, "AccessLogHead"),
}
_SCHEMAS = dict(_ACTIONS.values())
_READERS: dict[Action, Callable[[Mapping[str, Any]], Body | None]] = {
    **{_ACTIONS[kind][0]: read for kind, read in SITE_READERS.items()},
    **{_ACTIONS[kind][0]: partial(read_authority, read) for kind, read in AUTHORITY_READERS.items()},
}


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
    value = {
        "version": _VERSION,
        "chain": chain,
        "issuer": signer.public.fingerprint,
        "sequence": sequence,
        "previous": previous,
        "action": int(action_of(body)),
        "body": encode_body(body),
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
    return f"{type(body).__name__} for {body.site}" if isinstance(body, SiteBody) else type(body).__name__


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
    body = decode_body(Action(raw["action"]), raw["body"])
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


def action_of(body: Body) -> Action:
    """Return what a control record with this body does."""
    return _ACTIONS[type(body)][0]


def encode_body(body: Body) -> bytes:
    """Return the encoding of a body."""
    fields = site_fields(body) if isinstance(body, SiteBody) else authority_fields(body)
    return avro.encode(schema(_ACTIONS[type(body)][1]), fields)


def decode_body(action: Action, data: bytes) -> Body | Outcome:
    """Return the body that ``data`` canonically encodes, or why not. Total."""
    raw = avro.decode(schema(_SCHEMAS[action]), data)
    if raw is None:
        return Outcome.MALFORMED
    body = _READERS[action](raw)
    return Outcome.OUT_OF_RANGE if body is None else body
