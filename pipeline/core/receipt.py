"""Receipt: what a site head proves of a site's last committed packet and of its rights, checked offline.

The head's inclusion proves all packets of the site before it, too: a packet is admitted only on top of the one
that it names as previous (continuation rule). Owns the verification; fetches nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.core.admission import enrolled_key
from pipeline.core.authorities import Authorities, authorities_of
from pipeline.core.block import Kind
from pipeline.core.control import (
    Amend,
    Control,
    Enrol,
    KeyOffer,
    NewContract,
    Nodes,
    Registrars,
    Resume,
    Revoke,
    SiteBody,
    Suspend,
)
from pipeline.core.entitlement import Placed
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName
from pipeline.core.packet import FIRST_PREVIOUS, Packet, parse_packet
from pipeline.core.proven import is_proven, issued_control, proven_header, root_control
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.site_head import ReceiptProblem, ReceiptReason, SiteHeadDocument
from pipeline.core.tracing import TracingCode


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a verified site head proves.

    ``sequence`` 0 means enrolled and nothing committed yet; ``site_key`` is then the enrolled key. ``certified_at``
    is the earliest cosignature's time in seconds since 1970; ``records`` are the registrar's about the site, key offers
    among them, in the order of the tree, ``authorities`` those of root keys.
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
    authorities: tuple[Placed, ...]

    @property
    def key_offers(self) -> tuple[KeyOffer, ...]:
        """The platform's keys that the registrar offered, by epoch."""
        bodies = [placed.control.body for placed in self.records]
        return tuple(sorted((body for body in bodies if isinstance(body, KeyOffer)), key=lambda o: o.epoch))


def verify_head(
    genesis: Genesis,
    packet_bytes: bytes | None,
    document: SiteHeadDocument,
    known: Iterable[Placed] = (),
) -> Receipt | ReceiptProblem:
    """Check a site head against the site's own packet and the genesis file. Total; needs no network.

    ``packet_bytes`` is the site's packet of that sequence; None to rely on the payload in the document (always so
    for sequence 0, and for a site that lost its packets), which is bound to the ledger all the same. ``known`` are
    changes of authorities that were verified before, so that nobody can hold one back again.
    """
    if document.chain != genesis.chain:
        return ReceiptProblem(ReceiptReason.WRONG_CHAIN, "head of another chain")
    changes = _signed_changes(genesis, document)
    if isinstance(changes, ReceiptProblem):
        return changes
    authorities = authorities_of(genesis, (*known, *changes))
    policy = authorities.policy_at(document.tree_size)
    certified = check_certificate(document.certificate, genesis.origin, policy)
    if not isinstance(certified, Certified):
        return ReceiptProblem(ReceiptReason.CERTIFICATE, f"{certified.reason}: {certified.detail}")
    if certified.checkpoint.size != document.tree_size:
        return ReceiptProblem(ReceiptReason.CERTIFICATE, "certificate is of another tree size")
    payload = document.head.payload if packet_bytes is None else packet_bytes
    site_key: PublicKey | None = None
    if payload is None:
        return ReceiptProblem(ReceiptReason.NO_PACKET, "neither the site nor the document has the packet")
    if document.sequence == 0:
        enrolled = _enrolment(genesis, authorities, payload, document)
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
    records = _records(genesis, authorities, document, root)
    if isinstance(records, ReceiptProblem):
        return records
    if (problem := _changes_problem(document, changes, root)) is not None:
        return problem
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
        tuple(sorted(changes, key=lambda placed: placed.leaf_index)),
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


def _enrolment(
    genesis: Genesis, authorities: Authorities, payload: bytes, document: SiteHeadDocument
) -> PublicKey | ReceiptProblem:
    control = issued_control(genesis, payload, authorities.registrars_at(document.head.leaf_index))
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


def _signed_changes(genesis: Genesis, document: SiteHeadDocument) -> tuple[Placed, ...] | ReceiptProblem:
    """Return what root keys signed, in the document's order; that it is in the tree is checked when that is known."""
    found: list[Placed] = []
    for proven in document.authorities:
        control = root_control(genesis, proven.payload)
        if control is None or not isinstance(control.body, Registrars | Nodes | NewContract):
            return ReceiptProblem(ReceiptReason.AUTHORITY, "not a change of authorities by enough root keys")
        found.append(Placed(proven.leaf_index, control))
    return tuple(found)


def _changes_problem(
    document: SiteHeadDocument, changes: tuple[Placed, ...], root: bytes
) -> ReceiptProblem | None:
    """Check that the document's changes of authorities are in the certified tree."""
    for proven, placed in zip(document.authorities, changes, strict=True):
        if proven.kind is not Kind.CONTROL or not is_proven(
            proven, placed.control.raw, document.tree_size, root
        ):
            return ReceiptProblem(ReceiptReason.AUTHORITY, "it is not in the certified tree")
    return None


def _records(
    genesis: Genesis, authorities: Authorities, document: SiteHeadDocument, root: bytes
) -> tuple[Placed, ...] | ReceiptProblem:
    """Check what the registrar issued about the site: key offers, and changes of its rights and standing."""
    found: list[Placed] = []
    for reason, kinds, items in (
        (ReceiptReason.KEY_OFFER, (KeyOffer,), document.key_offers),
        (ReceiptReason.RECORD, (Enrol, Amend, Suspend, Resume, Revoke), document.records),
    ):
        for proven in items:
            registrars = authorities.registrars_at(proven.leaf_index)
            control = issued_control(genesis, proven.payload, registrars)
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
