"""What became of every value that was sent: in a block, or refused for a reason; read as an auditor."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.core import avro
from pipeline.core.block import certified_body, parse_certified
from pipeline.core.topics import Topics
from schemas import schema

ADMITTED: Final = "admitted"
_PATIENCE_S: Final = 40.0
_FETCH: Final = 500
_WAIT_MS: Final = 200
_REJECTION: Final = schema("Rejection")


class Fates:
    """Follows dead letters and blocks from their beginnings while ``run`` runs."""

    def __init__(self, connection: KafkaConnection, topics: Topics) -> None:
        self._connection, self._topics = connection, topics
        self.refused: dict[bytes, str] = {}
        self.committed: Counter[bytes] = Counter()
        self.blocks: list[bytes] = []
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(self._topics.rejected, self._letter))
            group.create_task(self._follow(self._topics.blocks, self._block))

    async def of(self, value: bytes, timeout_s: float = _PATIENCE_S) -> str:
        """Return what became of a framed value: ``admitted``, or the reason of its refusal.

        Raises:
            TimeoutError: nobody told in time.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            while (found := self._known(value)) is None:
                await self._changed.wait()
        return found

    def forget(self, value: bytes) -> None:
        """Wait anew for what becomes of a value that was sent before."""
        self.refused.pop(value, None)
        del self.committed[value[avro.FRAME_BYTES :]]

    def _known(self, value: bytes) -> str | None:
        if value in self.refused:
            return self.refused[value]
        return ADMITTED if self.committed[value[avro.FRAME_BYTES :]] else None

    async def _follow(self, topic: str, take: Callable[[bytes], None]) -> None:
        reader = KafkaPartitionReader(self._connection, topic, 0)
        try:
            first, _ = await reader.bounds()
            await reader.seek(first)
            while True:
                records = await reader.fetch(_FETCH, _WAIT_MS)
                async with self._changed:
                    for record in records:
                        take(record.value or b"")
                    self._changed.notify_all()
        finally:
            await reader.close()

    def _letter(self, value: bytes) -> None:
        letter = avro.unframe(_REJECTION, value)
        if letter is not None:
            self.refused[letter["value"]] = letter["reason"]

    def _block(self, value: bytes) -> None:
        parsed = parse_certified(certified_body(value))
        if parsed is not None:
            self.blocks.append(value)
            self.committed.update(entry.payload for entry in parsed[0].entries)
