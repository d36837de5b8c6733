"""Start of a node: catch up from the published blocks, then prove that the chain log still fits.

A node believes certificates, its own signing records and the log, in this order; a log that
does not give the last block again was cut or regrew, and the node halts unless the log reanchors that block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from pipeline.core.block import Block, certified_body, parse_certified
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.merkle import Frontier
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.replica import BlockProblem, BlockReason, Extended, assume_signed, extend
from pipeline.core.state import ChainState, Changes
from pipeline.ports import LedgerBlock, NodeStore, PartitionReader, SignedBlock
from pipeline.services.accounting.forks import ForkWatch
from pipeline.services.accounting.reanchoring import (
    cut_topic,
    find_reanchor,
    is_where_left,
    rederive,
    relocate,
)
from pipeline.services.accounting.votes import Vote, genuine_lines, parse_vote
from pipeline.services.signatures import SignaturePool
from pipeline.telemetry import node_metrics as metrics

_FETCH_RECORDS = 500
_FETCH_BLOCKS = 16
_FETCH_TIMEOUT_MS = 500
KEPT_BLOCKS = 16
# What a log says that was trimmed while the blocks were read; how often we look at once more of them.
_MAYBE_TRIMMED = frozenset({"log_differs", "offset_out_of_range"})
_ATTEMPTS = 10
_MAYBE_RESTORED = frozenset({"blocks_topic_cut", "blocks_topic", "log_differs"})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a node goes on: state after the last certified block, and that block's changes.

    ``before`` is the tree before that block; ``tail`` are the certified blocks that the store
    holds, the last one included. ``forks`` knows the trees of the blocks read. ``log_next`` is the next offset
    to read in the chain log.
    """

    state: ChainState
    before: Frontier
    last_changes: Changes | None
    tail: tuple[LedgerBlock, ...]
    published: int
    blocks_next: int
    forks: ForkWatch
    log_next: int


def ledger_block(block: Block, certified: bytes) -> LedgerBlock:
    """Return what the ledger stores of a block; ``certified`` is block and certificate."""
    return LedgerBlock(block.header.height, block.hash, block.header_bytes, certified)


async def catch_up(
    genesis: Genesis, store: NodeStore, blocks: PartitionReader, log: PartitionReader, pool: SignaturePool
) -> Resumed:
    """Verify everything published since the last run and find where in the log to go on.

    That is after the last block, if the log gives it again, or at a reanchor of it. The others go on publishing and
    trimming meanwhile: where the topic has grown, its new blocks are followed before the log is judged.

    Raises:
        IntegrityError: the blocks topic is shorter than before, holds two valid certificates that contradict each
            other or a block that needs a newer release, or the log neither gives the last block again nor
            reanchors it.
    """
    for _ in range(_ATTEMPTS):
        _, end = await blocks.bounds()
        try:
            return await _caught_up(genesis, store, blocks, log, pool)
        except IntegrityError as error:
            if error.code not in _MAYBE_TRIMMED or (await blocks.bounds())[1] <= end:
                raise
    return await _caught_up(genesis, store, blocks, log, pool)


async def _caught_up(
    genesis: Genesis, store: NodeStore, blocks: PartitionReader, log: PartitionReader, pool: SignaturePool
) -> Resumed:
    """Resume; a blocks topic that is not where it was left, since it was restored, is looked through once."""
    try:
        return await _resume(genesis, store, blocks, log, pool)
    except IntegrityError as error:
        is_elsewhere = error.code in _MAYBE_RESTORED and not await is_where_left(store, genesis, blocks)
        if not is_elsewhere:
            raise
    await relocate(genesis, store, blocks, KEPT_BLOCKS)
    return await _resume(genesis, store, blocks, log, pool)


async def _resume(
    genesis: Genesis, store: NodeStore, blocks: PartitionReader, log: PartitionReader, pool: SignaturePool
) -> Resumed:
    stored = store.load(genesis)
    state, last = stored.state, None
    forks = ForkWatch(genesis.origin, state.policy_at, state.head.frontier)
    for held in stored.tail:
        last = _extended(extend(state, held.certified, assume_signed))
        forks.grown(state.head.frontier)
    position, published, ahead = await _follow_topic(store, blocks, pool, state, last, forks=forks)
    if published < stored.published:
        raise cut_topic(published, stored.published)
    if ahead > state.head.frontier.size and (await log.bounds())[0] > state.head.next_offset:
        # Where the log still holds what is missing, it is derived, committed and published again.
        raise IntegrityError(
            f"the blocks topic has a gap after height {state.head.height}, and the chain log begins later; bring the "
            "blocks back with 'bkdms ledger restore', then check them with 'bkdms verify'",
            code="blocks_topic",
        )
    state, before, changes, log_next = await _place_in_log(genesis, store, log, published)
    return Resumed(state, before, changes, store.load(genesis).tail, published, position, forks, log_next)


async def _place_in_log(
    genesis: Genesis, store: NodeStore, log: PartitionReader, published: int
) -> tuple[ChainState, Frontier, Changes | None, int]:
    """Return the state after the last block, the tree before it, what it changed, and the next offset to read."""
    stored = store.load(genesis)
    state, before, changes = stored.state, stored.state.head.frontier, None
    if not stored.tail:
        if (await log.bounds())[0] <= state.head.next_offset:
            return state, before, None, state.head.next_offset
    else:
        held = stored.tail[-1]
        block = _parsed(held)
        derived = await rederive(state, block.header.source, log)
        if derived is not None and derived.block.encoded == block.encoded:
            return state, before, derived.changes, state.head.next_offset
        state = store.load(genesis).state
        changes = _extended(extend(state, held.certified, assume_signed)).changes
    offset = await find_reanchor(state, log)
    if offset is None:
        raise _other_log(state, published)
    _log.warning("chain_reanchored", height=state.head.height, offset=offset)
    return state, before, changes, offset


