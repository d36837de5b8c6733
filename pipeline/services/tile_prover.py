"""Portable proofs from an exported log: a tracing code in, a verified tlog-proof with its evidence out.

Reads C2SP tiles through a function, so a folder serves as well as HTTP. Nothing read is believed: a proof leaves this
module only after it was verified, as anybody will verify it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pipeline.core.block import Kind, parse_leaf
from pipeline.core.disclosure import Disclosed
from pipeline.core.evidence import Evidence
from pipeline.core.genesis import Genesis
from pipeline.core.merkle import inclusion_path
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.proof import Proof, ProofProblem, verify_with
from pipeline.core.proven import Proven
from pipeline.core.tiles import CHECKPOINT
from pipeline.core.tlog_policy import PolicyRefusal, TlogPolicy, Witnessed, check_note
from pipeline.core.tlog_proof import TlogProof
from pipeline.core.tracing import TracingCode
from pipeline.services.tile_reader import Read, TileReader, UnreadableError, bundle_path
from pipeline.services.tile_rights import find_rights
from pipeline.services.tile_search import HeaderSearch, RightsSearch
from pipeline.services.trace import TraceProblem

_CACHED_RIGHTS: Final = 512

Disclose = Callable[[Packet], Sequence[Disclosed]]
"""Returns the records of a packet that a proof is to disclose."""


@dataclass(frozen=True, slots=True)
class MadeProof:
    """A verified proof: its bytes, and what they prove."""

    data: bytes
    proof: Proof


@dataclass(frozen=True, slots=True)
class LogProblem:
    """The exported log can't be used: the file by its path, and what is wrong with it."""

    file: str
    detail: str

    def __str__(self) -> str:
        """Return the problem with its place."""
        return f"{self.file}: {self.detail}"


class TileProver:
    """Makes proofs against one checkpoint of a log; one thread at a time."""

    def __init__(self, genesis: Genesis, note: bytes, witnessed: Witnessed, tiles: TileReader) -> None:
        self._genesis = genesis
        self._note = note
        self._witnessed = witnessed
        self.tiles = tiles
        self._headers = HeaderSearch(tiles)
        self._rights = RightsSearch(tiles)
        self._right = lru_cache(maxsize=_CACHED_RIGHTS)(self._proven)

    @property
    def tree_size(self) -> int:
        """Leaves under the checkpoint that proofs are made against."""
        return self.tiles.size

    @property
    def root(self) -> bytes:
        """Root of the tree under that checkpoint, 32 bytes."""
        return self._witnessed.checkpoint.root

    def prove(
        self, code: TracingCode, disclose: Disclose | None = None
    ) -> MadeProof | TraceProblem | LogProblem | ProofProblem:
        """Return a verified proof of the packet that a code of this chain names, or why there is none.

        Raises:
            TransientError, ConfigError: as reading the log and ``disclose`` raise them.
        """
        try:
            evidence = self._evidence(code, disclose)
        except UnreadableError as error:
            return LogProblem(error.file, error.detail)
        if not isinstance(evidence, Evidence):
            return evidence
        entry = evidence.entry
        data = TlogProof(entry.leaf_index, entry.path, self._note, evidence.encode()).encode()
        proof = verify_with(self._check, data)
        if isinstance(proof, Proof) and proof.code == code:
            return MadeProof(data, proof)
        return proof if isinstance(proof, ProofProblem) else LogProblem(CHECKPOINT, "leads to another packet")

    def _evidence(self, code: TracingCode, disclose: Disclose | None) -> Evidence | TraceProblem | LogProblem:
        found = self._headers.find(code.height)
        if found is None or code.entry >= found.header.entry_count:
            return TraceProblem.NOT_COMMITTED
        entry = self._proven(found.header.first_index + code.entry)
        if entry.kind is not Kind.PACKET:
            return TraceProblem.NOT_A_PACKET
        packet = parse_packet(entry.payload or b"")
        if not isinstance(packet, Packet):
            return LogProblem(bundle_path(entry.leaf_index), f"leaf {entry.leaf_index} is no packet")
        rights = find_rights(self._genesis, self._rights, found.header, packet, entry)
        if isinstance(rights, str):
            return LogProblem(CHECKPOINT, f"the log under it has no {rights} before the packet")
        return Evidence(
            self._genesis.raw,
            entry,
            found.payload,
            self._path(found.leaf_index),
            self._right(rights.enrolment),
            self._right(rights.key_offer),
            None if rights.grant is None else self._right(rights.grant),
            tuple(map(self._right, rights.registrars)),
            None if rights.contract is None else self._right(rights.contract),
            tuple(map(self._right, rights.amendments)),
            tuple(disclose(packet)) if disclose is not None else (),
        )

    def _proven(self, index: int) -> Proven:
        leaf = parse_leaf(self.tiles.entry(index))
        if leaf is None:
            raise UnreadableError(bundle_path(index), f"leaf {index} is no entry of a chain")
        kind, offset, time_ms, payload = leaf
        return Proven(kind, payload, index, offset, time_ms, self._path(index))

    def _check(self, _note: bytes) -> Witnessed:
        """Return what was verified of the one note that all proofs carry."""
        return self._witnessed

    def _path(self, index: int) -> tuple[bytes, ...]:
        return tuple(inclusion_path(index, self.tiles.size, self.tiles.node))


def open_prover(genesis: Genesis, policy: TlogPolicy, read: Read) -> TileProver | LogProblem:
    """Return a prover for the checkpoint that a log has now, or why its checkpoint is refused.

    Raises:
        TransientError: as ``read`` raises it.
    """
    note = read(CHECKPOINT)
    if not note:
        return LogProblem(CHECKPOINT, "missing")
    witnessed = check_note(policy, note)
    if isinstance(witnessed, PolicyRefusal):
        return LogProblem(CHECKPOINT, witnessed.detail.replace("_", " "))
    if witnessed.checkpoint.origin != genesis.origin or not witnessed.checkpoint.size:
        return LogProblem(CHECKPOINT, "of another log than the genesis file's, or of an empty tree")
    return TileProver(genesis, note, witnessed, TileReader(read, witnessed.checkpoint.size))
