"""Single blocks read again from the blocks topic, believed only when they hash to what a verified store says."""

import asyncio
from typing import Final

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, Block, parse_certified
from pipeline.core.derive import entries_root
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.ports import PartitionReader

_FETCH_TIMEOUT_MS: Final = 2000
_ATTEMPTS: Final = 3


class BlockSource:
    """Reads one record at a time by its offset; owns its reader, which nothing else may use."""

    def __init__(self, reader: PartitionReader) -> None:
        self._reader = reader
        self._one_at_a_time = asyncio.Lock()

    async def block(self, kafka_offset: int, block_hash: bytes) -> Block:
        """Return the block at an offset whose hash (32 bytes) is known, entries included.

        Raises:
            IntegrityError: the record is not that block (code ``block_differs``), or is not in the topic any more.
            TransientError: Kafka is away or slow (code ``kafka``).
        """
        value = await self._value(kafka_offset)
        parsed = None
        if value is not None and avro.frame_id(value) == CERTIFIED_BLOCK.id:
            parsed = parse_certified(value[avro.FRAME_BYTES :])
        if parsed is None or parsed[0].hash != block_hash:
            raise _differs(kafka_offset)
        block = parsed[0]
        if block.header.entries_root != entries_root(block.entries):
            raise _differs(kafka_offset)
        return block

    async def _value(self, kafka_offset: int) -> bytes | None:
        async with self._one_at_a_time:
            await self._reader.seek(kafka_offset)
            for _ in range(_ATTEMPTS):
                found = await self._reader.fetch(1, _FETCH_TIMEOUT_MS)
                if found:
                    return found[0].value if found[0].offset == kafka_offset else None
        raise TransientError(f"offset {kafka_offset} of the blocks topic did not come in time", code="kafka")

    async def close(self) -> None:
        """Leave the broker."""
        await self._reader.close()


def _differs(kafka_offset: int) -> IntegrityError:
    return IntegrityError(
        f"the record at offset {kafka_offset} of the blocks topic is not the block that was verified there;"
        " run 'bkdms verify'",
        code="block_differs",
    )
