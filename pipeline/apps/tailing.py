"""Following a topic for a person or a pipe: where to start, which rows to show, when to end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import Final, Protocol

from pipeline.apps.cli.row_output import KAFKA_FIELD
from pipeline.apps.cli.values import gmt_ms
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.topic_rows import Row, rows_of
from pipeline.core.where import Condition
from pipeline.ports import Received
from schemas import Schema

DEFAULT_ROWS: Final = 10
BEGINNING: Final = "beginning"
END: Final = "end"
KAFKA_FIELDS: Final = ("topic", "partition", "offset", "time", "key")
_FETCH_RECORDS: Final = 500
_FETCH_TIMEOUT_MS: Final = 500
_RETRY_S: Final = 1.0


class TopicReader(Protocol):
    """Reads all partitions of a topic from positions."""

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Return of each partition the first offset held and the one after the last."""

    async def offsets_at(self, time_ms: int, partitions: Mapping[int, object]) -> dict[int, int]:
        """Return the first offset of each partition at or after a broker time, where there is one."""

    async def seek(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, none if the time ran out."""

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition."""


@dataclass(frozen=True, slots=True)
class TailPlan:
    """What to show.

    ``start`` is where from: ``beginning``, ``end``, an offset, or a time; without it the last rows are shown.
    ``rows`` is how many, None for all from ``start`` on. ``follow`` waits for more after the end.
    """

    start: str | None = None
    rows: int | None = None
    follow: bool = False
    condition: Condition | None = None

    @property
    def wanted(self) -> int:
        """How many of the last rows to show."""
        return DEFAULT_ROWS if self.rows is None else self.rows


async def tail_rows(reader: TopicReader, schemas: Sequence[Schema], plan: TailPlan) -> AsyncIterator[Row]:
    """Yield the rows that the plan wants, each with its record's place under ``kafka``.

    Raises:
        ConfigError: the start is no such thing, or the topic can't be read by us.
        TransientError: Kafka is away; while following it is waited for instead.
    """
    bounds = await reader.bounds()
    ends = {partition: end for partition, (_, end) in bounds.items()}
    await reader.seek(await _start(reader, bounds, plan))
    if plan.start is None:
        for row in await _last(_until(reader, schemas, plan, ends), plan.wanted):
            yield row
        rows = _follow(reader, schemas, plan)
        left = None if plan.follow else 0
    else:
        rows = _follow(reader, schemas, plan) if plan.follow else _until(reader, schemas, plan, ends)
        left = plan.rows
    if left == 0:
        return
    async for row in rows:
        yield row
        if left is not None and (left := left - 1) == 0:
            return


async def _last(rows: AsyncIterator[Row], wanted: int) -> list[Row]:
    """Return the last rows by broker time, in that order, holding no more than these."""
    held: list[tuple[tuple[int, ...], Row]] = []
    number = 0
    async for row in rows:
        kafka, number = row[KAFKA_FIELD], number + 1
        heappush(held, ((kafka["time"], kafka["partition"], kafka["offset"], number), row))
        if len(held) > wanted:
            heappop(held)
    return [row for _, row in sorted(held)]


async def _start(
    reader: TopicReader, bounds: Mapping[int, tuple[int, int]], plan: TailPlan
) -> dict[int, int]:
    firsts = {partition: first for partition, (first, _) in bounds.items()}
    ends = {partition: end for partition, (_, end) in bounds.items()}
    start = plan.start
    if start is None:
        # A condition may leave out any number of rows: then the last ones can be anywhere.
        back = None if plan.condition else plan.wanted
        return {at: firsts[at] if back is None else max(firsts[at], ends[at] - back) for at in bounds}
    if start in (BEGINNING, END):
        return firsts if start == BEGINNING else ends
    if start.isascii() and start.isdigit():
        return {at: min(max(firsts[at], int(start)), ends[at]) for at in bounds}
    return ends | await reader.offsets_at(_time_ms(start), bounds)


def _time_ms(start: str) -> int:
    try:
        return gmt_ms(datetime.fromisoformat(start))
    except ValueError:
        raise ConfigError(
            f"--from {start!r}: write {BEGINNING}, {END}, an offset, or a time such as 2026-11-20T14:00 (GMT)"
        ) from None


async def _until(
    reader: TopicReader, schemas: Sequence[Schema], plan: TailPlan, ends: Mapping[int, int]
) -> AsyncIterator[Row]:
    """Yield what stands before ``ends``."""
    while any(position < ends[partition] for partition, position in reader.positions().items()):
        for record in await reader.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS):
            if record.offset < ends[record.partition]:
                for row in _matching(record, schemas, plan.condition):
                    yield row


async def _follow(reader: TopicReader, schemas: Sequence[Schema], plan: TailPlan) -> AsyncIterator[Row]:
    """Yield what comes, for ever."""
    while True:
        try:
            records = await reader.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS)
        except TransientError:
            await asyncio.sleep(_RETRY_S)
            continue
        for record in records:
            for row in _matching(record, schemas, plan.condition):
                yield row


def _matching(record: Received, schemas: Sequence[Schema], condition: Condition | None) -> list[Row]:
    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": record.time_ms,
        "key": _key_text(record.key),
    }
    rows = [{KAFKA_FIELD: place, **row} for row in rows_of(schemas, record.value)]
    return [row for row in rows if condition is None or condition.is_met(row)]


def _key_text(key: bytes | None) -> str | None:
    """Return a key as the text that it is, else in hex."""
    if key is None:
        return None
    shown = key.decode("ascii", "replace")
    return shown if shown.isascii() and shown.isprintable() else key.hex()
