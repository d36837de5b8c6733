"""The bundled measurements in a store, as the real platform worker puts them there from certified blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from connectors.records import NormalisedRecord
from connectors.samples import SampleSite, sample_sites
from connectors.sources.base import START
from pipeline.core.control import BackfillGrant, Enrol, KeyOffer, possession_message
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import PacketDraft, packet_id, seal_packet
from pipeline.core.record import encode_record
from pipeline.services.platform import PlatformParts, PlatformStore, PlatformWorker
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.stored_chain import FixedClock
from tests.support.world import TestSite, control_value, packet_value, secret

PACKET_RECORDS = 200
_OLDEST_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)


@dataclass
class BundledChain:
    """Blocks with the first ``records`` of each bundled site; one site is silent, another's packet stays unopened."""

    records: int = 600

    def __post_init__(self) -> None:
        self.chain = Chain()
        self.genesis = self.chain.world.genesis
        pairs = [
            (sample, self._site(number, sample)) for number, sample in enumerate(sample_sites(), start=1)
        ]
        self._stranger = self.chain.world.site(90)
        self.keys = {site.platform_key.public.fingerprint: site.platform_key for _, site in pairs}
        for sample, site in pairs:
            self.chain.block(*self._admission(site, sample))
        self.chain.enrol(self._stranger, self.chain.world.site(91))
        self.chain.packets(self._stranger.packet([1]))
        for sample, site in pairs:
            found = sample.source().read(START, self.records).records
            self.chain.block(*(packet_value(raw) for raw in _packets(site, found)))

    async def fill(self, store: PlatformStore) -> None:
        """Let a platform worker store all blocks."""
        topic = MemoryTopic()
        topic.publish(self.chain.certified)
        parts = PlatformParts(
            self.genesis,
            MemoryReader(topic),
            store,
            MemoryProducer(),
            "kpi.observations.v1",
            self.keys.get,
            FixedClock(),
        )
        worker = PlatformWorker(parts)
        while await worker.step(0):
            pass
        await worker.close()

    def _site(self, number: int, sample: SampleSite) -> TestSite:
        site = self.chain.world.site(number)
        site.name = sample.site
        return site

    def _admission(self, site: TestSite, sample: SampleSite) -> Iterator[bytes]:
        public, offered = site.signer.public, site.platform_key.public
        possession = site.signer.sign(possession_message(self.genesis.chain, site.name, public.fingerprint))
        for body in (
            Enrol(site.name, public.algorithm, public.raw, possession, (site.suite,), sample.indicators),
            KeyOffer(site.name, 1, offered.algorithm, offered.raw, MAX_TIME_MS),
            BackfillGrant(site.name, _OLDEST_MS, MAX_TIME_MS, MAX_TIME_MS),
        ):
            yield control_value(self.chain.world.control(body))


def _packets(site: TestSite, found: tuple[NormalisedRecord, ...]) -> Iterator[bytes]:
    left = iter(found)
    while part := list(islice(left, PACKET_RECORDS)):
        site.sequence += 1
        label = f"{site.name}{site.sequence}"
        times = [record.time_ms for record in part]
        draft = PacketDraft(
            site.chain,
            site.name,
            "module-1",
            site.sequence,
            site.previous,
            min(times),
            max(times),
            site.suite,
        )
        raw = seal_packet(
            draft,
            [encode_record(record.at(site.name)) for record in part],
            [site.platform_key.public],
            site.signer,
            seed=secret(f"seed{label}"),
            content_key=secret(f"content{label}"),
        )
        site.previous = packet_id(raw)
        yield raw
