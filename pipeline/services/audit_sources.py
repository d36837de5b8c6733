"""Where an audit's blocks come from: the records of the blocks topic."""

from collections.abc import AsyncIterator
from typing import Final

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.ports import PartitionReader
from pipeline.services.audit_report import Source

WINDOW_BLOCKS: Final = 32
"""Blocks read at a time; with those at the helpers, all that an audit holds in memory."""
_FETCH_TIMEOUT_MS: Final = 2000


async def topic_windows(reader: PartitionReader, first: int, end: int) -> AsyncIterator[list[Source]]:
    """Yield the records of a blocks topic from offset ``first`` up to ``end``, both within the reader's bounds.

    Raises:
        TransientError: Kafka is away.
    """
    position = first
    await reader.seek(position)
    while position < end:
        found = [
            record for record in await reader.fetch(WINDOW_BLOCKS, _FETCH_TIMEOUT_MS) if record.offset < end
        ]
        if found:
            position = found[-1].offset + 1
            yield [
                Source(f"{each.topic} offset {each.offset}", body_of(each.value), position=each.offset)
                for each in found
            ]


def body_of(value: bytes | None) -> bytes | None:
    """Return the encoded certified block in a record of the blocks topic, or None where it holds none."""
    if value is None or avro.frame_id(value) != CERTIFIED_BLOCK.id:
        return None
    return value[avro.FRAME_BYTES :]
