"""Everything that the observations topic holds, read once."""

from typing import Any

from ops.kafka.topic_table import OBSERVATION_PARTITIONS
from pipeline.adapters.kafka import KafkaConnection
from pipeline.core import avro
from pipeline.core.storage import OBSERVATIONS
from tests.support.waiting import read_topic


async def read_observations(connection: KafkaConnection, topic: str) -> list[dict[str, Any]]:
    """Return all messages of the observations topic, partition by partition."""
    records = [
        r for number in range(OBSERVATION_PARTITIONS) for r in await read_topic(connection, topic, number)
    ]
    found = [avro.unframe(OBSERVATIONS, record.value or b"") for record in records]
    return [message for message in found if message is not None]