async def _follow_topic(
    store: NodeStore,
    blocks: PartitionReader,
    pool: SignaturePool,
    state: ChainState,
    last: Extended | None,
    *,
    forks: ForkWatch,
) -> tuple[int, int, int]:
    """Extend the state by the topic's blocks; return the position after them and the last height there.

    The third number is the largest tree that a certificate was seen of beyond the next block, or 0.
    """
    stored = store.load(state.genesis)
    first, end = await blocks.bounds()
    position, published = max(stored.blocks_next, first), stored.published
    if end < position:
        return position, 0, 0
    ahead = 0
    await blocks.seek(position)
    while position < end:
        for record in await blocks.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS):
            position = record.offset + 1
            body = certified_body(record.value)
            result = extend(state, body, await pool.check_block(state, body))
            if isinstance(result, Extended):
                forks.grown(state.head.frontier)
                store.add_block(last.changes if last else None, ledger_block(result.block, body))
                last = result
                published = state.head.height
                continue
            parsed = parse_certified(body)
            if parsed is not None:
                forks.check(parsed[1])
            if result.reason is BlockReason.REPEAT:
                published += _is_next_published(state, store, published, body)
            elif result.reason is BlockReason.UPGRADE:
                raise IntegrityError(
                    f"blocks topic: {result}; check it with 'bkdms verify'", code="blocks_topic"
                )
            else:
                metrics.FORGED.inc()
                ahead = max(ahead, _tree_size(body) if result.reason is BlockReason.GAP else 0)
        store.mark_published(published, position, state.head.height - KEPT_BLOCKS)
    return position, published, ahead


def _extended(result: Extended | BlockProblem) -> Extended:
    if isinstance(result, BlockProblem):
        raise IntegrityError(f"own folder: {result}; run 'bkdms ledger rebuild node'", code="node_folder")
    return result


def _is_next_published(state: ChainState, store: NodeStore, published: int, body: bytes) -> bool:
    """Tell whether a repeat is the very block that we hold as the next one to be published, well certified."""
    parsed = parse_certified(body)
    held = store.held_block(published + 1)
    if parsed is None or held is None or not holds_same(held, parsed[0]):
        return False
    size = parsed[0].header.tree_size
    certified = check_certificate(parsed[1], state.genesis.origin, state.policy_at(size))
    return isinstance(certified, Certified) and certified.checkpoint.size == size


def holds_same(held: LedgerBlock, block: Block) -> bool:
    """Tell whether a held block is this one, entries included: a hash covers the header alone."""
    return held.block_hash == block.hash and held.certified.startswith(block.encoded)


def _tree_size(body: bytes) -> int:
    parsed = parse_certified(body)
    return parsed[0].header.tree_size if parsed is not None else 0


def _parsed(held: LedgerBlock) -> Block:
    parsed = parse_certified(held.certified)
    if parsed is None:
        raise IntegrityError(
            "own folder: undecodable block; run 'bkdms ledger rebuild node'", code="node_folder"
        )
    return parsed[0]


def _other_log(state: ChainState, published: int) -> IntegrityError:
    height = state.head.height
    what = f"does not give block {height} again" if height else "begins later than the chain"
    kept = f" Blocks after {published} are in this node's folder only: restore them first." * (
        height > published
    )
    return IntegrityError(
        f"the chain log {what}, so it was cut or replaced, and no reanchor of block {height} is in it. Check the "
        f"ledger with 'bkdms verify', bring back missing blocks with 'bkdms ledger restore', then let the holders of "
        f"the root keys run 'bkdms ledger reanchor'.{kept}",
        code="log_differs",
    )


async def recover_signing_records(
    store: NodeStore, votes: PartitionReader, name: str, state: ChainState
) -> int:
    """Learn from the topic what this node signed beyond the head, so that it never signs a fork.

    A folder that was lost, or restored from an old copy, does not know all of it. Returns how much was learned.

    Raises:
        IntegrityError: it signed two blocks at one height (code ``second_signature``).
    """
    learned = 0
    first, end = await votes.bounds()
    position = store.votes_next()
    position = position if first <= position <= end else first
    await votes.seek(position)
    # A signature covers the tree alone: only its first message is sure to tell our height and block.
    told = {_tree(parse_vote(state.chain, held.message)) for held in _signed(store, state.head.height)}
    while position < end:
        for record in await votes.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS):
            position = record.offset + 1
            vote = parse_vote(state.chain, record.value)
            if vote is None or vote.node != name or _tree(vote) in told or record.value is None:
                continue
            is_beyond = vote.height > state.head.height and vote.tree_size > state.head.frontier.size
            if is_beyond and genuine_lines(state.genesis.origin, state.policy_at(vote.tree_size), vote):
                told.add(_tree(vote))
                store.record_signed([SignedBlock(vote.height, vote.block_hash, record.value)])
                learned += 1
    return learned


def _signed(store: NodeStore, height: int) -> Iterator[SignedBlock]:
    while found := store.signed_above(height):
        yield from found
        height = found[-1].height


def _tree(vote: Vote | None) -> tuple[int, bytes]:
    return (vote.tree_size, vote.root) if vote is not None else (0, b"")
