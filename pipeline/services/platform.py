"""Platform worker: stores what is committed and hands out observations (Y.4907 clause 9, KPI management module).

Owns the order: verify, open, check, store in one transaction, publish, mark. A crash between any two of them
repeats work and loses nothing; consumers drop repeats by tracing code.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.replica import BlockReason, Extended
from pipeline.core.sealing import SealingKey
from pipeline.core.state import ChainState
from pipeline.core.storage import (
    NO_KEY,
    Content,
    KeyRing,
    Mismatch,
    Publication,
    Status,
    StoredBlock,
    kpi_records,
    read_content,
)
from pipeline.ports import Clock, Outgoing, PartitionReader, Producer
from pipeline.services.follower import FETCH_TIMEOUT_MS, Follower, Skipped, in_thread
from pipeline.services.opening import AdmittingSites
from pipeline.telemetry import platform_metrics as metrics
from pipeline.telemetry import spans
from pipeline.telemetry.logs import logger
from pipeline.telemetry.metrics import show_zeros

PUBLISH_PACKETS: Final = 256
_LAG_EVERY_S: Final = 5.0
_FATES: Final = [
    (Status.OK.value, ""),
    (Status.UNOPENED.value, NO_KEY),
    *((Status.MISMATCH.value, mismatch.value) for mismatch in Mismatch),
]
_log = logger(__name__)


class PlatformStore(Protocol):
    """The platform's database. Calls come from one thread at a time and block."""

    def load(self) -> tuple[ChainState, int]:
        """Return state and next offset of the blocks topic; genesis and 0 at first."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""

    def save(self, stored: Sequence[StoredBlock], next_offset: int) -> None:
        """Store blocks with everything that follows from them, and the position, all or nothing."""

    def unpublished(self, limit: int) -> list[Publication]:
        """Return the observations of the next packets that were not yet marked as published, in order."""

    def mark_published(self, height: int, entry: int) -> None:
        """Record that the observations of all packets up to this one were sent."""

    def close(self) -> None:
        """Close the database."""


class PlatformSink:
    """A ``BlockSink`` that opens packets and stores what they hold."""

    def __init__(self, store: PlatformStore, keys: KeyRing, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._admitting: AdmittingSites | None = None
        self._found: dict[bytes, SealingKey | None] = {}

    def load(self) -> tuple[ChainState, int]:
        """Return the stored state and position, and start over from them."""
        state, next_offset = self._store.load()
        self._admitting = AdmittingSites(state)
        return state, next_offset

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        return self._store.root_of_size(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Open, check and store the packets of verified blocks."""
        self._found.clear()  # a key that was destroyed is not used beyond the batch under way
        stored = [self._opened(item) for item in applied]
        self._store.save(stored, next_offset)
        for block in stored:
            self._count(block)

    def _opened(self, item: Applied) -> StoredBlock:
        extended = item.extended
        records = kpi_records(extended, self._contents(extended))
        return StoredBlock(extended, item.kafka_offset, tuple(records))

    def _contents(self, extended: Extended) -> list[Content]:
        admitting = self._admitting
        assert admitting is not None  # noqa: S101  the follower loads first
        return [read_content(packet, site, self._key) for packet, site in admitting.packets(extended)]

    def _key(self, fingerprint: bytes) -> SealingKey | None:
        if fingerprint not in self._found:
            self._found[fingerprint] = self._keys(fingerprint)
        return self._found[fingerprint]

    def _count(self, block: StoredBlock) -> None:
        now_ms = self._clock.now_ms()
        for record in block.records:
            content = record.content
            metrics.PACKETS.labels(content.status.value, content.reason).inc()
            metrics.OBSERVATIONS.inc(sum(len(unified.values) for unified in content.records))
            metrics.STORE_LATENCY.observe(max(0, now_ms - record.admitted_ms) / 1000)
            if spans.is_on():
                spans.record(
                    "platform.store",
                    record.packet.packet_id,
                    record.admitted_ms,
                    now_ms,
                    height=record.height,
                )
        metrics.STORED_HEIGHT.set(block.extended.block.header.height)


@dataclass(frozen=True, slots=True)
class PlatformParts:
    """What a platform worker is made of; ``observations`` is the topic's name, ``keys`` finds sealing keys."""

    genesis: Genesis
    reader: PartitionReader
    store: PlatformStore
    producer: Producer
    observations: str
    keys: KeyRing
    clock: Clock


class PlatformWorker:
    """Follows the blocks, stores them, publishes observations. ``pool`` checks signatures on all cores.

    Opened, stepped and closed by its runtime, which repeats what raised ``TransientError``.
    """

    def __init__(self, parts: PlatformParts, pool: ThreadPoolExecutor | None = None) -> None:
        self._parts = parts
        sink = PlatformSink(parts.store, parts.keys, parts.clock)
        self.follower = Follower(parts.genesis, parts.reader, sink, pool=pool, alarm=_alarm)
        self._opened = False
        self._pending = True
        self._lag_at = -_LAG_EVERY_S

    @property
    def caught_up(self) -> bool:
        """Whether everything published so far is stored and handed out."""
        return self.follower.caught_up and not self._pending

    @property
    def is_ready(self) -> bool:
        """Whether the stored state was loaded and is being extended."""
        return self._opened

    async def open(self) -> None:
        """Load the stored state and go to the stored position.

        Raises:
            TransientError: the database is away; call again.
        """
        show_zeros(metrics.PACKETS, _FATES)
        show_zeros(metrics.SKIPPED, [(reason.value,) for reason in BlockReason])
        await self.follower.open()
        self._opened = True

    async def step(self, timeout_ms: int = FETCH_TIMEOUT_MS) -> int:
        """Store what is next in the blocks topic, publish what is stored; return how many records were read.

        Raises:
            IntegrityError: see ``Follower.step``.
            TransientError: Kafka or the database are away; call again.
        """
        try:
            count = await self.follower.step(timeout_ms)
            await self._measure_lag()
        except BaseException:
            self._pending = True  # blocks may be stored all the same
            raise
        self._pending = self._pending or count > 0
        while self._pending:
            await self._publish()
        return count

    async def close(self) -> None:
        """Leave Kafka and close the database; no step is under way."""
        await self._parts.reader.close()
        await self._parts.producer.close()
        await in_thread(self._parts.store.close)

    async def _measure_lag(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._lag_at >= _LAG_EVERY_S:
            metrics.LAG.set(await self.follower.lag())
            self._lag_at = now_s

    async def _publish(self) -> None:
        """Send the next observations and mark them; a crash before the mark repeats them."""
        store, topic = self._parts.store, self._parts.observations
        batch = await in_thread(lambda: store.unpublished(PUBLISH_PACKETS))
        if batch:
            await self._parts.producer.send([Outgoing(topic, item.value, item.key) for item in batch])
            await in_thread(lambda: store.mark_published(batch[-1].height, batch[-1].entry))
            metrics.PUBLISHED.inc(len(batch))
        self._pending = len(batch) == PUBLISH_PACKETS


def _alarm(skipped: Skipped) -> None:
    reason = skipped.problem.reason.value
    metrics.SKIPPED.labels(reason).inc()
    _log.warning("block_skipped", reason=reason, kafka_offset=skipped.kafka_offset)
