"""Raw values of one Kafka topic, by confluent-kafka and client certificates. Judges nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops.oracle.input_error import InputError

AUDITOR_GROUP: Final = "bkdms-auditor.oracle"
"""A group that every auditor's certificate may name."""
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class KafkaSource:
    """Where to read: bootstrap address, TLS files, topic with one partition.

    ``group`` is a consumer group that the certificate may name; it is neither joined nor committed to.
    """

    bootstrap: str
    ca: Path
    certificate: Path
    key: Path
    topic: str
    group: str = AUDITOR_GROUP


def topic_values(source: KafkaSource) -> Iterator[bytes]:
    """Yield every value of the topic's partition 0, from its first record to its end as of now.

    Raises:
        InputError: Kafka can't be reached, or the certificate may not read the topic.
    """
    settings = {
        "bootstrap.servers": source.bootstrap,
        "security.protocol": "SSL",
        "ssl.ca.location": str(source.ca),
        "ssl.certificate.location": str(source.certificate),
        "ssl.key.location": str(source.key),
        "group.id": source.group,  # the client asks for its coordinator, whatever it is used for
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
    }
    try:
        consumer = Consumer(settings)
        try:
            yield from _values(consumer, TopicPartition(source.topic, 0))
        finally:
            consumer.close()
    except KafkaException as error:
        raise InputError(f"topic {source.topic} at {source.bootstrap} can't be read: {error}") from None


def _values(consumer: Consumer, partition: TopicPartition) -> Iterator[bytes]:
    first, end = consumer.get_watermark_offsets(partition, timeout=_TIMEOUT_S)
    if first == end:
        return
    consumer.assign([TopicPartition(partition.topic, partition.partition, first)])
    while True:
        message = consumer.poll(_TIMEOUT_S)
        if message is None:
            raise InputError(f"topic {partition.topic}: nothing came within {_TIMEOUT_S:.0f} s")
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return
            raise KafkaException(error)
        offset = message.offset()
        yield bytes(message.value() or b"")
        if offset is not None and offset + 1 >= end:
            return
