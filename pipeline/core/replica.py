"""Replica: extends a state by certified blocks only, checking everything a block claims.

Every consumer of blocks goes through ``extend``: start-up of a node, platform, API, audit.
A block that fails leaves the state as it was.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pipeline.core.admission import Parsed, SignatureCheck, enact, is_signed, judge
from pipeline.core.block import HEADER_VERSION, Block, Entry, Kind, parse_certified
from pipeline.core.control import Control, Reanchor, parse_control
from pipeline.core.genesis import RULES_VERSION
from pipeline.core.keys import PublicKey
from pipeline.core.merkle import root_of
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.quorum import CertificateProblem, check_certificate
from pipeline.core.state import ChainState, Changes

Admitted = Packet | Control


class BlockReason(StrEnum):
    """Why a published block does not extend the chain."""

    MALFORMED = "malformed"
    REPEAT = "repeat"
    GAP = "gap"
    UPGRADE = "upgrade_needed"
    HEADER = "header"
    LINK = "previous_hash"
    TREE = "tree"
    CERTIFICATE = "certificate"
    ENTRY = "entry"


@dataclass(frozen=True, slots=True)
class BlockProblem:
    """A refused block: reason, height it claims, field or entry and what is wrong with it."""

    reason: BlockReason
    height: int
    detail: str

    def __str__(self) -> str:
        return f"block {self.height}: {self.reason.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Extended:
    """A block that extended the chain.

    ``block_offset`` is its offset in the sum of encoded blocks (Table 10-3 block recorder);
    ``admitted`` are its entries, parsed, in order.
    """

    block: Block
    certificate: bytes
    admitted: tuple[Admitted, ...]
    changes: Changes
    block_offset: int
    first_timestamp: int


def assume_signed(_key: PublicKey, _packet: Packet) -> bool:
    """Skip the signature check, for blocks that this process verified before."""
    return True


def extend(state: ChainState, data: bytes, check: SignatureCheck = is_signed) -> Extended | BlockProblem:
    """Extend ``state`` by one encoded certified block, or return why not and leave it as it is. Total."""
    parsed = parse_certified(data)
    if parsed is None:
        return BlockProblem(BlockReason.MALFORMED, 0, f"{len(data)} bytes are no certified block")
    block, certificate = parsed
    problem = header_problem(state, block)
    if problem is not None:
        halting = problem.reason in (BlockReason.GAP, BlockReason.UPGRADE)
        return problem if not halting else _if_certified(state, block, certificate, problem)
    offset, policy = state.head.chain_bytes, state.policy
    admitted = admit_all(state, block, map(parse_entry, block.entries), check)
    if isinstance(admitted, BlockProblem):
        state.undo()
        return admitted
    frontier = state.seal(block)
    certified = check_certificate(certificate, state.genesis.origin, policy)
    if isinstance(certified, CertificateProblem):
        state.undo()
        detail = f"{certified.reason}: {certified.detail}"
        return BlockProblem(BlockReason.CERTIFICATE, block.header.height, detail)
    if (certified.checkpoint.size, certified.checkpoint.root) != (frontier.size, frontier.root()):
        state.undo()
        return BlockProblem(BlockReason.CERTIFICATE, block.header.height, "checkpoint is of another tree")
    first = min(certified.timestamps)
    return Extended(block, certificate, admitted, state.take_changes(), offset, first)


def extend_uncertified(
    state: ChainState, block: Block, check: SignatureCheck = is_signed
) -> Extended | BlockProblem:
    """Extend ``state`` by a block for whose tree a later certificate has to vouch; its own stays empty. Total."""
    problem = header_problem(state, block)
    if problem is not None:
        return problem
    offset = state.head.chain_bytes
    admitted = admit_all(state, block, map(parse_entry, block.entries), check)
    if isinstance(admitted, BlockProblem):
        state.undo()
        return admitted
    state.seal(block)
    return Extended(block, b"", admitted, state.take_changes(), offset, 0)


def _if_certified(state: ChainState, block: Block, certificate: bytes, problem: BlockProblem) -> BlockProblem:
    """Return a problem that makes consumers halt only where a quorum stands behind the block."""
    certified = check_certificate(certificate, state.genesis.origin, state.policy)
    if isinstance(certified, CertificateProblem):
        return BlockProblem(
            BlockReason.CERTIFICATE, problem.height, f"{certified.reason}: {certified.detail}"
        )
    tree, before = certified.checkpoint, state.head.frontier
    if problem.reason is BlockReason.UPGRADE:
        # The next block: the certificate must be of this very block, not one borrowed for a forged header.
        after = before.extend(block.leaf_hashes)
        fits = (tree.size, tree.root) == (after.size, after.root())
    else:
        fits = tree.size == block.header.tree_size and tree.size > before.size
    if not fits:
        return BlockProblem(BlockReason.CERTIFICATE, problem.height, "checkpoint is of another tree")
    return problem


def header_problem(state: ChainState, block: Block) -> BlockProblem | None:
    """Return what in a header does not follow from the chain so far, its contract and the entries."""
    header, head, genesis = block.header, state.head, state.genesis
    height = header.height

    def problem(reason: BlockReason, detail: str) -> BlockProblem:
        return BlockProblem(reason, height, detail)

    if header.chain != genesis.chain or header.chain_id != genesis.url:
        return problem(BlockReason.HEADER, "field chain: block of another chain")
    if height <= head.height:
        return problem(BlockReason.REPEAT, f"head is at height {head.height} already")
    if height > head.height + 1:
        return problem(BlockReason.GAP, f"follows height {head.height}")
    if header.version != HEADER_VERSION or header.rules_version != RULES_VERSION:
        return problem(BlockReason.UPGRADE, f"needs rules version {header.rules_version}; upgrade bkdms")
    if state.rules_version != RULES_VERSION:
        return problem(BlockReason.HEADER, f"field rules_version is not {state.rules_version}, as decided")
    if header.previous_hash != head.block_hash:
        return problem(BlockReason.LINK, "field previous_hash is not the hash of the block before")
    checks: list[tuple[str, Callable[[], bool]]] = [
        ("contract_hash", lambda: header.contract_hash == state.contract.hash),
        ("period", lambda: _is_period(state, block)),
        ("part", lambda: header.part == (head.part + 1 if head.period_start == header.period_start else 0)),
        ("source", lambda: _is_source(state, block)),
        ("entry_count", lambda: header.entry_count <= state.contract.max_entries),
    ]
    for name, holds in checks:
        if not holds():
            return problem(BlockReason.HEADER, f"field {name} does not follow from chain and contract")
    if len(block.encoded) > state.contract.max_block:
        return problem(BlockReason.HEADER, f"block of more than {state.contract.max_block} bytes")
    tree: list[tuple[str, Callable[[], bool]]] = [
        ("first_index", lambda: header.first_index == head.frontier.size),
        ("entry_count", lambda: header.entry_count == len(block.entries) > 0),
        ("entries_root", lambda: header.entries_root == root_of(block.leaf_hashes[:-1])),
    ]
    for name, holds in tree:
        if not holds():
            return problem(BlockReason.TREE, f"field {name} is not that of the entries")
    return None


def _is_period(state: ChainState, block: Block) -> bool:
    header, length = block.header, state.contract.period_ms
    return (
        header.period_start % length == 0
        and header.period_end == header.period_start + length
        and all(header.period_start <= entry.time_ms < header.period_end for entry in block.entries)
    )


def _is_source(state: ChainState, block: Block) -> bool:
    source, head, genesis = block.header.source, state.head, state.genesis
    if (source.topic, source.partition) != (genesis.topic, genesis.partition):
        return False
    if source.incarnation == head.incarnation + 1:
        # Elsewhere in another copy of the log: only right at the reanchor that allows it.
        if not begins_anew(block) or source.first != block.entries[0].offset:
            return False
    elif (source.incarnation, source.first) != (head.incarnation, head.next_offset):
        return False
    offsets = [source.first - 1, *(entry.offset for entry in block.entries), source.next]
    return all(low < high for low, high in pairwise(offsets))


def admit_all(
    state: ChainState, block: Block, found: Iterable[Parsed], check: SignatureCheck
) -> tuple[Admitted, ...] | BlockProblem:
    """Judge and enact what was ``found`` in the entries, one after the other; the caller undoes it on a problem."""
    admitted: list[Admitted] = []
    for index, (entry, parsed) in enumerate(zip(block.entries, found, strict=True)):
        if isinstance(parsed, Outcome):
            return BlockProblem(BlockReason.ENTRY, block.header.height, f"entry {index}: {parsed.label}")
        if state.has_new_terms:
            return BlockProblem(
                BlockReason.ENTRY, block.header.height, f"entry {index}: after a change of terms"
            )
        opens_block = index == 0 and block.header.source.incarnation != state.head.incarnation
        outcome = judge(state, parsed, entry.time_ms, check, opens_block=opens_block)
        if outcome is not Outcome.ADMITTED:
            return BlockProblem(BlockReason.ENTRY, block.header.height, f"entry {index}: {outcome.label}")
        enact(state, parsed)
        admitted.append(parsed)
    return tuple(admitted)


def begins_anew(block: Block) -> bool:
    """Tell whether a block's first entry is a reanchor, so that it may lie anywhere in the chain log."""
    first = parse_entry(block.entries[0]) if block.entries else None
    return isinstance(first, Control) and isinstance(first.body, Reanchor)


def parse_entry(entry: Entry) -> Packet | Control | Outcome:
    """Return the packet or control record of an entry, or why it is none. Total."""
    return parse_packet(entry.payload) if entry.kind is Kind.PACKET else parse_control(entry.payload)
