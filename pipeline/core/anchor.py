"""Anchors: older statements about a chain, kept by somebody who trusts them, that an audit is held against.

An anchor is a checkpoint of an earlier tree, alone or inside of a proof or of a site's receipt. It is read here,
checked by itself, and taken apart into what its hashes say of which leaves; comparing is ``anchor_check``'s affair.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.core.block import Header, header_leaf
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.genesis import Genesis
from pipeline.core.merkle import is_included, leaf_hash, path_ranges
from pipeline.core.note import MAX_NOTE_BYTES, open_note
from pipeline.core.policy_file import log_verifier, node_verifiers
from pipeline.core.proven import Proven, proven_header
from pipeline.core.quorum import CertificateProblem, check_certificate
from pipeline.core.receipt import verify_head
from pipeline.core.site_head import MAX_DOCUMENT_BYTES, ReceiptProblem, SiteHeadDocument, parse_site_head
from pipeline.core.tlog_proof import MAX_TLOG_PROOF_BYTES, TlogProof, parse_tlog_proof

MAX_ANCHOR_BYTES: Final = max(MAX_DOCUMENT_BYTES, MAX_NOTE_BYTES, MAX_TLOG_PROOF_BYTES)
_PROOF_START: Final = b"c2sp.org/tlog-proof@"


class AnchorKind(StrEnum):
    """What an anchor was read from."""

    CHECKPOINT = "checkpoint"
    PROOF = "proof"
    RECEIPT = "receipt"


class AnchorReason(StrEnum):
    """Why a file is no anchor for a chain."""

    MALFORMED = "malformed"
    WRONG_CHAIN = "wrong_chain"
    NOT_SIGNED = "not_signed"
    NOT_PROVEN = "not_proven"


@dataclass(frozen=True, slots=True)
class AnchorProblem:
    """A refused anchor; ``detail`` is for people."""

    reason: AnchorReason
    detail: str


@dataclass(frozen=True, slots=True)
class Piece:
    """RFC 6962 root (32 bytes) over the leaves [low, high), as a tree of their own."""

    low: int
    high: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """Hash (32 bytes) of the block that ends the tree of ``size`` leaves; it commits all blocks before, too."""

    size: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Anchor:
    """A tree that was certified, or signed by the log: its size in leaves, its root, and what is known inside.

    ``pieces`` cover the tree as finely as the anchor's paths allow; ``links`` come from headers.
    """

    name: str
    kind: AnchorKind
    size: int
    root: bytes
    pieces: tuple[Piece, ...]
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf of the anchored tree with its audit path, lowest first."""

    index: int
    hash: bytes
    path: tuple[bytes, ...]


def parse_anchor(genesis: Genesis, data: bytes, name: str) -> Anchor | AnchorProblem:
    """Read a checkpoint note, a portable proof or a site head of this chain, and check it by itself. Total.

    ``name`` is what reports call it. The checkpoint counts where a quorum of nodes or the log's own key signed it.
    """
    if len(data) > MAX_ANCHOR_BYTES:
        return AnchorProblem(AnchorReason.MALFORMED, f"more than {MAX_ANCHOR_BYTES} bytes")
    if data.lstrip()[:1] == b"{":
        return _from_site_head(genesis, data, name)
    if data.startswith(_PROOF_START):
        return _from_proof(genesis, data, name)
    checkpoint = _trusted_checkpoint(genesis, data)
    if isinstance(checkpoint, AnchorProblem):
        return checkpoint
    return _anchor(name, AnchorKind.CHECKPOINT, checkpoint, (), ())


def _trusted_checkpoint(genesis: Genesis, note: bytes) -> Checkpoint | AnchorProblem:
    """Return the checkpoint of a note that a quorum or the log signed."""
    opened = open_note(note, (log_verifier(genesis), *node_verifiers(genesis)))
    if isinstance(opened, str):
        foreign = opened.replace("_", " ")
        return AnchorProblem(AnchorReason.NOT_SIGNED, f"no checkpoint signed for this chain: {foreign}")
    checkpoint = parse_checkpoint(opened.text)
    if not isinstance(checkpoint, Checkpoint):
        detail = f"its text is no checkpoint: {checkpoint.replace('_', ' ')}"
        return AnchorProblem(AnchorReason.MALFORMED, detail)
    if checkpoint.origin != genesis.origin:
        detail = f"a checkpoint of {checkpoint.origin}, not of {genesis.origin}"
        return AnchorProblem(AnchorReason.WRONG_CHAIN, detail)
    if log_verifier(genesis) in {signature.key for signature in opened.verified}:
        return checkpoint
    certified = check_certificate(note, genesis.origin, genesis.policy)
    if isinstance(certified, CertificateProblem):
        detail = f"signed neither by the log nor by a quorum of nodes: {certified.detail}"
        return AnchorProblem(AnchorReason.NOT_SIGNED, detail)
    return checkpoint


