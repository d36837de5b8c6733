"""Everything that a topic holds, read once."""

from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
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
