"""The oracle reads a topic of a real Kafka with a certificate."""

import pytest

from ops.oracle import InputError
from ops.oracle.kafka_values import KafkaSource, topic_values
from ops.stack import EmbeddedStack
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer

pytestmark = pytest.mark.stack


def source(stack: EmbeddedStack, role: str, topic: str) -> KafkaSource:
    files = stack.credentials(role, f"oracle-{role}")
    return KafkaSource(stack.kafka_bootstrap, files.ca, files.certificate, files.key, topic)


async def test_an_auditor_reads_every_value_of_the_blocks_topic_in_order(
    stack: EmbeddedStack, topics: Topics
) -> None:
    values = [bytes([number]) * number for number in range(1, 200)]
    reader = source(stack, "auditor", topics.blocks)
    assert list(topic_values(reader)) == []
    async with producer(stack, "node", "oracle-node") as client:
        for value in values:
            await client.send(topics.blocks, value)
    assert list(topic_values(reader)) == values


def test_a_certificate_that_may_not_read_the_topic_is_an_input_error(
    stack: EmbeddedStack, topics: Topics
) -> None:
    with pytest.raises(InputError, match="can't be read"):
        list(topic_values(source(stack, "site", topics.blocks)))
