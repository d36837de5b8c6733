"""A member of a Kafka consumer group: commits by hand, knows when its partitions were handed out anew.

A rebalance waits a moment for the batch in hand; what it can't wait for is left to the next holder, and its
commit is refused here, because it would speak for partitions that may be another's by then.
"""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import ConsumerRecord

from pipeline.adapters.kafka import KafkaConnection, kafka_errors, stopped
from pipeline.core.errors import ConflictError, TransientError
from pipeline.ports import Received
from pipeline.telemetry import metrics
from pipeline.telemetry.logs import logger

_SESSION_TIMEOUT_MS: Final = 6_000  # the broker's least: how soon a killed member's partitions move on
_HEARTBEAT_MS: Final = 2_000
_REBALANCE_TIMEOUT_MS: Final = 30_000
_JOIN_PATIENCE_S: Final = 2.0
_REVOKE_PATIENCE_S: Final = 5.0
_COMMIT_TIMEOUT_S: Final = 20.0
_ASK_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 5.0
_FETCH_BYTES: Final = 4 << 20

_log = logger(__name__)
_Batches = dict[TopicPartition, list[ConsumerRecord]]


class KafkaGroupReader:
    """Reads one topic in a consumer group; an unknown group begins at the topic's beginning."""

    def __init__(self, connection: KafkaConnection, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._consumer: AIOKafkaConsumer | None = None
        self._generation = 0
        self._batch_generation = 0
        self._batch_starts: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._held: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records of the partitions held, in order within each, none if the time ran out.

        Raises:
            TransientError: Kafka is not there; the next call joins the group anew.
        """
        try:
            with kafka_errors(f"reading {self._topic} in group {self._group}"):
                consumer = await self._open()
                batches = await self._poll(consumer, max_records, timeout_ms)
                if not batches:
                    return []
                # No await since the records were taken: a revocation from here on sees the batch.
                self._idle.clear()
                self._batch_generation = self._generation
                self._batch_starts = {at.partition: batch[0].offset for at, batch in batches.items()}
                async with asyncio.timeout(_ASK_TIMEOUT_S):
                    await self._note_expired(consumer)
        except BaseException:
            # Records that were taken and not returned are read again only by whoever joins anew.
            await self._leave()
            raise
        return [
            Received(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value)
            for batch in batches.values()
            for r in batch
        ]

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Store the next offset of each partition of the batch.

        Raises:
            ConflictError: the partitions were handed out anew since the batch was fetched; nothing is stored.
            TransientError: Kafka is not there.
        """
        consumer = self._consumer
        if consumer is None or self._batch_generation != self._generation:
            raise self._handed_out()
        try:
            with kafka_errors(f"committing to group {self._group}"):
                if positions:
                    offsets = {TopicPartition(self._topic, p): offset for p, offset in positions.items()}
                    async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                        await consumer.commit(offsets)
        except TransientError as error:
            if isinstance(error.__cause__, CommitFailedError | IllegalStateError):
                raise self._handed_out() from error
            await self._leave()
            raise
        self._committed |= positions
        self._batch_starts = {}
        self._idle.set()

    async def rewind(self) -> None:
        """Make the first record of the batch the next one to be fetched, in every partition still held."""
        starts, self._batch_starts = self._batch_starts, {}
        if self._consumer is not None and self._batch_generation == self._generation:
            for partition, offset in starts.items():
                self._consumer.seek(TopicPartition(self._topic, partition), offset)
        self._idle.set()

    async def hold(self, partition: int, offset: int) -> None:
        """Fetch nothing more from a partition until ``release``, and then go on at ``offset``."""
        at = TopicPartition(self._topic, partition)
        if self._consumer is not None and at in self._consumer.assignment():
            self._consumer.seek(at, offset)
            self._consumer.pause(at)
            self._held.add(partition)

    async def release(self, partition: int) -> None:
        """Fetch from a held partition again."""
        if partition in self._held and self._consumer is not None:
            self._held.discard(partition)
            self._consumer.resume(TopicPartition(self._topic, partition))

    def appended(self) -> dict[int, int]:
        """Return end offsets of partitions held, as last heard of: what lies below was appended before now."""
        consumer = self._consumer
        if consumer is None:
            return {}
        ends = {at.partition: consumer.highwater(at) for at in consumer.assignment()}
        return {partition: end for partition, end in ends.items() if end is not None}

    async def lag(self) -> dict[int, int]:
        """Return end offset minus committed offset of each partition held; it is a metric, too.

        Raises:
            TransientError: Kafka is not there.
        """
        with kafka_errors(f"asking for the end of {self._topic}"):
            consumer = await self._open()
            held = consumer.assignment()
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                # Asked in any case: an absent Kafka shows in nothing else while we hold no partition.
                ends = await consumer.end_offsets(list(held) or [TopicPartition(self._topic, 0)])
                lags = {
                    at.partition: max(0, end - await self._committed_offset(consumer, at.partition))
                    for at, end in ends.items()
                    if at in held
                }
        for counter in (metrics.CONSUMER_EXPIRED, metrics.CONSUMER_REBALANCES):
            metrics.show_zeros(counter, [(self._topic,)])
        metrics.CONSUMER_LAG.clear()
        for partition, records in lags.items():
            metrics.CONSUMER_LAG.labels(self._topic, str(partition)).set(records)
        return lags

    async def close(self) -> None:
        """Leave the group and the broker."""
        await self._leave()

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._connection.options(),
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=_SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=_HEARTBEAT_MS,
                rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
            )
            try:
                await consumer.start()
                consumer.subscribe([self._topic], listener=_Listener(self))
            except BaseException:
                with contextlib.suppress(Exception):
                    await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    @staticmethod
    async def _poll(consumer: AIOKafkaConsumer, max_records: int, timeout_ms: int) -> _Batches:
        """Take what is there. A rebalance blocks aiokafka without end; it takes no record before it answers."""
        try:
            async with asyncio.timeout(timeout_ms / 1000 + _JOIN_PATIENCE_S):
                found: _Batches = await consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
                return found
        except TimeoutError:
            return {}

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._lose_partitions()
        self._idle.set()
        if consumer is not None:
            await stopped(consumer)

    async def revoke(self) -> None:
        """Finish with the partitions held: called by the rebalance before they are handed out anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REVOKE_PATIENCE_S):
                await self._idle.wait()
        self._lose_partitions()
        metrics.CONSUMER_REBALANCES.labels(self._topic).inc()

    def _lose_partitions(self) -> None:
        self._generation += 1
        self._committed.clear()
        self._held.clear()
        metrics.CONSUMER_LAG.clear()

    def _handed_out(self) -> ConflictError:
        return ConflictError(f"the partitions of {self._topic} were handed out anew", code="rebalanced")

    async def _committed_offset(self, consumer: AIOKafkaConsumer, partition: int) -> int:
        if partition not in self._committed:
            at = TopicPartition(self._topic, partition)
            committed = await consumer.committed(at)
            if committed is None:
                committed = (await consumer.beginning_offsets([at]))[at]
            self._committed[partition] = committed
        return self._committed[partition]

    async def _note_expired(self, consumer: AIOKafkaConsumer) -> None:
        """Tell of records that retention took away before we read them; the sites will send them again."""
        for partition, start in self._batch_starts.items():
            missed = start - await self._committed_offset(consumer, partition)
            if missed > 0:
                metrics.CONSUMER_EXPIRED.labels(self._topic).inc(missed)
                _log.warning("records_expired", topic=self._topic, partition=partition, records=missed)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Hands the group's decisions to the reader."""

    def __init__(self, reader: KafkaGroupReader) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish or abandon the batch before others get the partitions."""
        if revoked:
            await self._reader.revoke()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Say what we hold now."""
        _log.info("partitions_assigned", partitions=sorted(at.partition for at in assigned))
