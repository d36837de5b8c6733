"""An open-loop sender, a process of its own: packets leave by a schedule made before, whatever becomes of them.

A packet that leaves late still counts from when it was due, so a pipeline that is slow can't make itself look faster.
"""

import asyncio
import math
import multiprocessing
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ops.kafka.topic_table import PACKET_PARTITIONS
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.apps.bench.plan import site_name
from pipeline.apps.bench.stages.prepared import framed_packet
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing

_LENGTH: Final = struct.Struct(">I")
_LEAD_S: Final = 0.5
_MOST_AT_ONCE: Final = 500
_ALIVE_EVERY_S: Final = 1.0
_NS: Final = 1e9
_MS: Final = 1e3


@dataclass(frozen=True, slots=True)
class Schedule:
    """Packet ``i`` of the file is due at ``i / rate`` seconds; ``sites`` send in turn to ``topic``."""

    file: Path
    rate: float
    sites: int
    topic: str
    connection: KafkaConnection

    def due_s(self, index: int) -> float:
        """Return when a packet is due, seconds after the beginning."""
        return index / self.rate

    def due(self, now_s: float) -> int:
        """Return how many packets are due ``now_s`` seconds after the beginning, whatever became of earlier ones."""
        return math.floor(now_s * self.rate) + 1 if now_s >= 0 else 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What the sender did: the latest it was behind its schedule, processor seconds, batches that it sent again."""

    latest_ms: float
    cpu_s: float
    resends: int


def write_packets(file: Path, packets: Iterable[bytes]) -> tuple[int, int]:
    """Write packets into a file; return how many they are and their bytes."""
    count = size = 0
    with file.open("wb") as output:
        for raw in packets:
            output.write(_LENGTH.pack(len(raw)) + raw)
            count, size = count + 1, size + len(raw)
    return count, size


def read_packets(file: Path) -> Iterator[bytes]:
    """Yield the packets of a file."""
    with file.open("rb") as packets:
        while length := packets.read(_LENGTH.size):
            yield packets.read(_LENGTH.unpack(length)[0])


class Sender:
    """The sender's process: ``begin`` starts the schedule, ``result`` waits for its end; ended on leaving."""

    def __init__(self, schedule: Schedule) -> None:
        context = multiprocessing.get_context("spawn")
        self._said: Any = context.Queue()
        self._process = context.Process(target=_run, args=(schedule, self._said), daemon=True)

    def __enter__(self) -> "Sender":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    async def begin(self) -> float:
        """Return when the schedule begins, seconds since 1970; a moment ahead.

        Raises:
            TransientError: the sender is gone.
        """
        begins_s: float = await self._next()
        return begins_s

    async def result(self) -> Sent:
        """Return what the sender did, when all is sent.

        Raises:
            TransientError: the sender is gone.
        """
        sent: Sent = await self._next()
        return sent

    async def _next(self) -> Any:
        while self._said.empty():
            if not self._process.is_alive():
                raise TransientError("the process that sends packets ended", code="bench_sender")
            await asyncio.sleep(_ALIVE_EVERY_S / 10)
        return self._said.get()


def _run(schedule: Schedule, said: Any) -> None:
    asyncio.run(_keep(schedule, said))


async def _keep(schedule: Schedule, said: Any) -> None:
    """Send what is due, again and again, until all is sent."""
    batch = [_outgoing(schedule, index, raw) for index, raw in enumerate(read_packets(schedule.file))]
    producer = IdempotentProducer(schedule.connection)
    begins_ns = time.time_ns() + int(_LEAD_S * _NS)
    said.put(begins_ns / _NS)
    sent, resends, latest_s, cpu_s = 0, 0, 0.0, time.process_time()
    try:
        while sent < len(batch):
            now_s = (time.time_ns() - begins_ns) / _NS
            due = min(len(batch), schedule.due(now_s), sent + _MOST_AT_ONCE)
            if due <= sent:
                await asyncio.sleep(schedule.due_s(sent) - now_s)
                continue
            latest_s = max(latest_s, now_s - schedule.due_s(sent))
            try:
                await producer.send(batch[sent:due])
            except TransientError:
                resends += 1
                continue
            sent = due
    finally:
        await producer.close()
    said.put(Sent(latest_s * _MS, time.process_time() - cpu_s, resends))


def _outgoing(schedule: Schedule, index: int, raw: bytes) -> Outgoing:
    site = index % schedule.sites
    return Outgoing(schedule.topic, framed_packet(raw), site_name(site).site_id, site % PACKET_PARTITIONS)
