"""Primitives of Kafka: sending and fetching the bytes of a stage, over TLS, by the client's cheapest ways.

Processor time of the client is that of this thread; that of the broker is the kernel's account of its process.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from secrets import token_hex
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ops.kafka.topic_table import CHAIN_MESSAGE_BYTES, topic_table
from pipeline.adapters.kafka import kafka_errors
from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.servers import KAFKA, FloorServers
from pipeline.apps.bench.floor.timing import Primitive
from pipeline.core.topics import Topics

SITE_BATCH_BYTES: Final = 60 * 1024
"""What the packets topic takes at once; elsewhere a batch may fill a message of the chain log."""
_LARGE_BATCH_BYTES: Final = CHAIN_MESSAGE_BYTES - 64 * 1024
_ROUND_BYTES: Final = 12 << 20
_MOST: Final = 3000
_LEAST: Final = 8
_FETCH_BYTES: Final = 4 << 20
_FETCH_RECORDS: Final = 1000
_FETCH_TIMEOUT_MS: Final = 1000


class Broker:
    """A topic of its own, with the settings of the chain log, and clients that stay connected between rounds."""

    def __init__(self, servers: FloorServers, topic: str) -> None:
        self._servers, self._topic = servers, topic
        self._loop = asyncio.new_event_loop()
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._end = 0

    def send(self, value: bytes, batch_bytes: int, *, is_batch: bool) -> Cost:
        """Send a round of values and wait for all acknowledgements; batches are built here, or by the producer."""
        producer = self._loop.run_until_complete(self._producer(batch_bytes))
        way = self._send_batches if is_batch else self._send_each
        count = _count(value)
        self._end += count
        return self._measured(partial(way, producer, value, count, batch_bytes), count)

    def fetch(self, value: bytes) -> Cost:
        """Fetch a round of values."""
        count, first = _count(value), self._end
        producer = self._loop.run_until_complete(self._producer(_LARGE_BATCH_BYTES))
        self._loop.run_until_complete(self._send_batches(producer, value, count, _LARGE_BATCH_BYTES))
        self._end += count
        consumer = self._loop.run_until_complete(self._at(first))
        return self._measured(partial(self._read, consumer, count), count)

    def close(self) -> None:
        """Leave the broker and remove the topic."""
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    def _measured(self, step: Callable[[], Awaitable[None]], count: int) -> Cost:
        meter = self._servers.cpu(KAFKA)
        meter.reset()
        begun = time.thread_time_ns()
        with kafka_errors("measuring"):
            self._loop.run_until_complete(_awaited(step))
        own = time.thread_time_ns() - begun
        return Cost(own / count / 1e3, meter.spent_s() * 1e6 / count)

    async def _producer(self, batch_bytes: int) -> AIOKafkaProducer:
        if batch_bytes not in self._producers:
            producer = AIOKafkaProducer(
                **self._servers.kafka.options(),
                acks="all",
                enable_idempotence=True,
                max_batch_size=batch_bytes,
                max_request_size=1 << 20,
            )
            await producer.start()
            self._producers[batch_bytes] = producer
        return self._producers[batch_bytes]

    async def _send_each(self, producer: AIOKafkaProducer, value: bytes, count: int, _size: int) -> None:
        await asyncio.gather(*[await producer.send(self._topic, value, partition=0) for _ in range(count)])

    async def _send_batches(self, producer: AIOKafkaProducer, value: bytes, count: int, size: int) -> None:
        left, sent = count, []
        while left:
            batch = producer.create_batch()
            room = min(left, max(1, size // (len(value) + 64)))
            for _ in range(room):
                batch.append(key=None, value=value, timestamp=None)
            sent.append(await producer.send_batch(batch, self._topic, partition=0))
            left -= room
        await asyncio.gather(*sent)

    async def _at(self, offset: int) -> AIOKafkaConsumer:
        """Return the consumer, about to fetch from an offset; what it had fetched ahead is gone."""
        place = TopicPartition(self._topic, 0)
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._servers.kafka.options(),
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
            )
            await self._consumer.start()
            self._consumer.assign([place])
        self._consumer.seek(place, offset)
        return self._consumer

    async def _read(self, consumer: AIOKafkaConsumer, count: int) -> None:
        while count > 0:
            found = await consumer.getmany(timeout_ms=_FETCH_TIMEOUT_MS, max_records=_FETCH_RECORDS)
            count -= sum(len(records) for records in found.values())

    async def _stop(self) -> None:
        for client in (*self._producers.values(), *[self._consumer] * (self._consumer is not None)):
            await client.stop()
        admin = AIOKafkaAdminClient(**self._servers.kafka.options())
        await admin.start()
        try:
            await admin.delete_topics([self._topic])
        finally:
            await admin.close()


@contextmanager
def floor_broker(servers: FloorServers) -> Iterator[Broker]:
    """Make a topic to measure on, removed afterwards."""
    chain = topic_table(Topics())[1]
    spec = type(chain)(f"bkdms-floor-{token_hex(4)}", 1, chain.settings)
    servers.local.kafka_admin().apply_topics([spec])
    broker = Broker(servers, spec.name)
    try:
        yield broker
    finally:
        broker.close()


def of_values(broker: Broker, values: dict[str, bytes]) -> Iterator[Primitive]:
    """Yield sending and fetching of each named value."""
    for name, value in values.items():
        yield Primitive(f"kafka send {name}", _sending(broker, value, is_batch=False))
        yield Primitive(f"kafka send_batch {name}", _sending(broker, value, is_batch=True))
        yield Primitive(f"kafka fetch {name}", partial(broker.fetch, value))


def of_site(broker: Broker, packet: bytes) -> Iterator[Primitive]:
    """Yield sending of packets in batches that the packets topic takes."""
    for way, is_batch in (("send", False), ("send_batch", True)):
        yield Primitive(
            f"kafka {way} packet to the packets topic",
            partial(broker.send, packet, SITE_BATCH_BYTES, is_batch=is_batch),
        )


def _sending(broker: Broker, value: bytes, *, is_batch: bool) -> Callable[[], Cost]:
    return partial(broker.send, value, _LARGE_BATCH_BYTES, is_batch=is_batch)


def _count(value: bytes) -> int:
    return max(_LEAST, min(_MOST, _ROUND_BYTES // len(value)))


async def _awaited(step: Callable[[], Awaitable[None]]) -> Any:
    return await step()
