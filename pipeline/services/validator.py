"""Validator: lets genuine packets of enrolled sites through to the chain log, unchanged, and nothing else.

A filter only: it keeps load and rubbish from the accounting nodes, which judge every record again by the full
rules. So it never has to be right about continuation, time or key offers, and knows nothing of them. Order of
steps: judge, send (admitted and refused together), and only then commit; whatever fails in between is read and
sent again, which the nodes recognise as duplicates. Several validators share the topic as one consumer group.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA, SignatureCheck, parse_value
from pipeline.core.errors import ConflictError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES, Packet
from pipeline.core.topics import Topics
from pipeline.ports import Clock, GroupReader, Outgoing, Producer, Received
from pipeline.services.rate_limit import RateLimit
from pipeline.services.registrations import Registrations
from pipeline.services.rejection import rejection
from pipeline.services.signatures import SignaturePool
from pipeline.telemetry import metrics as worker_metrics
from pipeline.telemetry import spans
from pipeline.telemetry import validator_metrics as metrics
from pipeline.telemetry.logs import logger

STAGE: Final = "validator"
BATCH_RECORDS: Final = 512
_CHUNK_RECORDS: Final = 64
_FETCH_TIMEOUT_MS: Final = 500
_CATCH_UP_TIMEOUT_S: Final = 5.0
_LAG_INTERVAL_S: Final = 5.0
_MAX_VALUE_BYTES: Final = MAX_PACKET_BYTES + avro.FRAME_BYTES
# Refusals that a registration on its way to us would change.
_DOUBTFUL: Final = frozenset({Outcome.UNKNOWN_SITE, Outcome.WRONG_KEY, Outcome.INACTIVE_SITE})

_log = logger(__name__)


def parse_submitted(value: bytes | None) -> Packet | Outcome:
    """Return the packet that a value of the packets topic holds, or why it is refused. Total.

    The topic takes packets only: control records and ticks have their own way to the chain log.
    """
    if value and len(value) <= _MAX_VALUE_BYTES and avro.frame_id(value) != PACKET_SCHEMA.id:
        return Outcome.FOREIGN_SCHEMA
    parsed = parse_value(value)
    return parsed if isinstance(parsed, Packet | Outcome) else Outcome.FOREIGN_SCHEMA


@dataclass(slots=True)
class _Item:
    """A record under judgement: ``verdict`` is the key to check with until the outcome is known."""

    record: Received
    packet: Packet | None
    verdict: PublicKey | Outcome


class Validator:
    """One member of the group of validators. Its owner calls ``open``, then ``step`` again and again, then ``close``.

    ``rate`` None lets every site send as fast as it likes. ``threads`` verify signatures.
    """

    def __init__(
        self,
        genesis: Genesis,
        topics: Topics,
        *,
        reader: GroupReader,
        producer: Producer,
        registrations: Registrations,
        clock: Clock,
        rate: RateLimit[SiteName] | None = None,
        threads: int | None = None,
        batch_records: int = BATCH_RECORDS,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._genesis = genesis
        self._rejected_topic = topics.rejected
        self._reader = reader
        self._producer = producer
        self._registrations = registrations
        self._clock = clock
        self._rate = rate
        self._pool = SignaturePool(threads or os.cpu_count() or 1)
        self._batch_records = batch_records
        self._monotonic_s = monotonic_s
        self._held: dict[int, float] = {}
        self._covered: dict[int, int] = {}
        self._lag_due_s = 0.0
        self._is_open = False

    @property
    def is_ready(self) -> bool:
        """Whether all registrations have been read, so that work can begin."""
        return self._is_open

    async def open(self) -> None:
        """Read all site registrations before the first packet is judged.

        Raises:
            TransientError: Kafka is not there.
        """
        worker_metrics.show_zeros(metrics.OUTCOMES, [(outcome.label,) for outcome in Outcome])
        await self._registrations.load()
        self._is_open = True
        _log.info("validator_ready", sites=len(self._registrations.directory))

    async def step(self) -> None:
        """Take one batch through, or wait a moment for one.

        Raises:
            TransientError: Kafka is not there; the batch is read again at the next step.
        """
        await self._registrations.refresh()
        wait_ms = await self._release_held()
        records = await self._reader.fetch(self._batch_records, wait_ms)
        if records:
            began = self._monotonic_s()
            await self._process(records)
            metrics.BATCH_SECONDS.observe(self._monotonic_s() - began)
        await self._measure_lag()

    async def close(self) -> None:
        """Leave the group first, so that others take over at once, then let everything go."""
        self._is_open = False
        await self._reader.close()
        await self._producer.close()
        await self._registrations.close()
        self._pool.close()

    async def _process(self, records: Sequence[Received]) -> None:
        try:
            items = await self._judge(records)
            items, holds = self._within_rate(items)
            await self._send(items)
            await self._reader.commit(_next_offsets(items))
        except ConflictError:
            # Whoever holds the partitions now starts at the last commit, so nothing of the batch is lost.
            metrics.ABANDONED.inc()
            await self._reader.rewind()
            return
        except BaseException:
            await self._reader.rewind()
            raise
        for partition, (offset, until_s) in holds.items():
            self._held[partition] = until_s
            await self._reader.hold(partition, offset)
        self._count(items)

    async def _judge(self, records: Sequence[Received]) -> list[_Item]:
        """Decide every record; parsing goes on while other cores verify signatures."""
        items: list[_Item] = []
        checks: list[asyncio.Task[SignatureCheck]] = []
        try:
            for start in range(0, len(records), _CHUNK_RECORDS):
                chunk = [self._examine(record) for record in records[start : start + _CHUNK_RECORDS]]
                items += chunk
                checks.append(self._start_check(chunk))
                await asyncio.sleep(0)  # lets heartbeats through
            results = await asyncio.gather(*checks)
        finally:
            for task in checks:
                task.cancel()
        for number, check in enumerate(results):
            _settle(items[number * _CHUNK_RECORDS : (number + 1) * _CHUNK_RECORDS], check)
        await self._reconsider([item for item in items if item.verdict in _DOUBTFUL])
        return items

    def _examine(self, record: Received) -> _Item:
        parsed = parse_submitted(record.value)
        if not isinstance(parsed, Packet):
            return _Item(record, None, parsed)
        return _Item(record, parsed, self._registrations.directory.look_up(parsed, record.time_ms))

    def _start_check(self, items: Sequence[_Item]) -> asyncio.Task[SignatureCheck]:
        pairs = [
            (item.verdict, item.packet)
            for item in items
            if isinstance(item.verdict, PublicKey) and item.packet is not None
        ]
        return asyncio.create_task(self._pool.check(pairs))

    async def _reconsider(self, doubtful: Sequence[_Item]) -> None:
        """Judge again what looks unregistered, by all registrations that were there when it was appended.

        One look at the end of the registrations covers every record appended before, so a flood costs few.
        """
        if not doubtful:
            return
        ends = _next_offsets(doubtful)
        if any(end > self._covered.get(partition, 0) for partition, end in ends.items()):
            appended = ends | self._reader.appended()
            await self._registrations.catch_up(_CATCH_UP_TIMEOUT_S)
            self._covered |= appended
        for item in doubtful:
            if item.packet is not None:
                item.verdict = self._registrations.directory.look_up(item.packet, item.record.time_ms)
        _settle(doubtful, await self._start_check(doubtful))

    def _within_rate(self, items: list[_Item]) -> tuple[list[_Item], dict[int, tuple[int, float]]]:
        """Cut each partition before the first packet beyond its site's rate; say until when to hold it."""
        if self._rate is None:
            return items, {}
        now_s = self._monotonic_s()
        kept: list[_Item] = []
        holds: dict[int, tuple[int, float]] = {}
        for item in items:
            partition = item.record.partition
            if partition in holds:
                continue
            if item.verdict is Outcome.ADMITTED and item.packet is not None:
                delay_s = self._rate.take(item.packet.site, now_s)
                if delay_s > 0:
                    holds[partition] = (item.record.offset, now_s + delay_s)
                    metrics.DELAYS.inc()
                    continue
            kept.append(item)
        return kept, holds

    async def _send(self, items: Sequence[_Item]) -> None:
        batch = [self._outgoing(item) for item in items]
        if not batch:
            return
        try:
            await self._producer.send(batch)
        except TransientError:
            worker_metrics.SEND_FAILURES.inc()
            raise

    def _outgoing(self, item: _Item) -> Outgoing:
        record = item.record
        if item.verdict is Outcome.ADMITTED:
            return Outgoing(self._genesis.topic, record.value, partition=self._genesis.partition)
        return rejection(
            self._rejected_topic,
            stage=STAGE,
            reason=_outcome(item).label,
            source=(record.topic, record.partition, record.offset, record.time_ms),
            value=record.value or b"",
        )

    def _count(self, items: Sequence[_Item]) -> None:
        for outcome, count in Counter(map(_outcome, items)).items():
            metrics.OUTCOMES.labels(outcome.label).inc(count)
        now_ms = self._clock.now_ms()
        for item in items:
            if item.verdict is Outcome.ADMITTED:
                metrics.ADMISSION_SECONDS.observe(max(0, now_ms - item.record.time_ms) / 1000)
                if spans.is_on() and item.packet is not None:
                    spans.record("validator.admit", item.packet.packet_id, item.record.time_ms, now_ms)

    async def _release_held(self) -> int:
        """Let partitions go on whose time has come; return how long to wait for records, ms."""
        now_s = self._monotonic_s()
        for partition in [partition for partition, until_s in self._held.items() if until_s <= now_s]:
            await self._reader.release(partition)
            del self._held[partition]
        soonest_s = min(self._held.values(), default=now_s + _FETCH_TIMEOUT_MS / 1000)
        return min(_FETCH_TIMEOUT_MS, max(1, int((soonest_s - now_s) * 1000)))

    async def _measure_lag(self) -> None:
        now_s = self._monotonic_s()
        if now_s >= self._lag_due_s:
            await self._reader.lag()
            self._show_suite_ends()
            self._lag_due_s = now_s + _LAG_INTERVAL_S

    def _show_suite_ends(self) -> None:
        """Show when suites end; the warning of it is an alert on the metric."""
        for term in self._registrations.directory.contract.suites:
            if term.expires_ms:
                metrics.SUITE_EXPIRY.labels(term.suite.name.lower()).set(term.expires_ms / 1000)


def _settle(items: Sequence[_Item], check: SignatureCheck) -> None:
    """Turn keys into outcomes by the signatures checked with them."""
    for item in items:
        if isinstance(item.verdict, PublicKey) and item.packet is not None:
            good = check(item.verdict, item.packet)
            item.verdict = Outcome.ADMITTED if good else Outcome.BAD_SIGNATURE


def _outcome(item: _Item) -> Outcome:
    if not isinstance(item.verdict, Outcome):
        raise TypeError("a record is sent before it is judged")
    return item.verdict


def _next_offsets(items: Sequence[_Item]) -> dict[int, int]:
    return {item.record.partition: item.record.offset + 1 for item in items}
