"""Dead letters: a refused record with its original bytes and the reason, for ``kpi.rejected.v1``.

The reason stands twice: in the framed Rejection record, for our own tools, and in headers of the kind that
Kafka Connect writes, for everybody else's.
"""

from typing import Final

from pipeline.core import avro
from pipeline.ports import Outgoing
from schemas import schema

KEPT_BYTES: Final = 140_000  # the topic takes 143,360 with headers, and a packet has at most 70 KB
_REJECTION: Final = schema("Rejection")
_HEADER: Final = "__connect.errors."


def rejection(
    topic: str, *, stage: str, reason: str, source: tuple[str, int, int, int], value: bytes
) -> Outgoing:
    """Return the dead letter of a refused record.

    ``topic`` is the topic of dead letters, ``stage`` says who refuses (validator, chain, platform), ``reason``
    is an outcome's label, ``source`` is topic, partition, offset and broker time (ms) of the record.
    """
    origin, partition, offset, time_ms = source
    fields = {
        "stage": stage,
        "reason": reason,
        "topic": origin,
        "partition": partition,
        "offset": offset,
        "time": time_ms,
        "value": value[:KEPT_BYTES],
        "value_length": len(value),
    }
    headers = {
        "topic": origin,
        "partition": str(partition),
        "offset": str(offset),
        "stage": stage,
        "exception.class.name": f"bkdms.{reason}",
        "exception.message": f"{stage} refused the record: {reason.replace('_', ' ')}",
    }
    return Outgoing(
        topic,
        avro.frame(_REJECTION, avro.encode(_REJECTION, fields)),
        headers=tuple((_HEADER + name, text.encode()) for name, text in headers.items()),
    )
