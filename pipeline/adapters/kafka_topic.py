"""A reader of whole topics: all partitions, from positions that the caller keeps, in no consumer group."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from pipeline.adapters.kafka import KafkaConnection, kafka_errors, stopped
from pipeline.core.errors import TransientError
from pipeline.ports import Received

_FETCH_BYTES: Final = 4 << 20
_ASK_TIMEOUT_S: Final = 20.0


class KafkaTopicReader:
    """Reads all partitions of one topic; nothing is skipped silently, nothing is stored at Kafka."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[int, int] = {}

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Return of each partition the first offset held and the one after the last.

        Raises:
            ConfigError: there is no such topic, or we may not read it.
            TransientError: Kafka is not there.
        """
        try:
            with kafka_errors(f"asking for the bounds of {self._topic}"):
                async with asyncio.timeout(_ASK_TIMEOUT_S):
                    places = await self._places()
                    consumer = await self._open()
                    firsts, ends = await asyncio.gather(
                        consumer.beginning_offsets(places), consumer.end_offsets(places)
                    )
        except TransientError:
            await self.close()
            raise
        return {at.partition: (firsts[at], ends[at]) for at in places}

    async def offsets_at(self, time_ms: int, partitions: Mapping[int, object]) -> dict[int, int]:
        """Return the first offset of each partition at or after a broker time; partitions without one are left out.

        Raises:
            TransientError: Kafka is not there.
        """
        asked = {TopicPartition(self._topic, partition): time_ms for partition in partitions}
        with kafka_errors(f"asking for times in {self._topic}"):
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                found = await (await self._open()).offsets_for_times(asked)
        return {at.partition: place.offset for at, place in found.items() if place is not None}

    async def seek(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, and no others, from these offsets on."""
        self._positions = dict(positions)
        if self._consumer is not None:
            self._point(self._consumer)

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, in order within each partition, none if the time ran out.

        Raises:
            IntegrityError: code ``offset_out_of_range``.
            TransientError: Kafka is not there; the next call connects anew.
        """
        try:
            with kafka_errors(f"reading {self._topic}"):
                consumer = await self._open()
                batches = await consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
                for at in consumer.assignment():
                    # Not counted from the records: compaction leaves gaps, also at the end.
                    self._positions[at.partition] = await consumer.position(at)
        except TransientError:
            await self.close()
            raise
        return [
            Received(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value)
            for batch in batches.values()
            for r in batch
        ]

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition that is read."""
        return dict(self._positions)

    async def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stopped(consumer)

    async def _places(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(**self._connection.options())
        try:
            await admin.start()
            (found,) = await admin.describe_topics([self._topic])
        finally:
            await admin.close()
        if found["error_code"]:
            raise for_code(found["error_code"])
        numbers = sorted(partition["partition"] for partition in found["partitions"])
        return [TopicPartition(self._topic, number) for number in numbers]

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._connection.options(),
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=200,
            )
            try:
                await consumer.start()
                self._point(consumer)
            except BaseException:
                await stopped(consumer)
                raise
            self._consumer = consumer
        return self._consumer

    def _point(self, consumer: AIOKafkaConsumer) -> None:
        if not self._positions:
            return
        consumer.assign([TopicPartition(self._topic, partition) for partition in self._positions])
        for partition, offset in self._positions.items():
            consumer.seek(TopicPartition(self._topic, partition), offset)
