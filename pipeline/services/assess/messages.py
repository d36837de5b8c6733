"""What the assessment worker hears on one topic and says on another."""

from typing import Final

from pipeline.core import avro
from pipeline.core.assess.changes import Unsent
from pipeline.core.assess.message import assessment_value, key_bytes
from pipeline.core.storage import OBSERVATIONS
from pipeline.ports import Outgoing

_MESSAGE_BYTES: Final = 1 << 20


def announced_height(value: bytes, chain_id: str) -> int | None:
    """Return the height of the block whose observations a message holds, or None for no message of this chain.

    Total: no bytes raise.
    """
    if len(value) > _MESSAGE_BYTES:
        return None
    found = avro.unframe(OBSERVATIONS, value)
    if found is None or found["chain_id"] != chain_id or found["height"] < 1:
        return None
    return int(found["height"])


def outgoing(topic: str, item: Unsent) -> Outgoing:
    """Return the record about a change; without value where the assessment is no more."""
    value = None if item.assessment is None else assessment_value(item.assessment)
    return Outgoing(topic, value, key_bytes(item.key))
