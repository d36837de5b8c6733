"""Follower: reads the blocks topic from a stored position and believes nothing it has not verified.

Owns the order verify, store, go on. What is stored is the sink's affair: state, position and whatever it makes of
the blocks, in one transaction. Records that are no block of the chain are skipped and alarmed; repeats ignored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from pipeline.core import avro
from pipeline.core.admission import SignatureCheck, is_signed
from pipeline.core.block import CERTIFIED_BLOCK, MAX_CERTIFIED_BYTES, parse_certified
from pipeline.core.errors import ConflictError, IntegrityError, TransientError
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.replica import BlockProblem, BlockReason, Extended, assume_signed, extend
from pipeline.core.state import ChainState
from pipeline.ports import PartitionReader, Received
from pipeline.services.certificate_watch import CertificateWatch, certifies
from pipeline.services.signature_pool import DeferredChecks
from pipeline.telemetry.logs import logger

MAX_RECORDS: Final = 64
FETCH_TIMEOUT_MS: Final = 1000
PATIENCE_MS: Final = 10_000
"""How long a topic may end before a certificate that was seen, until that counts as a loss."""
_T = TypeVar("_T")
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record of the blocks topic that is no block of the chain."""

    kafka_offset: int
    problem: BlockProblem


class BlockSink(Protocol):
    """Where verified blocks go. All three calls come from one thread at a time."""

    def load(self) -> tuple[ChainState, int]:
        """Return the stored state and the next offset of the blocks topic; genesis and 0 at first."""

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Store blocks, their changes and the position in one transaction; all or nothing."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""


@dataclass(slots=True)
class _Batch:
    """What a run of records gave."""

    applied: list[Applied]
    skipped: list[Skipped]
    halt: IntegrityError | None = None


