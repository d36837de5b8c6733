"""Site head document: what the API tells a site about its last committed packet, and its rights, as JSON.

Owns the document and reading it; what it proves is ``receipt``'s affair.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pipeline.core.names import SiteName, is_site_name, parse_site_id, site_id_text
from pipeline.core.proven import (
    Proven,
    base64_text,
    proven_json,
    read_bytes,
    read_long,
    read_path,
    read_proven,
)

FORMAT: Final = "bkdms-site-head/v1"
MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_OFFERS: Final = 8
MAX_RECORDS: Final = 8
MAX_AUTHORITIES: Final = 32
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
    AUTHORITY = "authority"


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
    newest changes of the site's rights and standing, oldest first, ``authorities`` those of registrars, nodes and
    contract by root keys.
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
    authorities: tuple[Proven, ...] = ()

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
            "authorities": [proven_json(record) for record in self.authorities],
            "tree_size": self.tree_size,
            "certificate": self.certificate.decode(),
        }


def parse_site_head(data: bytes) -> SiteHeadDocument | ReceiptProblem:
    """Read the JSON document that ``SiteHeadDocument.as_json`` describes. Total; unknown fields are ignored."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return ReceiptProblem(ReceiptReason.MALFORMED, f"more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        value = json.loads(data)
        return _document(value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return ReceiptProblem(ReceiptReason.MALFORMED, f"{type(error).__name__}: {error}"[:200])


def _document(value: dict[str, Any]) -> SiteHeadDocument:
    """Build the document from JSON; raises what a wrong shape raises."""
    if value["format"] != FORMAT or not isinstance(value["active"], bool):
        raise ValueError("not a site head of a version that this release knows")
    named = value["site"]
    site = SiteName(named["country"], named["city"], parse_site_id(named["site_id"]))
    records, authorities = value.get("records", []), value.get("authorities", [])
    if not is_site_name(site) or len(value["key_offers"]) > MAX_OFFERS or len(records) > MAX_RECORDS:
        raise ValueError("site, key_offers or records")
    if len(authorities) > MAX_AUTHORITIES:
        raise ValueError("authorities")
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
        tuple(read_proven(item) for item in authorities),
    )


def _hash(value: str) -> bytes:
    data = bytes.fromhex(value)
    if len(data) != _HASH_BYTES:
        raise ValueError("a hash has not 32 bytes")
    return data
