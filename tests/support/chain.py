"""A growing test chain and an in-memory topic: values in, certified blocks out.

``MemoryReader`` and ``MemoryProducer`` are the ports of one topic and refuse what Kafka would refuse.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.ports import Outgoing, Received
from tests.support.world import NOW_MS, PERIOD_MS, TestSite, World, control_value, packet_value

_LONGEST_WAIT_MS = 10


class Chain:
    """A world whose chain log is derived into blocks as it grows."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.deriver = Deriver(self.world.state())
        self.blocks: list[Derived] = []
        self._offset = 0
        self._time = NOW_MS

    @property
    def certified(self) -> list[bytes]:
        """The encoded certified blocks so far."""
        return [self.world.certified(derived) for derived in self.blocks]

    def add(self, value: bytes) -> None:
        """Append one framed value to the chain log."""
        fed = self.deriver.feed(LogRecord(self._offset, self._time, value))
        self.blocks.extend(fed.closed)
        self._offset += 1

    def close(self) -> None:
        """End the period, so that what was added becomes a block."""
        self._time += PERIOD_MS
        self.add(TICK_VALUE)

    def block(self, *values: bytes) -> None:
        """Append values and close their block."""
        for value in values:
            self.add(value)
        self.close()

    def enrol(self, *sites: TestSite) -> None:
        """Enrol sites in a block of their own."""
        self.block(*(control_value(raw) for site in sites for raw in self.world.enrolment(site)))

    def packets(self, *raws: bytes) -> None:
        """Put packets into a block of their own."""
        self.block(*map(packet_value, raws))


def framed(certified: bytes) -> bytes:
    """Frame a certified block for Kafka."""
    return avro.frame(CERTIFIED_BLOCK, certified)


@dataclass
class MemoryTopic:
    """One partition; ``first`` is the offset of the first record still held."""

    name: str = "kpi.blocks.v1"
    values: list[bytes | None] = field(default_factory=list)
    first: int = 0

    def publish(self, certified: Sequence[bytes]) -> None:
        """Append certified blocks, framed."""
        self.values.extend(map(framed, certified))


class MemoryReader:
    """``PartitionReader`` over a ``MemoryTopic``."""

    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic
        self._next: int | None = None
        self.fail_next = 0
        self.closed = False

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""
        assert offset >= 0
        self._next = offset

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records."""
        assert self._next is not None, "fetch before seek"
        assert max_records > 0
        assert timeout_ms >= 0
        if self.fail_next:
            self.fail_next -= 1
            raise TransientError("Kafka is away", code="kafka")
        topic = self._topic
        if not topic.first <= self._next <= len(topic.values):
            raise IntegrityError("the position is not in the log", code="offset_out_of_range")
        values = topic.values[self._next : self._next + max_records]
        found = [Received(topic.name, 0, self._next + i, NOW_MS, None, v) for i, v in enumerate(values)]
        self._next += len(found)
        if not found:
            await asyncio.sleep(min(timeout_ms, _LONGEST_WAIT_MS) / 1000)
        return found

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset held and the one after the last."""
        return self._topic.first, len(self._topic.values)

    async def close(self) -> None:
        """Leave."""
        self.closed = True


class MemoryProducer:
    """``Producer`` that keeps what it was sent; ``fail_after`` sends before it fails once, part of the batch sent."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.sent: list[Outgoing] = []
        self.fail_after = fail_after

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take a batch."""
        assert batch
        if self.fail_after == 0:
            self.fail_after = None
            self.sent.extend(batch[: len(batch) // 2])
            raise TransientError("Kafka is away", code="kafka")
        if self.fail_after is not None:
            self.fail_after -= 1
        self.sent.extend(batch)

    async def close(self) -> None:
        """Leave."""
