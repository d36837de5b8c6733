"""Portable proof: that a packet of an enrolled site is in the ledger at its place, checked offline under a policy.

A C2SP tlog-proof whose extra line carries the evidence. Everything that can be checked without the ledger is, and all
of it has to hold; what is left is named in ``ATTESTED``. Total: bytes from outside never raise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pipeline.core.admission import (
    enrolled_key,
    enrolment_problem,
    is_signed,
    offered_key,
    site_problem,
    time_outcome,
)
from pipeline.core.block import HEADER_VERSION, Header, Kind, block_hash
from pipeline.core.control import BackfillGrant, Body, Enrol, KeyOffer
from pipeline.core.disclosure import Disclosed, check_disclosed, records_json
from pipeline.core.errors import ConfigError
from pipeline.core.evidence import Evidence, parse_evidence
from pipeline.core.genesis import RULES_VERSION, Genesis, parse_genesis
from pipeline.core.names import site_id_text
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.proven import Proven, is_proven, issued_control, proven_header
from pipeline.core.record import UnifiedRecord
from pipeline.core.sealing import SEALING_ALGORITHM
from pipeline.core.state import Site
from pipeline.core.tlog_policy import PolicyRefusal, TlogPolicy, Witnessed, check_note
from pipeline.core.tlog_proof import TlogProof, parse_tlog_proof
from pipeline.core.tracing import TracingCode

ATTESTED: Final = (
    "that the site was neither revoked nor enrolled anew between its enrolment and this packet",
    "that this packet continued the site's chain of packets: no repeat, no second one of the same number",
    "the broker time, and that packet and block came in their turn",
)
"""What a proof leaves to the word of those who cosigned: they ran admission and agree."""

NoteCheck = Callable[[bytes], Witnessed | PolicyRefusal]
"""Judges a checkpoint's note under a policy."""


class ProofReason(StrEnum):
    """Why bytes prove nothing."""

    MALFORMED = "malformed"
    POLICY = "policy"
    GENESIS = "genesis"
    WRONG_CHAIN = "wrong_chain"
    NOT_INCLUDED = "not_included"
    NOT_A_PACKET = "not_a_packet"
    HEADER = "header"
    ENROLMENT = "enrolment"
    KEY_OFFER = "key_offer"
    GRANT = "grant"
    ADMISSION = "admission"
    SIGNATURE = "signature"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class ProofProblem:
    """A refused proof; ``detail`` is for people."""

    reason: ProofReason
    detail: str

    def __str__(self) -> str:
        """Return reason and detail."""
        return f"{self.reason.value.replace('_', ' ')}: {self.detail}"


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
    except _RefusedError as refused:
        return refused.problem


class _RefusedError(Exception):
    """Carries the first problem out of the checks."""

    def __init__(self, reason: ProofReason, detail: str) -> None:
        super().__init__(detail)
        self.problem = ProofProblem(reason, detail)


def _require(holds: object, reason: ProofReason, detail: str) -> None:
    if not holds:
        raise _RefusedError(reason, detail)


def _verify(check: NoteCheck, data: bytes) -> Proof:
    proof, evidence = _parsed(data)
    witnessed = _witnessed(check(proof.checkpoint))
    tree, entry = witnessed.checkpoint, evidence.entry
    genesis = _genesis(evidence.genesis, tree.origin)
    is_same = (entry.leaf_index, entry.path) == (proof.index, proof.path)
    _require(is_same, ProofReason.MALFORMED, "the entry is not the one of the index and path lines")
    payload = entry.payload or b""
    _require(
        is_proven(entry, payload, tree.size, tree.root),
        ProofReason.NOT_INCLUDED,
        "the path does not lead from the packet to the root",
    )
    packet = parse_packet(payload)
    if entry.kind is not Kind.PACKET or not isinstance(packet, Packet):
        raise _RefusedError(ProofReason.NOT_A_PACKET, "the entry is no packet")
    _require(packet.chain == genesis.chain, ProofReason.WRONG_CHAIN, "the packet is of another chain")
    header = _header(genesis, evidence, witnessed)
    site = _site(genesis, evidence, witnessed, packet)
    _check_offer(genesis, evidence, witnessed, packet)
    _check_admission(genesis, evidence, witnessed, packet, site)
    _require(is_signed(site.key, packet), ProofReason.SIGNATURE, "not signed with the site's enrolled key")
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
        raise _RefusedError(ProofReason.MALFORMED, f"no tlog-proof: {proof.replace('_', ' ')}")
    if proof.extra is None:
        raise _RefusedError(ProofReason.MALFORMED, "there is no extra line with the evidence")
    evidence = parse_evidence(proof.extra)
    if not isinstance(evidence, Evidence):
        raise _RefusedError(ProofReason.MALFORMED, f"evidence: {evidence}")
    return proof, evidence


def _witnessed(witnessed: Witnessed | PolicyRefusal) -> Witnessed:
    if isinstance(witnessed, PolicyRefusal):
        raise _RefusedError(ProofReason.POLICY, witnessed.detail.replace("_", " "))
    _require(witnessed.log, ProofReason.POLICY, "the policy names no log, so any log's checkpoint would do")
    return witnessed


