"""The topics as data: partitions and every setting that matters, none left to the broker's default.

Timestamps are the broker's on all topics (LogAppendTime), so no client's claim can bend retention.
"""

from dataclasses import dataclass, replace

from ops.kafka.cluster import in_sync_replicas
from pipeline.core.topics import Topics

PACKET_MESSAGE_BYTES = 70 * 1024
REJECTED_MESSAGE_BYTES = 2 * PACKET_MESSAGE_BYTES
BLOCK_MESSAGE_BYTES = 1024 * 1024
# A validator sends whole batches to the chain log, and Kafka's limit counts the batch.
CHAIN_MESSAGE_BYTES = 1024 * 1024
SMALL_MESSAGE_BYTES = 64 * 1024
OBSERVATION_MESSAGE_BYTES = 1024 * 1024

DAY_MS = 24 * 60 * 60 * 1000
FOREVER = -1
SEGMENT_BYTES = 64 * 1024 * 1024
PACKETS_RETENTION_BYTES = 2 * 1024 * 1024 * 1024
REJECTED_RETENTION_BYTES = 256 * 1024 * 1024
REJECTED_SEGMENT_BYTES = 16 * 1024 * 1024

PACKET_PARTITIONS = 4
OBSERVATION_PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: its name, its partitions, its settings as Kafka spells them."""

    name: str
    partitions: int
    settings: dict[str, str]


def topic_table(topics: Topics, *, chains: int = 1, brokers: int = 1) -> tuple[TopicSpec, ...]:
    """Every topic of one deployment; the chain log has one partition for each of ``chains``.

    Where there are several ``brokers``, all but one must hold a record before it is acknowledged.
    """
    acknowledged = {"min.insync.replicas": str(in_sync_replicas(brokers))} if brokers > 1 else {}
    return tuple(replace(spec, settings=spec.settings | acknowledged) for spec in _topics(topics, chains))


def _topics(topics: Topics, chains: int) -> tuple[TopicSpec, ...]:
    return (
        # Uncompressed: the broker unpacks what comes compressed and measures what comes out.
        TopicSpec(
            topics.packets,
            PACKET_PARTITIONS,
            _kept(PACKET_MESSAGE_BYTES, 7 * DAY_MS, PACKETS_RETENTION_BYTES)
            | {"compression.type": "uncompressed"},
        ),
        # No retention: trimmed by DeleteRecords below what is published. Flushed, since the replicas, if there are
        # several, are on one machine.
        TopicSpec(topics.chain, chains, _kept(CHAIN_MESSAGE_BYTES, FOREVER) | {"flush.messages": "1"}),
        TopicSpec(topics.blocks, chains, _kept(BLOCK_MESSAGE_BYTES, FOREVER) | {"flush.messages": "1"}),
        TopicSpec(
            topics.rejected,
            1,
            _kept(REJECTED_MESSAGE_BYTES, 30 * DAY_MS, REJECTED_RETENTION_BYTES)
            | {"segment.bytes": str(REJECTED_SEGMENT_BYTES)},
        ),
        TopicSpec(topics.cosignatures, chains, _kept(SMALL_MESSAGE_BYTES, 7 * DAY_MS)),
        TopicSpec(topics.sites, 1, _kept(SMALL_MESSAGE_BYTES, FOREVER) | {"cleanup.policy": "compact"}),
        TopicSpec(topics.observations, OBSERVATION_PARTITIONS, _kept(OBSERVATION_MESSAGE_BYTES, 3 * DAY_MS)),
        TopicSpec(topics.assessments, 1, _kept(OBSERVATION_MESSAGE_BYTES, 30 * DAY_MS)),
    )


def _kept(message_bytes: int, retention_ms: int, retention_bytes: int = FOREVER) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": str(message_bytes),
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": str(retention_bytes),
        "retention.ms": str(retention_ms),
        "segment.bytes": str(SEGMENT_BYTES),
    }
