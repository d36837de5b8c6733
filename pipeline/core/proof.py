"""Portable proof: that a packet of an enrolled site is in the ledger at its place, checked offline under a policy.

A C2SP tlog-proof whose extra line carries the evidence. Everything that can be checked without the ledger is, and all
of it has to hold; what is left is named in ``ATTESTED``. Total: bytes from outside never raise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.admission import is_signed
from pipeline.core.block import HEADER_VERSION, Header, Kind, block_hash
from pipeline.core.disclosure import Disclosed, check_disclosed, records_json
from pipeline.core.errors import ConfigError
from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.genesis import RULES_VERSION, Genesis, parse_genesis
from pipeline.core.names import site_id_text
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.proof_problem import ProofProblem, ProofReason, RefusedError, require
from pipeline.core.proof_rights import check_rights
from pipeline.core.proven import Proven, is_proven, proven_header
from pipeline.core.record import UnifiedRecord
from pipeline.core.state import Site
from pipeline.core.tlog_policy import PolicyRefusal, TlogPolicy, Witnessed, check_note
from pipeline.core.tlog_proof import TlogProof, parse_tlog_proof
from pipeline.core.tracing import TracingCode

__all__ = ["ATTESTED", "Proof", "ProofProblem", "ProofReason", "verify_proof", "verify_with"]

ATTESTED: Final = (
    "that nothing lies between which is not shown: the site was not revoked, suspended, amended or enrolled anew, "
    "and its registrars were not replaced",
    "that this packet continued the site's chain of packets: no repeat, no second one of the same number",
    "the broker time, and that packet and block came in their turn",
)
"""What a proof leaves to the word of those who cosigned: they ran admission and agree."""

NoteCheck = Callable[[bytes], Witnessed | PolicyRefusal]
"""Judges a checkpoint's note under a policy."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof proves: this packet, in this block, under this checkpoint; and the records that it discloses."""

    code: TracingCode
    packet: Packet
    header: Header
    block_hash: bytes
    entry: Proven
    check_code: bytes
    witnessed: Witnessed
    disclosed: tuple[tuple[int, UnifiedRecord], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the proven facts as a JSON value; times in milliseconds since 1970, cosignatures in seconds."""
        packet, tree = self.packet, self.witnessed.checkpoint
        return {
            "good": True,
            "tracing_code": str(self.code),
            "chain": packet.chain.hex(),
            "chain_id": self.header.chain_id,
            "height": self.header.height,
            "entry": self.code.entry,
            "block_hash": self.block_hash.hex(),
            "country": packet.site.country,
            "city": packet.site.city,
            "site_id": site_id_text(packet.site.site_id),
            "module_id": packet.module_id,
            "sequence": packet.sequence,
            "packet_id": packet.packet_id.hex(),
            "collected_from": packet.collected_from,
            "collected_to": packet.collected_to,
            "records": packet.record_count,
            "admitted": self.entry.time_ms,
            "log_offset": self.entry.log_offset,
            "check_code": self.check_code.hex(),
            "leaf_index": self.entry.leaf_index,
            "tree_size": tree.size,
            "root": tree.root.hex(),
            "origin": tree.origin,
            "cosigners": [{"name": name, "time": time} for name, time in self.witnessed.cosigners],
            "disclosed": records_json(self.disclosed),
            "attested_by_cosigners": list(ATTESTED),
        }


def verify_proof(policy: TlogPolicy, data: bytes) -> Proof | ProofProblem:
    """Check a portable proof under a policy. Total; needs no network and no clock."""
    return verify_with(lambda note: check_note(policy, note), data)


def verify_with(check: NoteCheck, data: bytes) -> Proof | ProofProblem:
    """Check a portable proof where ``check`` judges its checkpoint. Total as far as that is."""
    try:
        return _verify(check, data)
    except RefusedError as refused:
        return refused.problem


def _verify(check: NoteCheck, data: bytes) -> Proof:
    proof, evidence = _parsed(data)
    witnessed = _witnessed(check(proof.checkpoint))
    tree, entry = witnessed.checkpoint, evidence.entry
    genesis = _genesis(evidence.genesis, tree.origin)
    is_same = (entry.leaf_index, entry.path) == (proof.index, proof.path)
    require(is_same, ProofReason.MALFORMED, "the entry is not the one of the index and path lines")
    payload = entry.payload or b""
    require(
        is_proven(entry, payload, tree.size, tree.root),
        ProofReason.NOT_INCLUDED,
        "the path does not lead from the packet to the root",
    )
    packet = parse_packet(payload)
    if entry.kind is not Kind.PACKET or not isinstance(packet, Packet):
        raise RefusedError(ProofReason.NOT_A_PACKET, "the entry is no packet")
    require(packet.chain == genesis.chain, ProofReason.WRONG_CHAIN, "the packet is of another chain")
    header = _header(genesis, evidence, witnessed)
    site, key = check_rights(genesis, evidence, tree, header, packet)
    require(is_signed(key, packet), ProofReason.SIGNATURE, "not signed with the site's key")
    return Proof(
        TracingCode(genesis.chain[:5], header.height, entry.leaf_index - header.first_index),
        packet,
        header,
        block_hash(evidence.header),
        entry,
        entry.leaf(payload),
        witnessed,
        _records(evidence.disclosed, packet, site),
    )


def _parsed(data: bytes) -> tuple[TlogProof, Evidence]:
    proof = parse_tlog_proof(data)
    if not isinstance(proof, TlogProof):
        raise RefusedError(ProofReason.MALFORMED, f"no tlog-proof: {proof.replace('_', ' ')}")
    if proof.extra is None:
        raise RefusedError(ProofReason.MALFORMED, "there is no extra line with the evidence")
    evidence = parse_evidence(proof.extra)
    if not isinstance(evidence, Evidence):
        raise RefusedError(ProofReason.MALFORMED, f"evidence: {evidence}")
    return proof, evidence


def _witnessed(witnessed: Witnessed | PolicyRefusal) -> Witnessed:
    if isinstance(witnessed, PolicyRefusal):
        raise RefusedError(ProofReason.POLICY, witnessed.detail.replace("_", " "))
    require(witnessed.log, ProofReason.POLICY, "the policy names no log, so any log's checkpoint would do")
    return witnessed


def _genesis(raw: bytes, origin: str) -> Genesis:
    try:
        genesis = parse_genesis(raw)
    except ConfigError as error:
        raise RefusedError(ProofReason.GENESIS, str(error)) from None
    require(
        genesis.origin == origin, ProofReason.WRONG_CHAIN, f"the genesis file is not that of the log {origin}"
    )
    return genesis


def _header(genesis: Genesis, evidence: Evidence, witnessed: Witnessed) -> Header:
    """Return the header of the block that holds the entry."""
    tree, entry = witnessed.checkpoint, evidence.entry
    header = proven_header(evidence.header, evidence.header_path, tree.size, tree.root)
    if header is None:
        raise RefusedError(ProofReason.HEADER, "no block header that is in the tree")
    source = header.source
    checks = (
        ("version", (header.version, header.rules_version) == (HEADER_VERSION, RULES_VERSION)),
        ("chain", (header.chain, header.chain_id) == (genesis.chain, genesis.url)),
        ("source", (source.topic, source.partition) == (genesis.topic, genesis.partition)),
        ("first_index", header.first_index <= entry.leaf_index < header.tree_size - 1),
        ("source", source.first <= entry.log_offset < source.next),
        ("period_start", header.period_start <= entry.time_ms < header.period_end),
    )
    for name, holds in checks:
        require(holds, ProofReason.HEADER, f"field {name} does not fit chain and entry")
    return header


def _records(
    disclosed: tuple[Disclosed, ...], packet: Packet, site: Site
) -> tuple[tuple[int, UnifiedRecord], ...]:
    """Return the disclosed records, each proven to be in the packet and to fit what the site signed outside."""
    found: list[tuple[int, UnifiedRecord]] = []
    for item in disclosed:
        is_next = not found or found[-1][0] < item.index
        require(is_next, ProofReason.RECORD, "disclosed records are not in order")
        record = check_disclosed(packet, site, item)
        if isinstance(record, str):
            raise RefusedError(ProofReason.RECORD, f"record {item.index}: {record}")
        found.append((item.index, record))
    return tuple(found)