def _from_site_head(genesis: Genesis, data: bytes, name: str) -> Anchor | AnchorProblem:
    document = parse_site_head(data)
    if isinstance(document, ReceiptProblem):
        return AnchorProblem(AnchorReason.MALFORMED, f"no site head: {document.detail}")
    if document.chain != genesis.chain:
        return AnchorProblem(AnchorReason.WRONG_CHAIN, "a site head of another chain")
    if document.head.payload is not None:
        receipt = verify_head(genesis, None, document)
        if isinstance(receipt, ReceiptProblem):
            return AnchorProblem(AnchorReason.NOT_PROVEN, f"{receipt.reason}: {receipt.detail}")
    checkpoint = _trusted_checkpoint(genesis, document.certificate)
    if isinstance(checkpoint, AnchorProblem):
        return checkpoint
    if checkpoint.size != document.tree_size:
        return AnchorProblem(AnchorReason.NOT_PROVEN, "its certificate is of another tree size")
    header = proven_header(document.header, document.header_path, checkpoint.size, checkpoint.root)
    if header is None:
        return AnchorProblem(AnchorReason.NOT_PROVEN, "its header is not in the certified tree")
    return _anchor(name, AnchorKind.RECEIPT, checkpoint, _leaves_of(document, header), (header,))


def _leaves_of(document: SiteHeadDocument, header: Header) -> list[_Leaf]:
    """Return the leaves that a site head has the bytes of: the entry only where its payload is there."""
    proven = [item for item in (document.head, *document.key_offers) if item.payload is not None]
    return [*map(_leaf, proven), _header_leaf(header, document.header_path)]


def _from_proof(genesis: Genesis, data: bytes, name: str) -> Anchor | AnchorProblem:
    """Read a tlog-proof; without evidence beside it, its checkpoint alone says something that can be checked."""
    proof = parse_tlog_proof(data)
    if not isinstance(proof, TlogProof):
        return AnchorProblem(AnchorReason.MALFORMED, f"no tlog-proof: {proof.replace('_', ' ')}")
    checkpoint = _trusted_checkpoint(genesis, proof.checkpoint)
    if isinstance(checkpoint, AnchorProblem):
        return checkpoint
    if proof.extra is None:
        return _anchor(name, AnchorKind.PROOF, checkpoint, (), ())
    evidence = parse_evidence(proof.extra)
    if not isinstance(evidence, Evidence):
        return AnchorProblem(AnchorReason.MALFORMED, f"its evidence: {evidence}")
    if evidence.genesis != genesis.raw:
        return AnchorProblem(AnchorReason.WRONG_CHAIN, "a proof of another chain")
    entry = evidence.entry
    if (entry.leaf_index, entry.path) != (proof.index, proof.path):
        return AnchorProblem(AnchorReason.NOT_PROVEN, "its evidence is of another entry")
    header = proven_header(evidence.header, evidence.header_path, checkpoint.size, checkpoint.root)
    if header is None:
        return AnchorProblem(AnchorReason.NOT_PROVEN, "its header is not in the certified tree")
    controls = [evidence.enrolment, evidence.key_offer]
    if evidence.grant is not None:
        controls.append(evidence.grant)
    leaves = [*map(_leaf, (entry, *controls)), _header_leaf(header, evidence.header_path)]
    return _anchor(name, AnchorKind.PROOF, checkpoint, leaves, (header,))


def _leaf(proven: Proven) -> _Leaf:
    return _Leaf(proven.leaf_index, proven.leaf(proven.payload or b""), proven.path)


def _header_leaf(header: Header, path: tuple[bytes, ...]) -> _Leaf:
    return _Leaf(header.tree_size - 1, leaf_hash(header_leaf(header)), path)


def _anchor(
    name: str, kind: AnchorKind, tree: Checkpoint, leaves: Iterable[_Leaf], headers: Iterable[Header]
) -> Anchor | AnchorProblem:
    known = {(0, tree.size): tree.root} if tree.size else {}
    for leaf in leaves:
        if not is_included(leaf.hash, leaf.index, tree.size, leaf.path, tree.root):
            return AnchorProblem(
                AnchorReason.NOT_PROVEN, f"its path does not lead leaf {leaf.index} to the root"
            )
        known[(leaf.index, leaf.index + 1)] = leaf.hash
        known.update(zip(path_ranges(leaf.index, tree.size), leaf.path, strict=True))
    pieces = tuple(Piece(low, high, known[(low, high)]) for low, high in _finest(known))
    links = tuple(Link(header.first_index, header.previous_hash) for header in headers if header.first_index)
    return Anchor(name, kind, tree.size, tree.root, pieces, links)


def _finest(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges that hold no other, in order: subtrees of one tree are apart or one inside the other.

    Beside each leaf that is known stand its siblings up to the root, so that these alone still cover the tree.
    """
    finest: list[tuple[int, int]] = []
    for low, high in sorted(ranges, key=lambda item: (item[0], -item[1])):
        if finest and finest[-1][0] <= low and high <= finest[-1][1]:
            finest.pop()
        finest.append((low, high))
    return finest
