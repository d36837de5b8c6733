"""Topics of one partition in memory, as several simulated processes see them, with what a network does to them.

Every record ever appended stays in ``Topic.records``; ``Topic.first`` is where readers still find it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pipeline.core.errors import IntegrityError, TransientError
from pipeline.ports import Outgoing, Received
from tests.support.world import NOW_MS
from tests.support.write_faults import Process

_LATENCY_S = 0.002


class Delivery(Enum):
    """What becomes of one batch, beside the faults of its sender."""

    GOOD = "taken once"
    DOUBLED = "taken twice"
    HALF = "first half taken, failure reported"
    LATE = "failure reported, taken later"
    SWALLOWED = "acknowledged and lost, on a topic that may lose records; else taken once"


@dataclass
class Topic:
    """One partition."""

    name: str
    records: list[Received] = field(default_factory=list)
    first: int = 0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return len(self.records)


class Broker:
    """Topics by name, stamped by the broker's clock, which is wrong by ``skew_ms``; one topic may lose records."""

    def __init__(self, loop: asyncio.AbstractEventLoop, may_lose: str) -> None:
        self._loop = loop
        self.may_lose = may_lose
        self._topics: dict[str, Topic] = {}
        self.skew_ms = 0
        self.late: list[Outgoing] = []
        self.fetch_limit = 2000

    def now_ms(self) -> int:
        """Return the time of a right clock."""
        return NOW_MS + int(self._loop.time() * 1000)

    def topic(self, name: str) -> Topic:
        """Return a topic."""
        return self._topics.setdefault(name, Topic(name))

    def lose(self, name: str) -> None:
        """Put an empty topic in the place of one; only readers made from now on see it."""
        self._topics[name] = Topic(name)

    def append(self, batch: Sequence[Outgoing]) -> None:
        """Take records, all with the same time."""
        for outgoing in batch:
            topic, time_ms = self.topic(outgoing.topic), self.now_ms() + self.skew_ms
            topic.records.append(Received(topic.name, 0, topic.end, time_ms, outgoing.key, outgoing.value))
            for future in topic.waiting:
                if not future.done():
                    future.set_result(None)
            topic.waiting.clear()

    def deliver_late(self, count: int) -> None:
        """Let the oldest batches' records that are under way arrive."""
        arriving, self.late = self.late[:count], self.late[count:]
        self.append(arriving)


class SimulatedReader:
    """``PartitionReader`` over a topic."""

    def __init__(self, broker: Broker, topic: str, process: Process) -> None:
        self._broker, self._topic, self._process = broker, broker.topic(topic), process
        self._next: int | None = None

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""
        self._process.check(remote=False)
        self._next = offset

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, none if the time ran out."""
        await asyncio.sleep(_LATENCY_S)
        assert self._next is not None, "fetch before seek"
        topic = self._topic
        if self._next == topic.end:
            future = asyncio.get_running_loop().create_future()
            topic.waiting.append(future)
            await asyncio.wait([future], timeout=timeout_ms / 1000)
        self._process.check()
        if not topic.first <= self._next <= topic.end:
            raise IntegrityError("the position is not in the log", code="offset_out_of_range")
        count = min(max_records, self._broker.fetch_limit)
        found = topic.records[self._next : self._next + count]
        self._next += len(found)
        return found

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset held and the one after the last."""
        await asyncio.sleep(_LATENCY_S)
        self._process.check()
        return self._topic.first, self._topic.end

    async def close(self) -> None:
        """Leave."""


class SimulatedProducer:
    """``Producer`` to a broker; ``next_delivery`` says what becomes of the next batch."""

    def __init__(self, broker: Broker, process: Process, next_delivery: Callable[[], Delivery]) -> None:
        self._broker, self._process, self._next_delivery = broker, process, next_delivery

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take a batch."""
        assert batch
        await asyncio.sleep(_LATENCY_S)
        self._process.check()
        self._process.write(lambda: self._take(batch))
        await asyncio.sleep(_LATENCY_S)
        self._process.check(remote=False)

    def _take(self, batch: Sequence[Outgoing]) -> None:
        delivery = self._next_delivery()
        if delivery is Delivery.SWALLOWED and batch[0].topic == self._broker.may_lose:
            return
        if delivery is Delivery.LATE:
            self._broker.late.extend(batch)
        else:
            half = delivery is Delivery.HALF
            self._broker.append(batch[: len(batch) // 2] if half else batch)
        if delivery is Delivery.DOUBLED:
            self._broker.append(batch)
        if delivery in (Delivery.LATE, Delivery.HALF):
            raise TransientError("the broker does not answer", code="kafka")

    async def close(self) -> None:
        """Leave."""


class SimulatedTrimmer:
    """``Trimmer`` of a broker."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete records below offset ``before``."""
        assert partition == 0
        await asyncio.sleep(_LATENCY_S)
        self._process.check()
        log = self._broker.topic(topic)
        assert before <= log.end

        def cut() -> None:
            log.first = max(log.first, before)

        self._process.write(cut)
