"""The named steps of a packet's way, and which call of which program each of them is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """A kind of program with steps of its own."""

    SITE = "site"
    VALIDATOR = "validator"
    NODE = "node"
    PLATFORM = "platform"


class Moment(StrEnum):
    """When a fault comes: the step has had no effect yet, or all of it while nobody knows."""

    BEFORE = "before"
    AFTER = "after"


class How(StrEnum):
    """What happens: the process is killed, stopped, or told that the step failed."""

    KILL = "kill"
    STOP = "stop"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``owner.method`` in ``module``; with ``topic`` only where it sends to that topic of ours.

    ``is_disk`` tells what a failure looks like: an error of the disk, or one of a server that may be asked again.
    """

    name: str
    part: Part
    module: str
    owner: str
    method: str
    topic: str = ""
    is_disk: bool = False


_SPOOL: Final = ("pipeline.adapters.spool.store", "SqliteSpool")
_KAFKA: Final = ("pipeline.adapters.kafka", "IdempotentProducer", "send")
_NODE_STORE: Final = ("pipeline.adapters.sql.node_store", "SqliteNodeStore")
_REDIS: Final = ("pipeline.adapters.redis_ledger.ledger", "RedisLedger")

STEPS: Final = (
    Step("spool", Part.SITE, *_SPOOL, "append", is_disk=True),
    Step("seal", Part.SITE, *_SPOOL, "add_packet", is_disk=True),
    Step("send", Part.SITE, *_KAFKA, topic="packets"),
    Step("forget", Part.SITE, *_SPOOL, "confirm", is_disk=True),
    Step("admit", Part.VALIDATOR, *_KAFKA, topic="chain"),
    Step("offsets", Part.VALIDATOR, "pipeline.adapters.kafka_group", "KafkaGroupReader", "commit"),
    Step("derive", Part.NODE, "pipeline.core.derive", "Deriver", "feed"),
    Step("sign", Part.NODE, *_NODE_STORE, "record_signed", is_disk=True),
    Step("cosign", Part.NODE, *_KAFKA, topic="cosignatures"),
    Step("commit", Part.NODE, *_REDIS, "extend"),
    Step("hold", Part.NODE, *_NODE_STORE, "add_block", is_disk=True),
    Step("publish", Part.NODE, *_KAFKA, topic="blocks"),
    Step("read-back", Part.NODE, "pipeline.services.accounting.publishing", "Publishing", "_read_back"),
    Step("mark", Part.NODE, *_REDIS, "mark_published"),
    Step("trim", Part.NODE, "pipeline.adapters.kafka", "KafkaTrimmer", "trim"),
    Step("store", Part.PLATFORM, "pipeline.adapters.sql.store", "SqlPlatformStore", "save", is_disk=True),
    Step("observe", Part.PLATFORM, *_KAFKA, topic="observations"),
)
"""In the order in which a packet comes by."""
