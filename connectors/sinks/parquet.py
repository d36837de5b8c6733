"""The Parquet sink: takes over the observations topic into files, each value once.

Owns when to commit and what counts as a repetition. The platform may send a packet twice, and all of them again when
its store was lost; within a partition packets come in the order of the chain otherwise. So what is beyond a partition's
mark is new, and only what is not is looked up in the files.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from connectors.sinks.parquet_folder import FolderPosition, Mark, ParquetFolder, PartitionPosition, value_hash
from connectors.sinks.parquet_rows import Columns, PacketValues, PartKey, read_message
from pipeline.core.errors import TransientError
from pipeline.ports import Received
from pipeline.telemetry import parquet_metrics as metrics
from pipeline.telemetry.logs import logger

FETCH_RECORDS: Final = 500
FETCH_TIMEOUT_MS: Final = 500
_LAG_EVERY_S: Final = 15.0
_PROBE_S: Final = 20.0
_log = logger(__name__)


class TopicReader(Protocol):
    """Reads all partitions of a topic from positions that the caller keeps."""

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Return of each partition the first offset held and the one after the last."""

    async def seek(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, and no others, from these offsets on."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, in order within each partition, none if the time ran out."""

    async def close(self) -> None:
        """Leave the broker."""


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When to commit: at so many values, or when the oldest has waited so long (milliseconds)."""

    rows: int
    after_ms: int


class ParquetSink:
    """Opened, stepped and closed by its runtime, which repeats what raised ``TransientError``."""

    def __init__(self, reader: TopicReader, folder: ParquetFolder, flush: FlushPolicy) -> None:
        self._reader = reader
        self._folder = folder
        self._flush = flush
        self._position: FolderPosition | None = None
        self._next: dict[int, PartitionPosition] = {}
        self._parts: dict[PartKey, Columns] = {}
        self._codes: set[str] = set()
        self._rows = 0
        self._waiting_since_s: float | None = None
        self._looked_at_s = -_LAG_EVERY_S

    @property
    def is_ready(self) -> bool:
        """Whether files and topic were found to fit and values are taken over."""
        return self._position is not None

    async def open(self) -> None:
        """Open the folder, and go to where its files end in the topic.

        Raises:
            ConfigError: the folder is another topic's, or the topic can't be read by us.
            IntegrityError: the position of the files can't be read.
            TransientError: Kafka is not there, or the disk refuses.
        """
        self._position = None
        self._forget()
        position = await asyncio.to_thread(self._folder.open)
        bounds = await self._reader.bounds()
        self._next = {
            number: await self._checked(number, position, first, end)
            for number, (first, end) in bounds.items()
        }
        await self._reader.seek({number: item.next for number, item in self._next.items()})
        self._position = position

    async def step(self) -> int:
        """Take over what is next, commit when it is time; return how many records were read.

        Raises:
            IntegrityError: code ``offset_out_of_range``: retention overtook us; a restart goes on behind the gap.
            TransientError: Kafka is not there, or the disk refuses; what was not committed is read again.
        """
        if self._position is None:
            await self.open()
        try:
            records = await self._reader.fetch(FETCH_RECORDS, FETCH_TIMEOUT_MS)
            for record in records:
                await self._take(record)
            if self._is_time():
                await self._commit()
            await self._look_around()
        except TransientError:
            # Whether a commit took effect is seen when the folder is opened again.
            self._position = None
            raise
        return len(records)

    async def close(self) -> None:
        """Commit what was taken over, and leave Kafka."""
        try:
            if self._position is not None and self._waiting_since_s is not None:
                await self._commit()
        finally:
            await self._reader.close()

    async def _checked(
        self, number: int, position: FolderPosition, first: int, end: int
    ) -> PartitionPosition:
        """Return where to go on in a partition: at its beginning where the position is not of this topic."""
        known = position.partitions.get(number)
        if known is None:
            # A partition that is new beside others may hold sites that were in those: nothing in it is new unseen.
            return PartitionPosition(first, b"", _highest(position) if position.partitions else {})
        found = known.copy()
        if found.next < first:
            metrics.EXPIRED.inc(first - found.next)
            _log.warning("observations_expired", partition=number, records=first - found.next)
            found.next = first
        elif found.next > end or (found.next > first and not await self._is_last(number, found)):
            metrics.REPLAYS.inc()
            _log.warning("observations_replaced", partition=number, read_again_from=first)
            found.next = first
        return found

    async def _is_last(self, number: int, known: PartitionPosition) -> bool:
        """Tell whether the record before the position is the one that was taken over last."""
        await self._reader.seek({number: known.next - 1})
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _PROBE_S
        while loop.time() < deadline_s:
            for record in await self._reader.fetch(1, FETCH_TIMEOUT_MS):
                return value_hash(record.value) == known.last
        raise TransientError("Kafka does not hand out the record before the position", code="kafka")

    async def _take(self, record: Received) -> None:
        position = self._next[record.partition]
        packet = read_message(record.value)
        if packet is None:
            metrics.BAD.inc()
            _log.warning("bad_observations", partition=record.partition, offset=record.offset)
        elif await self._is_new(packet, position):
            for key, rows in packet.rows.items():
                self._parts.setdefault(key, Columns()).extend(rows)
                self._rows += len(rows)
            self._codes.add(packet.code)
        else:
            metrics.REPEATED.inc()
        position.next, position.last = record.offset + 1, value_hash(record.value)
        if self._waiting_since_s is None:
            self._waiting_since_s = asyncio.get_running_loop().time()

    async def _is_new(self, packet: PacketValues, position: PartitionPosition) -> bool:
        mark, place = position.marks.get(packet.place.chain), (packet.place.height, packet.place.entry)
        if mark is None or place > mark:
            position.marks[packet.place.chain] = place
            return True
        if packet.code in self._codes:
            return False
        # All values of a packet are in one commit, so that one of its parts tells for all.
        key = next(iter(packet.rows), None)
        return key is not None and not await asyncio.to_thread(self._folder.holds, key, packet.code)

    def _is_time(self) -> bool:
        if self._waiting_since_s is None:
            return False
        waited_s = asyncio.get_running_loop().time() - self._waiting_since_s
        return self._rows >= self._flush.rows or waited_s * 1000 >= self._flush.after_ms

    async def _commit(self) -> None:
        assert self._position is not None  # noqa: S101  opened first
        partitions = {number: item.copy() for number, item in self._next.items()}
        position = FolderPosition(self._position.commit + 1, partitions)
        parts, rows = self._parts, self._rows
        with metrics.COMMIT_SECONDS.time():
            size = await asyncio.to_thread(self._folder.commit, position, parts)
        self._position = position
        self._forget()
        metrics.ROWS.inc(rows)
        metrics.FILES.inc(len(parts))
        metrics.BYTES.inc(size)

    def _forget(self) -> None:
        self._parts, self._codes, self._rows, self._waiting_since_s = {}, set(), 0, None

    async def _look_around(self) -> None:
        """Now and then: how far behind are we, and did the topic get more partitions?"""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s < _LAG_EVERY_S or self._position is None:
            return
        self._looked_at_s = now_s
        bounds = await self._reader.bounds()
        done = self._position.partitions
        metrics.LAG.set(
            sum(end - max(first, done[n].next if n in done else 0) for n, (first, end) in bounds.items())
        )
        if bounds.keys() - self._next.keys():
            await self._commit()
            self._position = None


def _highest(position: FolderPosition) -> dict[bytes, Mark]:
    """Return the highest mark of each chain over all partitions."""
    found: dict[bytes, Mark] = {}
    for item in position.partitions.values():
        for chain, mark in item.marks.items():
            found[chain] = max(mark, found.get(chain, mark))
    return found
