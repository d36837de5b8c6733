"""A faulty producer and a consumer group's member over lists; both assert what the real ones can't."""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pipeline.core import avro
from pipeline.core.errors import ConflictError, TransientError
from pipeline.ports import Outgoing, Received
from schemas import schema
from tests.support.world import NOW_MS

Place = tuple[str, int, int]


def received(
    values: Sequence[bytes | None], topic: str = "t", partition: int = 0, time_ms: int = NOW_MS
) -> list[Received]:
    """Return values as the records of a partition from offset 0."""
    return [Received(topic, partition, offset, time_ms, None, value) for offset, value in enumerate(values)]


class Fault(Enum):
    """What goes wrong with one call, and what of it takes effect."""

    NONE = "none"
    LOST = "nothing takes effect"
    HALF = "every second record takes effect"
    DONE = "everything takes effect, and the answer is lost"


class FakeProducer:
    """Keeps what was sent by topic; ``faults`` are used up call by call."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.topics: dict[str, list[Outgoing]] = {}
        self.admitted: set[bytes | None] = set()
        self.refused: set[Place] = set()
        self.faults = deque(faults)
        self.is_closed = False

    def values(self, topic: str) -> list[bytes | None]:
        return [record.value for record in self.topics.get(topic, [])]

    async def send(self, batch: Sequence[Outgoing]) -> None:
        fault = self.faults.popleft() if self.faults else Fault.NONE
        kept = {Fault.LOST: batch[:0], Fault.HALF: batch[::2]}.get(fault, batch)
        for record in kept:
            self.topics.setdefault(record.topic, []).append(record)
            place = _refused_place(record)
            if place is None:
                self.admitted.add(record.value)
            else:
                self.refused.add(place)
        if fault is not Fault.NONE:
            raise TransientError("the broker does not answer", code="kafka")

    async def close(self) -> None:
        self.is_closed = True


class FakeGroupReader:
    """A consumer group's member over lists. Asserts that nothing is committed before it was sent.

    ``faults`` strike commits: LOST and DONE are an absent broker, HALF is a rebalance.
    """

    def __init__(
        self,
        partitions: Mapping[int, Sequence[bytes | None]],
        producer: FakeProducer,
        *,
        topic: str = "kpi.packets.v1",
        faults: Sequence[Fault] = (),
    ) -> None:
        self.logs = {number: received(values, topic, number) for number, values in partitions.items()}
        self.committed = dict.fromkeys(self.logs, 0)
        self.faults = deque(faults)
        self.held: dict[int, int] = {}
        self._producer, self._topic = producer, topic
        self._positions = dict.fromkeys(self.logs, 0)
        self._batch: dict[int, int] | None = None
        self.is_closed = False

    @property
    def is_done(self) -> bool:
        """Whether everything is committed."""
        return all(self.committed[number] == len(log) for number, log in self.logs.items())

    def append(self, partition: int, value: bytes) -> None:
        """Let one more record arrive."""
        values = [record.value for record in self.logs[partition]]
        self.logs[partition] = received([*values, value], self._topic, partition)

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        assert self._batch is None, "the batch before was neither committed nor rewound"
        assert timeout_ms > 0
        found: list[Received] = []
        starts = dict(self._positions)
        for number, log in self.logs.items():
            if number not in self.held:
                start = self._positions[number]
                part = log[start : start + max_records - len(found)]
                self._positions[number] += len(part)
                found += part
        self._batch = starts if found else None
        return found

    async def commit(self, positions: Mapping[int, int]) -> None:
        assert self._batch is not None, "nothing to commit"
        for number, position in positions.items():
            assert position <= self._positions[number]
            for record in self.logs[number][self.committed[number] : position]:
                assert self._was_sent(record), f"offset {record.offset} is committed but was never sent"
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.HALF:
            self._positions = dict(self.committed)
            self._batch = None
            raise ConflictError("the group rebalanced", code="rebalanced")
        if fault is not Fault.LOST:
            self.committed |= positions
        if fault is not Fault.NONE:
            raise TransientError("the broker does not answer", code="kafka")
        self._batch = None

    async def rewind(self) -> None:
        if self._batch is not None:
            self._positions, self._batch = self._batch, None

    async def hold(self, partition: int, offset: int) -> None:
        assert offset == self.committed[partition], "held at another offset than the next to be committed"
        self._positions[partition] = offset
        self.held[partition] = offset

    async def release(self, partition: int) -> None:
        del self.held[partition]

    def appended(self) -> dict[int, int]:
        return {number: len(log) for number, log in self.logs.items()}

    async def lag(self) -> dict[int, int]:
        return {number: len(log) - self.committed[number] for number, log in self.logs.items()}

    async def close(self) -> None:
        self.is_closed = True

    def _was_sent(self, record: Received) -> bool:
        place = (record.topic, record.partition, record.offset)
        return record.value in self._producer.admitted or place in self._producer.refused


def _refused_place(outgoing: Outgoing) -> Place | None:
    fields = read_rejection(outgoing)
    return (fields["topic"], fields["partition"], fields["offset"]) if fields else None


def read_rejection(outgoing: Outgoing) -> dict[str, Any] | None:
    """Return the fields of a dead letter, None for anything else."""
    return avro.unframe(schema("Rejection"), outgoing.value or b"")
