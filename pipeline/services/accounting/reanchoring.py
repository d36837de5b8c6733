"""After a disaster: find where a restored blocks topic and another chain log go on from what a node holds.

A log that does not give the last certified block again is not the one that was consumed. It is read on only behind a
reanchor of that very block; a blocks topic only where it holds all that was published before.
"""

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, judge, parse_value
from pipeline.core.block import LogSource, certified_body, parse_certified
from pipeline.core.control import Control, Reanchor
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.outcome import Outcome
from pipeline.core.replica import assume_signed, extend
from pipeline.core.state import ChainState
from pipeline.ports import LedgerBlock, NodeStore, PartitionReader, Received

_FETCH_RECORDS = 500
_FETCH_BLOCKS = 16
_FETCH_TIMEOUT_MS = 500


async def rederive(state: ChainState, source: LogSource, log: PartitionReader) -> Derived | None:
    """Derive the block over a range of the log again; None where the log does not hold the range or the block."""
    first, end = await log.bounds()
    if first > source.first or end < source.next:
        return None
    deriver, position = Deriver(state), source.first
    closed: list[Derived] = []
    await log.seek(position)
    while position < source.next:
        for record in await log.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS):
            position = record.offset + 1
            if record.offset < source.next:
                read = LogRecord(record.offset, record.time_ms, record.value)
                try:
                    closed.extend(deriver.feed(read, parse_value(record.value)).closed)
                except IntegrityError:
                    return None  # the block began with a reanchor, which is not there
    closed.extend(deriver.close())
    return closed[0] if len(closed) == 1 else None


async def find_reanchor(state: ChainState, log: PartitionReader) -> int | None:
    """Return the offset of the first record in the log that reanchors the head of ``state``, or None."""
    position, end = await log.bounds()
    await log.seek(position)
    while position < end:
        for record in await log.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS):
            position = record.offset + 1
            if _reanchors(state, record.value, record.time_ms):
                return record.offset
    return None


def _reanchors(state: ChainState, value: bytes | None, time_ms: int) -> bool:
    if not value or avro.frame_id(value) != CONTROL_SCHEMA.id:
        return False
    parsed = parse_value(value)
    if not isinstance(parsed, Control) or not isinstance(parsed.body, Reanchor):
        return False
    return judge(state, parsed, time_ms, opens_block=True) is Outcome.ADMITTED


async def is_where_left(store: NodeStore, genesis: Genesis, blocks: PartitionReader) -> bool:
    """Tell whether the record that was read last in the blocks topic is still the block published last."""
    stored = store.load(genesis)
    first, end = await blocks.bounds()
    last, held = stored.blocks_next - 1, store.held_block(stored.published)
    if held is None or not first <= last < end:
        return False
    await blocks.seek(last)
    found: list[Received] = []
    while not found:
        found = await blocks.fetch(1, _FETCH_TIMEOUT_MS)
    parsed = parse_certified(certified_body(found[0].value))
    return parsed is not None and parsed[0].hash == held.block_hash


async def relocate(genesis: Genesis, store: NodeStore, blocks: PartitionReader, keep: int) -> None:
    """Find in a blocks topic whose offsets are others than before where to read on, and note it.

    The chain is followed from block 1 by its certificates, up to what this node holds; ``keep`` blocks stay held.

    Raises:
        IntegrityError: it ends before what was published (code ``blocks_topic_cut``), or holds another certified
            chain than this node does (code ``fork``).
    """
    stored = store.load(genesis)
    height = stored.tail[-1].height if stored.tail else stored.state.head.height
    replica = ChainState(genesis)
    position, end = await blocks.bounds()
    await blocks.seek(position)
    while position < end and replica.head.height < height:
        for record in await blocks.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS):
            if replica.head.height < height:
                extend(replica, certified_body(record.value), assume_signed)
                position = record.offset + 1
    reached = replica.head.height
    if reached < stored.published:
        raise cut_topic(reached, stored.published)
    if not _is_own(replica, store.held_block(reached), store.held_block(reached + 1), stored.state):
        raise IntegrityError(
            f"the blocks topic holds another certified block {reached} than this node does: the chain has forked; "
            "stop all nodes, keep all data and run 'bkdms verify'",
            code="fork",
        )
    store.mark_votes_read(0)
    store.mark_published(reached, position, height - keep)


def _is_own(
    replica: ChainState, same: LedgerBlock | None, after: LedgerBlock | None, state: ChainState
) -> bool:
    """Tell whether the last block of the topic is the one that this node holds, as far as it still knows it."""
    head = replica.head
    if same is not None:
        return same.block_hash == head.block_hash
    following = parse_certified(after.certified) if after is not None else None
    if following is not None:
        return following[0].header.previous_hash == head.block_hash
    return head.height != state.head.height or head.block_hash == state.head.block_hash


def cut_topic(height: int, published: int) -> IntegrityError:
    """Return what is wrong with a blocks topic that ends before what was published."""
    return IntegrityError(
        f"the blocks topic ends at height {height}, but height {published} was published; bring the blocks back with "
        "'bkdms ledger restore', from exported blocks and the nodes' folders",
        code="blocks_topic_cut",
    )
