"""When packets were committed and stored, read from the topics afterwards: broker times, on the schedule's clock."""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.adapters.kafka_topic import KafkaTopicReader
from pipeline.apps.bench.load.whole import WholeStack
from pipeline.apps.bench.plan import site_name
from pipeline.apps.bench.report import Figure
from pipeline.core import avro
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.names import site_id_text
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.storage import OBSERVATIONS
from pipeline.ports import Received

_FETCH_RECORDS: Final = 64
_FETCH_TIMEOUT_MS: Final = 500
_PARTS: Final = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
_MS: Final = 1000


@dataclass(slots=True)
class Arrivals:
    """Times, ms since 1970, at which packets of the plan were on the blocks topic and on the observations topic.

    A block is published after its commit, observations after they are stored: no time is too early.
    """

    committed: dict[int, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    block_bytes: int = 0


async def read_arrivals(stack: WholeStack) -> Arrivals:
    """Read the blocks and the observations of a chain whole."""
    count, found = stack.plan.sites, Arrivals()
    numbers = {site_name(number).site_id: number for number in range(count)}
    texts = {site_id_text(site_id): number for site_id, number in numbers.items()}
    async for record in _records(stack, stack.topics.blocks):
        body = certified_body(record.value)
        parsed = parse_certified(body)
        entries = parsed[0].entries if parsed is not None else ()
        packets = [parse_packet(entry.payload) for entry in entries if entry.kind is Kind.PACKET]
        found.block_bytes += len(body) if packets else 0
        for packet in packets:
            if isinstance(packet, Packet):
                index = (packet.sequence - 1) * count + numbers[packet.site.site_id]
                found.committed.setdefault(index, record.time_ms)
    async for record in _records(stack, stack.topics.observations):
        fields = avro.decode(OBSERVATIONS, (record.value or b"")[avro.FRAME_BYTES :])
        if fields is not None:
            index = (fields["sequence"] - 1) * count + texts[fields["site_id"]]
            found.stored.setdefault(index, record.time_ms)
    return found


async def _records(stack: WholeStack, topic: str) -> AsyncIterator[Received]:
    """Yield the records that a topic holds now."""
    reader = KafkaTopicReader(stack.connection, topic)
    try:
        bounds = {at: bound for at, bound in (await reader.bounds()).items() if bound[0] < bound[1]}
        await reader.seek({at: first for at, (first, _) in bounds.items()})
        while any(reader.positions()[at] < end for at, (_, end) in bounds.items()):
            for record in await reader.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS):
                yield record
    finally:
        await reader.close()


def latencies(name: str, due_s: Mapping[int, float], at_ms: Mapping[int, int]) -> list[Figure]:
    """Return the median, the 99th percentile and the 99.9th of how long after its due time a packet was there."""
    waited = sorted(at_ms[index] / _MS - due for index, due in due_s.items())
    return [Figure(f"{name}_{part}_s", percentile(waited, share), "s") for part, share in _PARTS]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of ordered values that at least ``share`` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def queued(due_s: Mapping[int, float], at_ms: Mapping[int, int], end_s: float, older_s: float = 0.0) -> int:
    """Return how many packets that were due ``older_s`` before ``end_s`` were not there at ``end_s``."""
    return sum(due <= end_s - older_s and at_ms[index] / _MS > end_s for index, due in due_s.items())


def arrived(at_ms: Mapping[int, int], begin_s: float, end_s: float) -> int:
    """Return how many packets got there between two times."""
    return sum(begin_s < at / _MS <= end_s for at in at_ms.values())
