"""Everything that a topic holds, read once."""

from typing import Any

from ops.kafka.topic_table import OBSERVATION_PARTITIONS
from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.core import avro
from pipeline.core.storage import OBSERVATIONS
from pipeline.ports import Received

_FETCH_RECORDS = 5000
_FETCH_TIMEOUT_MS = 500


async def read_topic(connection: KafkaConnection, topic: str, partition: int = 0) -> list[Received]:
    """Return all records of a partition, up to the end that it has now."""
    reader = KafkaPartitionReader(connection, topic, partition)
    try:
        first, end = await reader.bounds()
        await reader.seek(first)
        found: list[Received] = []
        while first < end and (not found or found[-1].offset + 1 < end):
            found += await reader.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS)
        return found
    finally:
        await reader.close()


async def read_observations(connection: KafkaConnection, topic: str) -> list[dict[str, Any]]:
    """Return all messages of the observations topic, partition by partition."""
    records = [
        r for number in range(OBSERVATION_PARTITIONS) for r in await read_topic(connection, topic, number)
    ]
    found = [avro.unframe(OBSERVATIONS, record.value or b"") for record in records]
    return [message for message in found if message is not None]
