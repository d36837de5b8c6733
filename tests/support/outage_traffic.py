"""Sites that send through thick and thin, and what must have become of what they sent."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.adapters.kafka import IdempotentProducer
from pipeline.core.block import certified_body
from pipeline.core.errors import TransientError
from pipeline.core.names import SiteName
from pipeline.core.packet import Packet, packet_id
from pipeline.core.replica import Extended, extend
from pipeline.ports import Outgoing
from tests.support.nodes import ChainRig
from tests.support.world import TestSite, packet_value

_PAUSE_S = 0.2
Ids = dict[SiteName, list[bytes]]


@dataclass
class Traffic:
    """Sends packets of sites in turn, one batch after the other, each until Kafka has acknowledged it."""

    sites: Sequence[TestSite]
    topic: str
    producer: IdempotentProducer
    ids: Ids = field(default_factory=dict)
    failures: int = 0

    async def send(self, batches: int, size: int = 4, pause_s: float = 0.0) -> None:
        """Send so many batches of ``size`` packets of each site, sending again what was not acknowledged."""
        for _ in range(batches):
            now_ms = time.time_ns() // 1_000_000
            batch = []
            for site in self.sites:
                for _ in range(size):
                    raw = site.packet(time_ms=now_ms)
                    self.ids.setdefault(site.name, []).append(packet_id(raw))
                    batch.append(Outgoing(self.topic, packet_value(raw), str(site.name).encode()))
            await self._send(batch)
            await asyncio.sleep(pause_s)

    async def _send(self, batch: Sequence[Outgoing]) -> None:
        while True:
            try:
                return await self.producer.send(batch)
            except TransientError:
                self.failures += 1
                await asyncio.sleep(_PAUSE_S)

    @property
    def count(self) -> int:
        """Number of packets sent."""
        return sum(map(len, self.ids.values()))


async def committed_ids(rig: ChainRig) -> Ids:
    """Verify the blocks topic with a replica of our own; return the packets in it by site, in order."""
    state = rig.world.state()
    found: Ids = {}
    for record in await rig.read(rig.topics.blocks):
        result = extend(state, certified_body(record.value))
        for item in result.admitted if isinstance(result, Extended) else ():
            if isinstance(item, Packet):
                found.setdefault(item.site, []).append(item.packet_id)
    return found
