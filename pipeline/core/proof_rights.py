"""What a portable proof shows of rights: who let the site in, with which key and terms, under which contract.

Control records count in the order of the tree: one of a registrar by who was registrar at its leaf, as far as the proof
shows it; one of root keys by the genesis file. Each has to be in the tree before the packet.
"""

from pipeline.core.admission import (
    change_problem,
    changed_site,
    enrolment_problem,
    offered_key,
    site_problem,
    time_outcome,
)
from pipeline.core.authorities import Authorities
from pipeline.core.block import Header, Kind
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.contract import Contract
from pipeline.core.control import Amend, BackfillGrant, Control, Enrol, KeyOffer, NewContract, Registrars
from pipeline.core.evidence import Evidence
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.proof_problem import ProofReason, RefusedError, require
from pipeline.core.proven import Proven, is_proven, issued_control, root_control
from pipeline.core.sealing import SEALING_ALGORITHM
from pipeline.core.state import Site


def check_rights(
    genesis: Genesis, evidence: Evidence, tree: Checkpoint, header: Header, packet: Packet
) -> tuple[Site, PublicKey]:
    """Return the site as it was when the packet was admitted, and the key that it signed with.

    Raises:
        RefusedError: something that the packet was admitted by is not shown, or does not let it in.
    """
    rights = _Rights(genesis, evidence, tree)
    contract = rights.contract(header)
    site = rights.site(packet)
    rights.check_offer(packet)
    rights.check_admission(contract, site, packet)
    key = site.key_of(packet.site_key, evidence.entry.time_ms)
    if key is None:
        raise RefusedError(ProofReason.ADMISSION, Outcome.WRONG_KEY.label.replace("_", " "))
    return site, key


class _Rights:
    """The control records of one proof."""

    def __init__(self, genesis: Genesis, evidence: Evidence, tree: Checkpoint) -> None:
        self._genesis, self._evidence, self._tree = genesis, evidence, tree
        self._authorities = Authorities(genesis)
        before = -1
        for proven in evidence.registrars:
            control = self._of_roots(proven, ProofReason.REGISTRARS)
            is_next = isinstance(control.body, Registrars) and before < proven.leaf_index
            require(is_next, ProofReason.REGISTRARS, "no change of registrars, or not in the tree's order")
            self._authorities.add(proven.leaf_index, control)
            before = proven.leaf_index

    def contract(self, header: Header) -> Contract:
        """Return the contract that the packet's block keeps to: its header carries the hash."""
        proven, contract = self._evidence.contract, self._genesis.contract
        if proven is not None:
            body = self._of_roots(proven, ProofReason.CONTRACT).body
            if not isinstance(body, NewContract) or proven.leaf_index >= header.first_index:
                raise RefusedError(ProofReason.CONTRACT, "no contract that was decided before the block")
            require(body.contract != contract, ProofReason.CONTRACT, "it is that of the genesis file")
            contract = body.contract
        require(
            header.contract_hash == contract.hash,
            ProofReason.HEADER,
            "field contract_hash is not that of the contract in force",
        )
        return contract

    def site(self, packet: Packet) -> Site:
        """Return the site as enrolment and amendments let it in."""
        proven = self._evidence.enrolment
        body = self._of_registrar(proven, ProofReason.ENROLMENT).body
        if not isinstance(body, Enrol) or body.site != packet.site:
            raise RefusedError(ProofReason.ENROLMENT, "no enrolment of the packet's site")
        problem = enrolment_problem(self._genesis.chain, body)
        if problem is not None:
            raise RefusedError(ProofReason.ENROLMENT, problem.label.replace("_", " "))
        site, before = changed_site(None, body), proven.leaf_index
        for proven in self._evidence.amendments:
            amended = self._of_registrar(proven, ProofReason.AMENDMENT).body
            if not isinstance(amended, Amend) or amended.site != packet.site:
                raise RefusedError(ProofReason.AMENDMENT, "no amendment of the packet's site")
            require(before < proven.leaf_index, ProofReason.AMENDMENT, "not in the tree's order")
            problem = change_problem(self._genesis.chain, site, amended)
            if problem is not None:
                raise RefusedError(ProofReason.AMENDMENT, problem.label.replace("_", " "))
            site, before = changed_site(site, amended), proven.leaf_index
        return site

    def check_offer(self, packet: Packet) -> None:
        """Require that the packet is sealed to a key that the platform offered to its site."""
        body = self._of_registrar(self._evidence.key_offer, ProofReason.KEY_OFFER).body
        if not isinstance(body, KeyOffer) or body.site != packet.site:
            raise RefusedError(ProofReason.KEY_OFFER, "no key offer to the packet's site")
        key = offered_key(body)
        is_used = key is not None and any(reader.key == key.fingerprint for reader in packet.recipients)
        fits = is_used and body.algorithm is SEALING_ALGORITHM[packet.suite]
        require(fits, ProofReason.KEY_OFFER, "the packet is not sealed to this key, or not as its suite says")

    def check_admission(self, contract: Contract, site: Site, packet: Packet) -> None:
        """Apply the contract's rules that need no other packet."""
        time_ms, grants = self._evidence.entry.time_ms, list[BackfillGrant]()
        if self._evidence.grant is not None:
            is_needed = packet.collected_from < time_ms - contract.max_age_ms
            require(is_needed, ProofReason.GRANT, "a grant that this packet does not need")
            body = self._of_registrar(self._evidence.grant, ProofReason.GRANT).body
            if not isinstance(body, BackfillGrant) or body.site != packet.site:
                raise RefusedError(ProofReason.GRANT, "no backfill grant to the packet's site")
            grants.append(body)
        refused = site_problem(self._genesis.chain, contract, site, packet, time_ms)
        outcome = refused or time_outcome(contract, grants, packet, time_ms)
        require(outcome is Outcome.ADMITTED, ProofReason.ADMISSION, outcome.label.replace("_", " "))

    def _of_roots(self, proven: Proven, reason: ProofReason) -> Control:
        control = root_control(self._genesis, proven.payload)
        return self._before(proven, control, reason, "not signed by enough root keys of the genesis file")

    def _of_registrar(self, proven: Proven, reason: ProofReason) -> Control:
        registrars = self._authorities.registrars_at(proven.leaf_index)
        control = issued_control(self._genesis, proven.payload, registrars)
        return self._before(proven, control, reason, "not signed by a registrar who was one at its place")

    def _before(self, proven: Proven, control: Control | None, reason: ProofReason, unsigned: str) -> Control:
        """Return a record that stands before the packet in the same tree."""
        if proven.kind is not Kind.CONTROL or control is None:
            raise RefusedError(reason, unsigned)
        is_before = proven.leaf_index < self._evidence.entry.leaf_index
        is_there = is_before and is_proven(proven, control.raw, self._tree.size, self._tree.root)
        require(is_there, reason, "not in the tree before the packet")
        return control
