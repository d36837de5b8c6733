"""What plain Kafka takes for the same bytes in the same run: sent and read once, by bare clients over the same TLS."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.local_servers import KAFKA
from pipeline.adapters.kafka import KafkaConnection, kafka_errors
from pipeline.apps.bench.load.sender import read_packets
from pipeline.apps.bench.load.whole import WholeStack
from pipeline.apps.bench.report import Figure

_TOPIC: Final = "bench.raw"
_BATCH_BYTES: Final = 512 * 1024
_AT_ONCE: Final = 500
_FETCH_TIMEOUT_MS: Final = 500
_US: Final = 1e6


async def measure_raw_kafka(stack: WholeStack, file: Path) -> list[Figure]:
    """Send the packets of a file to a topic of one partition and read them again; return what a packet took.

    Raises:
        TransientError: Kafka refuses.
    """
    programs, own, begun = stack.programs(), time.process_time(), time.perf_counter()
    with kafka_errors("measuring plain Kafka"):
        await _make_topic(stack.connection)
        count = await _send(stack.connection, read_packets(file))
        await _read(stack.connection, count)
    wall_s, client_s = time.perf_counter() - begun, time.process_time() - own
    broker_s = programs.used().by_name[KAFKA]
    return [
        Figure("raw_kafka_client_cpu_us_per_packet", client_s * _US / count, "µs"),
        Figure("raw_kafka_broker_cpu_us_per_packet", broker_s * _US / count, "µs"),
        Figure("raw_kafka_cpu_us_per_packet", (client_s + broker_s) * _US / count, "µs"),
        Figure("raw_kafka_packets_per_second", count / wall_s, "1/s"),
    ]


async def _make_topic(connection: KafkaConnection) -> None:
    admin = AIOKafkaAdminClient(**connection.options())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
    finally:
        await admin.close()


async def _send(connection: KafkaConnection, packets: Iterator[bytes]) -> int:
    producer = AIOKafkaProducer(
        **connection.options(), acks="all", enable_idempotence=True, max_batch_size=_BATCH_BYTES
    )
    await producer.start()
    count = 0
    try:
        while batch := list(islice(packets, _AT_ONCE)):
            sent = [await producer.send(_TOPIC, raw) for raw in batch]
            for future in sent:
                await future
            count += len(batch)
    finally:
        await producer.stop()
    return count


async def _read(connection: KafkaConnection, count: int) -> None:
    at = TopicPartition(_TOPIC, 0)
    consumer = AIOKafkaConsumer(**connection.options(), enable_auto_commit=False, auto_offset_reset="none")
    await consumer.start()
    try:
        consumer.assign([at])
        consumer.seek(at, 0)
        while count > 0:
            found = await consumer.getmany(at, timeout_ms=_FETCH_TIMEOUT_MS, max_records=_AT_ONCE)
            count -= sum(map(len, found.values()))
    finally:
        await consumer.stop()