def _genesis(raw: bytes, origin: str) -> Genesis:
    try:
        genesis = parse_genesis(raw)
    except ConfigError as error:
        raise _RefusedError(ProofReason.GENESIS, str(error)) from None
    _require(
        genesis.origin == origin, ProofReason.WRONG_CHAIN, f"the genesis file is not that of the log {origin}"
    )
    return genesis


def _header(genesis: Genesis, evidence: Evidence, witnessed: Witnessed) -> Header:
    """Return the header of the block that holds the entry."""
    tree, entry = witnessed.checkpoint, evidence.entry
    header = proven_header(evidence.header, evidence.header_path, tree.size, tree.root)
    if header is None:
        raise _RefusedError(ProofReason.HEADER, "no block header that is in the tree")
    source = header.source
    checks = (
        ("version", (header.version, header.rules_version) == (HEADER_VERSION, RULES_VERSION)),
        ("chain", (header.chain, header.chain_id) == (genesis.chain, genesis.url)),
        ("source", (source.topic, source.partition) == (genesis.topic, genesis.partition)),
        ("contract_hash", header.contract_hash == genesis.contract.hash),
        ("first_index", header.first_index <= entry.leaf_index < header.tree_size - 1),
        ("source", source.first <= entry.log_offset < source.next),
        ("period_start", header.period_start <= entry.time_ms < header.period_end),
    )
    for name, holds in checks:
        _require(holds, ProofReason.HEADER, f"field {name} does not fit chain and entry")
    return header


def _earlier(
    genesis: Genesis, proven: Proven, evidence: Evidence, witnessed: Witnessed, reason: ProofReason
) -> Body:
    """Return the body of a registrar's record that stands before the entry in the same tree."""
    tree = witnessed.checkpoint
    control = issued_control(genesis, proven.payload)
    if proven.kind is not Kind.CONTROL or control is None:
        raise _RefusedError(reason, "not signed by a registrar of the genesis file")
    is_before = proven.leaf_index < evidence.entry.leaf_index
    is_there = is_before and is_proven(proven, control.raw, tree.size, tree.root)
    _require(is_there, reason, "not in the tree before the packet")
    return control.body


def _site(genesis: Genesis, evidence: Evidence, witnessed: Witnessed, packet: Packet) -> Site:
    """Return the site as its enrolment let it in."""
    body = _earlier(genesis, evidence.enrolment, evidence, witnessed, ProofReason.ENROLMENT)
    if not isinstance(body, Enrol) or body.site != packet.site:
        raise _RefusedError(ProofReason.ENROLMENT, "no enrolment of the packet's site")
    problem, key = enrolment_problem(genesis.chain, body), enrolled_key(body)
    if problem is not None or key is None:
        raise _RefusedError(ProofReason.ENROLMENT, (problem or Outcome.WEAK_KEY).label.replace("_", " "))
    return Site(body.site, key, body.suites, body.indicators, body.equipment)


def _check_offer(genesis: Genesis, evidence: Evidence, witnessed: Witnessed, packet: Packet) -> None:
    body = _earlier(genesis, evidence.key_offer, evidence, witnessed, ProofReason.KEY_OFFER)
    if not isinstance(body, KeyOffer) or body.site != packet.site:
        raise _RefusedError(ProofReason.KEY_OFFER, "no key offer to the packet's site")
    key = offered_key(body)
    is_used = key is not None and any(reader.key == key.fingerprint for reader in packet.recipients)
    fits = is_used and body.algorithm is SEALING_ALGORITHM[packet.suite]
    _require(fits, ProofReason.KEY_OFFER, "the packet is not sealed to this key, or not as its suite says")


def _check_admission(
    genesis: Genesis, evidence: Evidence, witnessed: Witnessed, packet: Packet, site: Site
) -> None:
    """Apply the contract's rules that need no other packet."""
    time_ms, grants = evidence.entry.time_ms, list[BackfillGrant]()
    if evidence.grant is not None:
        is_needed = packet.collected_from < time_ms - genesis.contract.max_age_ms
        _require(is_needed, ProofReason.GRANT, "a grant that this packet does not need")
        body = _earlier(genesis, evidence.grant, evidence, witnessed, ProofReason.GRANT)
        if not isinstance(body, BackfillGrant) or body.site != packet.site:
            raise _RefusedError(ProofReason.GRANT, "no backfill grant to the packet's site")
        grants.append(body)
    refused = site_problem(genesis.chain, genesis.contract, site, packet, time_ms)
    outcome = refused or time_outcome(genesis.contract, grants, packet, time_ms)
    _require(outcome is Outcome.ADMITTED, ProofReason.ADMISSION, outcome.label.replace("_", " "))


def _records(
    disclosed: tuple[Disclosed, ...], packet: Packet, site: Site
) -> tuple[tuple[int, UnifiedRecord], ...]:
    """Return the disclosed records, each proven to be in the packet and to fit what the site signed outside."""
    found: list[tuple[int, UnifiedRecord]] = []
    for item in disclosed:
        is_next = not found or found[-1][0] < item.index
        _require(is_next, ProofReason.RECORD, "disclosed records are not in order")
        record = check_disclosed(packet, site, item)
        if isinstance(record, str):
            raise _RefusedError(ProofReason.RECORD, f"record {item.index}: {record}")
        found.append((item.index, record))
    return tuple(found)
