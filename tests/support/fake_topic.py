"""A topic in memory for readers of whole topics; it can be cut, replaced, and have more partitions."""

from collections.abc import Mapping, Sequence

from pipeline.core.errors import IntegrityError, TransientError
from pipeline.ports import Received


class FakeTopic:
    """Values by partition; offsets begin at ``firsts``, broker times rise over all partitions."""

    def __init__(
        self, partitions: Mapping[int, Sequence[bytes | None]], name: str = "kpi.observations.v1"
    ) -> None:
        self.name = name
        self.logs: dict[int, list[Received]] = {}
        self.firsts: dict[int, int] = {}
        self.is_away = False
        self._time_ms = 1_000
        for partition, values in partitions.items():
            self.logs[partition], self.firsts[partition] = [], 0
            self.append(partition, *values)

    def append(self, partition: int, *values: bytes | None) -> None:
        """Let records arrive."""
        log = self.logs.setdefault(partition, [])
        self.firsts.setdefault(partition, 0)
        for value in values:
            offset = log[-1].offset + 1 if log else self.firsts[partition]
            self._time_ms += 1
            log.append(Received(self.name, partition, offset, self._time_ms, b"key", value))

    def expire(self, partition: int, before: int) -> None:
        """Let retention remove what is below an offset."""
        self.logs[partition] = [record for record in self.logs[partition] if record.offset >= before]
        self.firsts[partition] = before

    def end(self, partition: int) -> int:
        """The offset after the last record."""
        log = self.logs[partition]
        return log[-1].offset + 1 if log else self.firsts[partition]


class FakeTopicReader:
    """Reads a ``FakeTopic`` as the real one reads Kafka; ``step`` records at a time at most."""

    def __init__(self, topic: FakeTopic, step: int = 3) -> None:
        self.topic = topic
        self.step = step
        self._positions: dict[int, int] = {}

    async def bounds(self) -> dict[int, tuple[int, int]]:
        self._check()
        return {number: (self.topic.firsts[number], self.topic.end(number)) for number in self.topic.logs}

    async def seek(self, positions: Mapping[int, int]) -> None:
        self._positions = dict(positions)

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        self._check()
        assert timeout_ms > 0
        found: list[Received] = []
        for number, position in self._positions.items():
            if not self.topic.firsts[number] <= position <= self.topic.end(number):
                raise IntegrityError("the position is not in the log", code="offset_out_of_range")
            log = [record for record in self.topic.logs[number] if record.offset >= position]
            part = log[: min(self.step, max_records - len(found))]
            if part:
                self._positions[number] = part[-1].offset + 1
            found += part
        return found

    @property
    def is_done(self) -> bool:
        """Whether everything was handed out."""
        return all(self._positions.get(number) == self.topic.end(number) for number in self.topic.logs)

    async def close(self) -> None:
        self._positions = {}

    def _check(self) -> None:
        if self.topic.is_away:
            raise TransientError("Kafka is away", code="kafka")
