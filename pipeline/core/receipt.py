"""Site head: what the API tells a site about its last committed packet, and checking it offline.

The head's inclusion proves all packets of the site before it, too: a packet is admitted only on top of the one
that it names as previous (continuation rule). Owns the JSON document and its verification; fetches nothing.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pipeline.core.admission import enrolled_key
from pipeline.core.block import Kind
from pipeline.core.control import Amend, Control, Enrol, KeyOffer, Resume, Revoke, SiteBody, Suspend
from pipeline.core.entitlement import Placed
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName, is_site_name, parse_site_id, site_id_text
from pipeline.core.packet import FIRST_PREVIOUS, Packet, parse_packet
from pipeline.core.proven import (
    Proven,
    base64_text,
    is_proven,
    issued_control,
    proven_header,
    proven_json,
    read_bytes,
    read_long,
    read_path,
    read_proven,
)
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.tracing import TracingCode

FORMAT: Final = "bkdms-site-head/v1"
MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_OFFERS: Final = 8
MAX_RECORDS: Final = 8
_HASH_BYTES: Final = 32


class ReceiptReason(StrEnum):
    """Why a site head proves nothing."""

    MALFORMED = "malformed"
    WRONG_CHAIN = "wrong_chain"
    CERTIFICATE = "certificate"
    NO_PACKET = "no_packet"
    OTHER_PACKET = "other_packet"
    OTHER_SITE = "other_site"
    ENROLMENT = "enrolment"
    NOT_INCLUDED = "not_included"
    HEADER = "header"
    KEY_OFFER = "key_offer"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class ReceiptProblem:
    """A refused site head; ``detail`` is for people."""

    reason: ReceiptReason
    detail: str


@dataclass(frozen=True, slots=True)
class SiteHeadDocument:
    """A site's head as served: its last committed packet, or its enrolment where ``sequence`` is 0.

    ``header`` is the encoded header of the block that holds it, ``certificate`` a signed note of the checkpoint of
    ``tree_size`` leaves that all paths lead to. ``active`` is a hint, proven by nothing in here. ``records`` are the
    newest changes of the site's rights and standing, oldest first.
    """

    chain: bytes
    site: SiteName
    active: bool
    sequence: int
    packet_id: bytes
    height: int
    entry: int
    head: Proven
    header: bytes
    header_path: tuple[bytes, ...]
    key_offers: tuple[Proven, ...]
    tree_size: int
    certificate: bytes
    records: tuple[Proven, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the JSON value that the API serves; hashes in hex, bytes in base64."""
        return {
            "format": FORMAT,
            "chain": self.chain.hex(),
            "site": {
                "country": self.site.country,
                "city": self.site.city,
                "site_id": site_id_text(self.site.site_id),
            },
            "active": self.active,
            "sequence": self.sequence,
            "packet_id": self.packet_id.hex(),
            "height": self.height,
            "entry": self.entry,
            **proven_json(self.head),
            "header": base64_text(self.header),
            "header_path": [base64_text(item) for item in self.header_path],
            "key_offers": [proven_json(offer) for offer in self.key_offers],
            "records": [proven_json(record) for record in self.records],
            "tree_size": self.tree_size,
            "certificate": self.certificate.decode(),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a verified site head proves.

    ``sequence`` 0 means enrolled and nothing committed yet; ``site_key`` is then the enrolled key. ``certified_at``
    is the earliest cosignature's time in seconds since 1970; ``records`` are the registrar's about the site, key offers
    among them, in the order of the tree.
    """

    site: SiteName
    sequence: int
    packet_id: bytes
    tracing_code: TracingCode
    leaf_index: int
    log_offset: int
    time_ms: int
    tree_size: int
    root: bytes
    certified_at: int
    signers: tuple[str, ...]
    site_key: PublicKey | None
    records: tuple[Placed, ...]

    @property
    def key_offers(self) -> tuple[KeyOffer, ...]:
        """The platform's keys that the registrar offered, by epoch."""
        bodies = [placed.control.body for placed in self.records]
        return tuple(sorted((body for body in bodies if isinstance(body, KeyOffer)), key=lambda o: o.epoch))


def parse_site_head(data: bytes) -> SiteHeadDocument | ReceiptProblem:
    """Read the JSON document that ``SiteHeadDocument.as_json`` describes. Total; unknown fields are ignored."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return ReceiptProblem(ReceiptReason.MALFORMED, f"more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        value = json.loads(data)
        return _document(value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return ReceiptProblem(ReceiptReason.MALFORMED, f"{type(error).__name__}: {error}"[:200])


def verify_head(
    genesis: Genesis, packet_bytes: bytes | None, document: SiteHeadDocument
) -> Receipt | ReceiptProblem:
    """Check a site head against the site's own packet and the genesis file. Total; needs no network.

    ``packet_bytes`` is the site's packet of that sequence; None to rely on the payload in the document (always so
    for sequence 0, and for a site that lost its packets), which is bound to the ledger all the same.
    """
    if document.chain != genesis.chain:
        return ReceiptProblem(ReceiptReason.WRONG_CHAIN, "head of another chain")
    certified = check_certificate(document.certificate, genesis.origin, genesis.policy)
    if not isinstance(certified, Certified):
        return ReceiptProblem(ReceiptReason.CERTIFICATE, f"{certified.reason}: {certified.detail}")
    if certified.checkpoint.size != document.tree_size:
        return ReceiptProblem(ReceiptReason.CERTIFICATE, "certificate is of another tree size")
    payload = document.head.payload if packet_bytes is None else packet_bytes
    site_key: PublicKey | None = None
    if payload is None:
        return ReceiptProblem(ReceiptReason.NO_PACKET, "neither the site nor the document has the packet")
    if document.sequence == 0:
        enrolled = _enrolment(genesis, payload, document)
        if isinstance(enrolled, ReceiptProblem):
            return enrolled
        site_key = enrolled
    elif (problem := _packet_problem(payload, document)) is not None:
        return problem
    root = certified.checkpoint.root
    if not is_proven(document.head, payload, document.tree_size, root):
        return ReceiptProblem(ReceiptReason.NOT_INCLUDED, "the path does not lead to the certified root")
    if (problem := _header_problem(document, root)) is not None:
        return problem
    records = _records(genesis, document, root)
    if isinstance(records, ReceiptProblem):
        return records
    return Receipt(
        document.site,
        document.sequence,
        document.packet_id,
        TracingCode(genesis.chain[:5], document.height, document.entry),
        document.head.leaf_index,
        document.head.log_offset,
        document.head.time_ms,
        document.tree_size,
        root,
        min(certified.timestamps),
        certified.signers,
        site_key,
        records,
    )


def _packet_problem(payload: bytes, document: SiteHeadDocument) -> ReceiptProblem | None:
    packet = parse_packet(payload)
    if document.head.kind is not Kind.PACKET or not isinstance(packet, Packet):
        return ReceiptProblem(ReceiptReason.MALFORMED, "the head is no packet")
    if packet.site != document.site:
        return ReceiptProblem(ReceiptReason.OTHER_SITE, f"packet of {packet.site}")
    if packet.packet_id != document.packet_id or packet.sequence != document.sequence:
        return ReceiptProblem(ReceiptReason.OTHER_PACKET, f"head is sequence {document.sequence}")
    return None


def _enrolment(genesis: Genesis, payload: bytes, document: SiteHeadDocument) -> PublicKey | ReceiptProblem:
    control = issued_control(genesis, payload)
    if document.head.kind is not Kind.CONTROL or control is None or not isinstance(control.body, Enrol):
        return ReceiptProblem(ReceiptReason.ENROLMENT, "the head is no registrar's enrolment")
    if control.body.site != document.site or document.packet_id != FIRST_PREVIOUS:
        return ReceiptProblem(ReceiptReason.OTHER_SITE, f"enrolment of {control.body.site}")
    key = enrolled_key(control.body)
    return key if key is not None else ReceiptProblem(ReceiptReason.ENROLMENT, "the enrolled key is weak")


def _header_problem(document: SiteHeadDocument, root: bytes) -> ReceiptProblem | None:
    """Check that height and entry are those of the leaf, by the block's header, which is a leaf as well."""
    header = proven_header(document.header, document.header_path, document.tree_size, root)
    if header is None:
        return ReceiptProblem(ReceiptReason.HEADER, "no block header that is in the certified tree")
    entry = document.head.leaf_index - header.first_index
    if (header.height, entry) != (document.height, document.entry) or not 0 <= entry < header.entry_count:
        return ReceiptProblem(ReceiptReason.HEADER, "height and entry are not those of the leaf")
    return None