class Follower:
    """Follows one chain's blocks into one sink.

    ``pool`` spreads signature checks over its threads; without it they are made one after the other, and with
    ``trusted`` not at all (for a consumer that relies on the certificate alone). ``alarm`` hears of skipped records.
    """

    def __init__(
        self,
        genesis: Genesis,
        reader: PartitionReader,
        sink: BlockSink,
        *,
        pool: ThreadPoolExecutor | None = None,
        trusted: bool = False,
        alarm: Callable[[Skipped], None] = lambda _skipped: None,
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._pool = pool
        self._trusted = trusted
        self._alarm = alarm
        self._watch = CertificateWatch(genesis, sink.root_of_size)
        self._state: ChainState | None = None
        self._waited_ms = 0.0
        self._gap_end: int | None = None
        self._is_rereading = False
        self._seen_again = 0
        self.next_offset = 0
        self.caught_up = False

    @property
    def height(self) -> int:
        """Height of the last stored block; 0 before the first."""
        return self._state.head.height if self._state is not None else 0

    @property
    def tree_size(self) -> int:
        """Leaves in the tree after the last stored block."""
        return self._state.head.frontier.size if self._state is not None else 0

    @property
    def _reached(self) -> tuple[int, int]:
        """What grows with every record that leads on."""
        return self.tree_size, self._seen_again

    @property
    def awaits_blocks(self) -> bool:
        """Whether the topic has yet to give blocks before a certified tree that was seen or is stored."""
        return self._state is not None and self._missing() is not None

    async def lag(self) -> int:
        """Return how many records of the topic were not read yet."""
        return (await self._reader.bounds())[1] - self.next_offset

    async def open(self) -> None:
        """Load what is stored, unless that is done already, and go to the stored position.

        Raises:
            TransientError: the store is away; call again.
        """
        if self._state is None:
            state, self.next_offset = await in_thread(self._sink.load)
            self._watch.stored()
            await self._reader.seek(self.next_offset)
            self._state = state

    async def step(self, timeout_ms: int = FETCH_TIMEOUT_MS) -> int:
        """Read, verify and store the next records; return how many were read.

        Raises:
            IntegrityError: the topic contradicts itself or what is stored; codes ``fork``, ``block_gap``,
                ``blocks_topic_cut``, ``upgrade_needed``, ``rules_differ``.
            TransientError: topic or store are away; call again.
        """
        await self.open()
        reached, began_s = self._reached, asyncio.get_running_loop().time()
        try:
            records = await self._reader.fetch(MAX_RECORDS, timeout_ms)
        except IntegrityError as error:
            await self._reread(error.code)
            return 0
        if records:
            try:
                await in_thread(lambda: self._take(records))
            except BaseException:
                self._state = None  # what is in memory may be ahead of what is stored
                raise
        self.caught_up = not records
        if self._reached != reached:
            self._waited_ms, self._gap_end = 0, None
        elif self.caught_up:
            self._waited_ms += timeout_ms
        else:
            self._waited_ms += (asyncio.get_running_loop().time() - began_s) * 1000
        await self._check_end()
        return len(records)

    async def close(self) -> None:
        """Leave the broker; no step is under way."""
        await self._reader.close()

    def _take(self, records: Sequence[Received]) -> None:
        batch = self._apply_checked(records)
        for skipped in batch.skipped:
            self._alarm(skipped)
        last = batch.applied[-1].kafka_offset if batch.halt and batch.applied else records[-1].offset
        if batch.applied:
            self._is_rereading = False
        if batch.applied or (batch.halt is None and not self._is_rereading):
            self._sink.store(batch.applied, last + 1)
            self._watch.stored()
        if batch.applied or batch.halt is None:
            self.next_offset = last + 1
        if batch.halt is not None:
            raise batch.halt

    def _apply_checked(self, records: Sequence[Received]) -> _Batch:
        if self._trusted:
            return self._apply(records, assume_signed)
        if self._pool is None:
            return self._apply(records, is_signed)
        deferred = DeferredChecks(self._pool)
        try:
            batch = self._apply(records, deferred.check)
        finally:
            good = deferred.settle()
        if good:
            return batch
        # Some signature was bad: go back to what is stored and find out which, one after the other.
        self._state, _ = self._sink.load()
        self._watch.stored()
        return self._apply(records, is_signed)

    def _apply(self, records: Sequence[Received], check: SignatureCheck) -> _Batch:
        batch = _Batch([], [])
        for record in records:
            try:
                result = self._apply_one(record, check)
            except IntegrityError as error:
                batch.halt = error
                break
            if isinstance(result, Extended):
                batch.applied.append(Applied(result, record.offset))
            elif result.reason is not BlockReason.REPEAT:
                batch.skipped.append(Skipped(record.offset, result))
        return batch

    def _apply_one(self, record: Received, check: SignatureCheck) -> Extended | BlockProblem:
        state = self._state
        assert state is not None  # noqa: S101  loaded by step
        value = record.value
        if value is None or avro.frame_id(value) != CERTIFIED_BLOCK.id or len(value) > MAX_CERTIFIED_BYTES:
            return BlockProblem(BlockReason.MALFORMED, 0, "not a framed certified block")
        data = value[avro.FRAME_BYTES :]
        result = extend(state, data, check)
        if isinstance(result, Extended):
            self._watch.grown(state.head.frontier)
        else:
            self._weigh(state, result, data)
        return result

    def _weigh(self, state: ChainState, problem: BlockProblem, data: bytes) -> None:
        """Halt where the quorum certified what we refuse, or contradicts itself; otherwise return."""
        parsed = parse_certified(data)
        if parsed is None:
            return
        block, certificate = parsed
        frontier = state.head.frontier
        certified = self._watch.check(certificate, state.policy_at, frontier.size)
        if certified is not None and problem.reason is BlockReason.REPEAT:
            self._seen_again = max(self._seen_again, certified.checkpoint.size)
        if certified is None or problem.reason in (BlockReason.REPEAT, BlockReason.GAP):
            return
        if certifies(certified, frontier, block):
            if problem.reason is BlockReason.UPGRADE:
                raise IntegrityError(
                    f"{problem}: install a newer release, then start again", code="upgrade_needed"
                )
            raise IntegrityError(
                f"the nodes certified what this release refuses ({problem}); run 'bkdms verify'",
                code="rules_differ",
            )

    async def _reread(self, why: str) -> None:
        """Go back to the first record: the topic was restored, so that the stored position means nothing in it."""
        _log.warning("blocks_reread", reason=why, height=self.height)
        self._is_rereading, self._seen_again = True, 0
        self._waited_ms, self._gap_end = 0, None
        self.next_offset, _ = await self._reader.bounds()
        await self._reader.seek(self.next_offset)

    def _missing(self) -> IntegrityError | None:
        """Return what is wrong if the topic ends here for good: before a tree that the nodes certified."""
        assert self._state is not None  # noqa: S101  loaded by step
        held = self._state.head.frontier.size
        if self._is_rereading and self._seen_again < held:
            return IntegrityError(
                f"the blocks topic does not reach height {self.height}, which is stored and certified;"
                " fill it again with 'bkdms ledger restore'",
                code="blocks_topic_cut",
            )
        if self._watch.ahead is not None:
            return IntegrityError(
                f"the blocks topic ends at height {self.height}, before the certified tree of {self._watch.ahead}"
                " leaves: blocks are missing; run 'bkdms verify', then 'bkdms ledger restore'",
                code="block_gap",
            )
        return None

    async def _check_end(self) -> None:
        """Halt where the topic does not hold what comes before a tree that the nodes certified, from its beginning on.

        Records that come all the while do not put that off: what counts is the end that it had when this was noticed.
        """
        missing = self._missing()
        if missing is None:
            self._is_rereading = self._is_rereading and not self.caught_up
            self._waited_ms, self._gap_end = 0, None
            return
        if self._gap_end is None:
            _, self._gap_end = await self._reader.bounds()
        if self._waited_ms >= PATIENCE_MS and self.next_offset >= self._gap_end:
            if self._is_rereading:
                raise missing
            await self._reread(missing.code)


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread; a cancelled caller still waits for its end, so that nothing overlaps it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def follow_to_end(
    follower: Follower, progress: Callable[[int, int], None] = lambda _done, _end: None
) -> None:
    """Follow the blocks to where the topic ends now; ``progress`` hears the offset reached and that end.

    Raises:
        IntegrityError: see ``Follower.step``; blocks that are missing before a certified one are waited for first.
        TransientError: Kafka or the sink are away.
    """
    await follower.open()
    end = follower.next_offset + await follower.lag()
    while follower.next_offset < end or follower.awaits_blocks:
        await follower.step()
        progress(min(follower.next_offset, end), end)


async def run_steps(
    step: Callable[[int], Awaitable[object]], stop: asyncio.Event, done: Callable[[], None] = lambda: None
) -> None:
    """Repeat ``step(timeout_ms)`` until ``stop`` is set; back off while something is away.

    ``done`` is called after each step that worked.

    Raises:
        IntegrityError: as the step raises it.
    """
    pause = _FIRST_PAUSE_S
    while not stop.is_set():
        try:
            await step(FETCH_TIMEOUT_MS)
            done()
            pause = _FIRST_PAUSE_S
        except (TransientError, ConflictError):
            await _wait(stop, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Return after a pause, or as soon as ``stop`` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
