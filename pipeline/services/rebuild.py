"""Rebuilds what follows from the blocks topic: the ledger in Redis, and an accounting node's folder.

Owns which verified blocks go where, and that nothing certified or signed is forgotten on the way. The blocks are
verified by the follower like anybody's; what Redis or an old folder holds beyond them counts only where it extends
the chain with a valid certificate.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.core.block import encode_certified, parse_certified
from pipeline.core.errors import TransientError
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState, Changes
from pipeline.ports import Ledger, LedgerBlock, LedgerHead, NodeStore
from pipeline.services.accounting.startup import KEPT_BLOCKS, ledger_block
from pipeline.services.certificate_watch import CertificateWatch

KEPT_HEADERS: Final = 10_000
_ATTEMPTS: Final = 8
_HEADERS_AT_ONCE: Final = 500


class ScratchStore(Protocol):
    """A store of chain state, roots and position, empty at first. Calls block."""

    def load(self) -> tuple[ChainState, int, bytes]:
        """Return state, next offset of the blocks topic, and what was stored beside them."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""

    def save(self, applied: Sequence[Applied], next_offset: int, checkpoint: bytes) -> None:
        """Store what blocks changed and the position, all or nothing."""


class HeaderLedger(Ledger, Protocol):
    """A ledger that also keeps headers of blocks below its head."""

    async def put_headers(self, at_least: int, headers: Sequence[tuple[int, bytes]]) -> bool:
        """Store verified headers by height; False where the head is below ``at_least``."""


class TailSink:
    """A ``BlockSink`` that keeps the last blocks and headers of the chain; the scratch store keeps the rest."""

    def __init__(self, scratch: ScratchStore) -> None:
        self._scratch = scratch
        self.blocks: deque[LedgerBlock] = deque(maxlen=KEPT_BLOCKS + 1)
        self.headers: deque[tuple[int, bytes]] = deque(maxlen=KEPT_HEADERS)
        self.next_offset = 0

    def load(self) -> tuple[ChainState, int]:
        """Return state and position of what was stored."""
        state, self.next_offset, _ = self._scratch.load()
        return state, self.next_offset

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        return self._scratch.root_of_size(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Keep verified blocks."""
        self._scratch.save(applied, next_offset, b"")
        self.next_offset = next_offset
        for item in applied:
            block = held_block(item.extended)
            self.blocks.append(block)
            self.headers.append((block.height, block.header))


class NodeSink:
    """A ``BlockSink`` that fills a node's new folder, as the node itself would while catching up."""

    def __init__(self, scratch: ScratchStore, store: NodeStore) -> None:
        self._scratch = scratch
        self._store = store
        self._last: Changes | None = None

    @property
    def height(self) -> int:
        """Height of the last certified block in the folder."""
        return self._last.head.height if self._last is not None else 0

    def load(self) -> tuple[ChainState, int]:
        """Return state and position of the published blocks."""
        state, next_offset, _ = self._scratch.load()
        return state, next_offset

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        return self._scratch.root_of_size(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Put published blocks into the folder."""
        for item in applied:
            self.add(item.extended)
        self._scratch.save(applied, next_offset, b"")
        self._store.mark_published(self.height, next_offset, self.height - KEPT_BLOCKS)

    def add(self, extended: Extended) -> None:
        """Put one certified block into the folder, published or not."""
        self._store.add_block(self._last, held_block(extended))
        self._last = extended.changes


def held_block(extended: Extended) -> LedgerBlock:
    """Return a verified block as the ledger and a node's folder hold it."""
    return ledger_block(extended.block, encode_certified(extended.block, extended.certificate))


@dataclass(frozen=True, slots=True)
class LedgerRebuilt:
    """What came of it: the head's height, how many blocks of it are not published yet, whether anything differed."""

    height: int
    unpublished: int
    differed: bool


class LedgerRebuild:
    """Makes the ledger hold the verified chain; safe while nodes commit."""

    def __init__(self, genesis: Genesis, ledger: HeaderLedger, sink: TailSink) -> None:
        self._ledger = ledger
        self._sink = sink
        self._state, _ = sink.load()
        self._published = self._state.head.height
        self._watch = CertificateWatch(genesis, sink.root_of_size)

    async def run(self) -> LedgerRebuilt:
        """Compare the ledger with the chain and replace it where it differs.

        Raises:
            IntegrityError: the ledger holds a valid certificate that contradicts the chain (code ``fork``).
            TransientError: Redis is away, or its head moves at every attempt.
        """
        for _ in range(_ATTEMPTS):
            seen = await self._ledger.head()
            await self._follow_ledger(seen)
            height = self._state.head.height
            same = await self._holds_chain(seen)
            if (
                not same
                and height
                and not await self._ledger.replace(seen, self._sink.blocks, self._published)
            ):
                continue
            if not height or await self._put_headers(height):
                return LedgerRebuilt(height, height - self._published, not same)
        raise TransientError("the ledger's head moves at every attempt; run the command again", code="redis")

    async def _follow_ledger(self, seen: LedgerHead | None) -> None:
        """Take over what is committed and not published yet."""
        while seen is not None and seen.height > self._state.head.height:
            body = await self._ledger.certified(self._state.head.height + 1)
            result = extend(self._state, body or b"")
            if not isinstance(result, Extended):
                self._weigh(body)
                return
            self._sink.store([Applied(result, self._sink.next_offset)], self._sink.next_offset)

    async def _holds_chain(self, seen: LedgerHead | None) -> bool:
        """Tell whether head and bodies are those of the chain."""
        head = self._state.head
        fits = seen is not None and (seen.height, seen.block_hash) == (head.height, head.block_hash)
        for block in self._sink.blocks:
            body = await self._ledger.certified(block.height)
            if body != block.certified:
                self._weigh(body)
                fits = False
        return fits or (seen is None and not head.height)

    def _weigh(self, body: bytes | None) -> None:
        """Halt where what the ledger holds instead carries a valid certificate of another tree."""
        parsed = parse_certified(body or b"")
        if parsed is not None:
            self._watch.check(parsed[1], self._state.policy_at, self._state.head.frontier.size)

    async def _put_headers(self, height: int) -> bool:
        headers = list(self._sink.headers)
        for at in range(0, len(headers), _HEADERS_AT_ONCE):
            if not await self._ledger.put_headers(height, headers[at : at + _HEADERS_AT_ONCE]):
                return False
        return True


def take_over(sink: NodeSink, old: NodeStore, new: NodeStore) -> int:
    """Carry over what is in no topic: certified blocks that are not published, and signing records.

    Returns the number of signing records.
    """
    state, _ = sink.load()
    for held in old.held_blocks(state.head.height):
        result = extend(state, held.certified)
        if not isinstance(result, Extended):
            break
        sink.add(result)
    count, height = 0, 0
    while records := old.signed_above(height):
        new.record_signed(records)
        count, height = count + len(records), records[-1].height
    return count