def _records(
    genesis: Genesis, document: SiteHeadDocument, root: bytes
) -> tuple[Placed, ...] | ReceiptProblem:
    """Check what the registrar issued about the site: key offers, and changes of its rights and standing."""
    found: list[Placed] = []
    for reason, kinds, items in (
        (ReceiptReason.KEY_OFFER, (KeyOffer,), document.key_offers),
        (ReceiptReason.RECORD, (Enrol, Amend, Suspend, Resume, Revoke), document.records),
    ):
        for proven in items:
            control = issued_control(genesis, proven.payload)
            if control is None or not _is_about(control, document.site, kinds):
                return ReceiptProblem(reason, "not a registrar's record of that kind about this site")
            if proven.kind is not Kind.CONTROL or not is_proven(
                proven, control.raw, document.tree_size, root
            ):
                return ReceiptProblem(reason, "it is not in the certified tree")
            found.append(Placed(proven.leaf_index, control))
    return tuple(sorted(found, key=lambda placed: placed.leaf_index))


def _is_about(control: Control, site: SiteName, kinds: tuple[type[SiteBody], ...]) -> bool:
    body = control.body
    return isinstance(body, kinds) and body.site == site


def _document(value: dict[str, Any]) -> SiteHeadDocument:
    """Build the document from JSON; raises what a wrong shape raises."""
    if value["format"] != FORMAT or not isinstance(value["active"], bool):
        raise ValueError("not a site head of a version that this release knows")
    named = value["site"]
    site = SiteName(named["country"], named["city"], parse_site_id(named["site_id"]))
    records = value.get("records", [])
    if not is_site_name(site) or len(value["key_offers"]) > MAX_OFFERS or len(records) > MAX_RECORDS:
        raise ValueError("site, key_offers or records")
    return SiteHeadDocument(
        _hash(value["chain"]),
        site,
        value["active"],
        read_long(value["sequence"]),
        _hash(value["packet_id"]),
        read_long(value["height"]),
        read_long(value["entry"]),
        read_proven(value),
        read_bytes(value["header"]),
        read_path(value["header_path"]),
        tuple(read_proven(item) for item in value["key_offers"]),
        read_long(value["tree_size"]),
        value["certificate"].encode(),
        tuple(read_proven(item) for item in records),
    )


def _hash(value: str) -> bytes:
    data = bytes.fromhex(value)
    if len(data) != _HASH_BYTES:
        raise ValueError("a hash has not 32 bytes")
    return data
