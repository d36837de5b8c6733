"""A ledger for site agents: a producer that derives real blocks, and the head that an API would serve.

The judge is the real deriver. ``ListSource`` gives one record a number, so order and count can be compared.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.records import (
    Batch,
    Extending,
    KpiValue,
    NormalisedRecord,
    QualityCode,
    Rejected,
    RejectReason,
)
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.agreement import Entitlement
from pipeline.core.batching import Terms
from pipeline.core.control import (
    Amend,
    Body,
    Control,
    Enrol,
    KeyOffer,
    NewContract,
    Nodes,
    Registrars,
    Resume,
    Revoke,
    SiteBody,
    Suspend,
)
from pipeline.core.derive import Derived
from pipeline.core.errors import TransientError
from pipeline.core.names import MAX_TIME_MS, SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import FIRST_PREVIOUS, Opened, Packet, open_packet, parse_packet
from pipeline.core.proven import Proven
from pipeline.core.record import decode_record
from pipeline.core.replica import parse_entry
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.site_head import MAX_OFFERS, SiteHeadDocument
from pipeline.core.state import Offer
from pipeline.ports import Outgoing
from pipeline.services.site_agent import SiteParts, SiteStanding, Source, Spool
from tests.support.chain import Chain
from tests.support.tree import MemoryTree
from tests.support.world import NOW_MS, TestSite, control_value

TOPIC = "kpi.packets.v1"


def terms_of(site: TestSite) -> Terms:
    """Return the terms of a test site."""
    return Terms(site.chain, site.name, "module-1", site.suite, (site.platform_key.public,))


def entitled(site: TestSite) -> Entitlement:
    """Return what the registrar's answer lets a test site do."""
    offer = Offer(1, site.platform_key.public, MAX_TIME_MS)
    return Entitlement(site.signer.public.fingerprint, (site.suite,), ("LOCAL:TRAFFIC_SPEED",), (), (offer,))


class FixedClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.time_ms = NOW_MS

    def now_ms(self) -> int:
        """Return the time."""
        return self.time_ms


class SilentLog:
    """Keeps events; refuses bytes, which could be values."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Keep an event."""
        assert not any(isinstance(value, bytes) for value in fields.values())
        self.events.append(event)

    warning = info


@dataclass
class ListSource:
    """A source of the given numbers, each a record; None stands for a row that is refused."""

    numbers: list[int | None] = field(default_factory=list)
    away: bool = False

    def read(self, position: str, limit: int, *, final: bool = False) -> Batch:
        """Read rows after ``position``, which is an index."""
        del final
        if self.away:
            raise TransientError("the source is away", code="source")
        start = int(position or 0)
        rows = self.numbers[start : start + limit]
        records = tuple(normalised(number) for number in rows if number is not None)
        refused = tuple(
            Rejected(start + i, "value", RejectReason.NOT_A_NUMBER) for i, n in enumerate(rows) if n is None
        )
        end = start + len(rows)
        after = str(end) if rows else position
        return Batch(records, refused, after, at_end=end >= len(self.numbers), rows=len(rows), skipped=0)


def normalised(number: int) -> NormalisedRecord:
    """Return a record that carries ``number``."""
    value = KpiValue("LOCAL:TRAFFIC_SPEED", "", number, 2, "HM")
    extending = Extending("sensor-1", QualityCode.ACCURATE_MEASUREMENT, "test")
    return NormalisedRecord(NOW_MS + number, (value,), extending)


class SiteLedger:
    """``Producer`` and ``HeadSource`` over a real chain of the given, enrolled sites.

    ``admitted`` are the numbers of all admitted packets, in the order of the chain log.
    """

    def __init__(self, *sites: TestSite, chain: Chain | None = None) -> None:
        self.chain = chain or Chain()
        self.sites = {site.name: site for site in sites}
        self.chain.enrol(*sites)
        self.keys: list[SealingKey] = []  # of the platform, beside those that the sites began with
        self.outcomes: list[Outcome] = []
        self.admitted: list[int] = []
        self.sent: list[bytes] = []
        self.kafka_away = self.api_away = False
        self.commits_when_asked = False

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take a batch into the chain log."""
        if self.kafka_away:
            raise TransientError("Kafka is away", code="kafka")
        for record in batch:
            self.take(record)

    def take(self, record: Outgoing) -> Outcome:
        """Take one record into the chain log and return what became of it."""
        assert record.topic == TOPIC
        assert record.value is not None
        packet = parse_packet(record.value[avro.FRAME_BYTES :])
        assert isinstance(packet, Packet), packet
        assert avro.frame_id(record.value) == PACKET_SCHEMA.id
        assert record.key == str(packet.site).encode()
        self.sent.append(record.value)
        before = self.chain.deriver.state.tables.positions.get(packet.site)
        self.chain.add(record.value)
        after = self.chain.deriver.state.tables.positions.get(packet.site)
        outcome = Outcome.ADMITTED if before != after else Outcome.DUPLICATE
        self.outcomes.append(outcome)
        if outcome is Outcome.ADMITTED:
            self.admitted.extend(opened_numbers(packet, self.sites[packet.site], self.keys))
        return outcome

    def close_block(self) -> None:
        """Commit what was taken."""
        self.chain.close()

    async def close(self) -> None:
        """Nothing to close."""

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Return the head document over all committed blocks."""
        if self.api_away:
            raise TransientError("the API is away", code="head_api")
        if self.commits_when_asked:
            self.close_block()
        return self.document(site, len(self.chain.blocks), with_packet=with_packet, since=since)

    def document(self, site: SiteName, height: int, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Return the head document of a site as it was at ``height``."""
        blocks = self.chain.blocks[:height]
        tree = MemoryTree([leaf for derived in blocks for leaf in derived.block.leaf_hashes])
        found_height, entry = self._last_of(site, height)
        block = blocks[found_height - 1].block
        found = block.entries[entry]
        packet = parse_entry(found)
        is_packet = isinstance(packet, Packet)
        index = block.header.first_index + entry
        payload = None if is_packet and not with_packet else found.payload
        head = Proven(found.kind, payload, index, found.offset, found.time_ms, tuple(tree.inclusion(index)))
        document = SiteHeadDocument(
            chain=self.chain.world.genesis.chain,
            site=site,
            active=True,
            sequence=packet.sequence if isinstance(packet, Packet) else 0,
            packet_id=packet.packet_id if isinstance(packet, Packet) else FIRST_PREVIOUS,
            height=found_height,
            entry=entry,
            head=head,
            header=block.header_bytes,
            header_path=tuple(tree.inclusion(block.header.first_index + len(block.entries))),
            key_offers=self._records(site, blocks, tree, (KeyOffer,), since),
            tree_size=len(tree.leaves),
            certificate=self.chain.world.certificate(blocks[-1].checkpoint),
            records=self._records(site, blocks, tree, (Enrol, Amend, Suspend, Resume, Revoke), since),
            authorities=self._records(None, blocks, tree, (Registrars, Nodes, NewContract), 0),
        )
        return json.dumps(document.as_json()).encode()

    def _records(
        self,
        site: SiteName | None,
        blocks: Sequence[Derived],
        tree: MemoryTree,
        kinds: tuple[type[Body], ...],
        since: int,
    ) -> tuple[Proven, ...]:
        """Return the records of these kinds about a site, or about all, from a leaf on."""
        found = []
        for derived in blocks:
            for entry, item in enumerate(derived.block.entries):
                parsed = parse_entry(item)
                index = derived.block.header.first_index + entry
                body = parsed.body if isinstance(parsed, Control) else None
                about = body.site if isinstance(body, SiteBody) else None
                if isinstance(body, kinds) and about == site and index >= since:
                    path = tuple(tree.inclusion(index))
                    found.append(Proven(item.kind, item.payload, index, item.offset, item.time_ms, path))
        return tuple(found[-MAX_OFFERS:])

    def control(self, *bodies: Body) -> None:
        """Bring records of the registrar into the ledger, in a block of their own."""
        self.chain.block(*(control_value(self.chain.world.control(body)) for body in bodies))

    def by_roots(self, body: Body) -> None:
        """Bring a record of root keys into the ledger, in a block of its own."""
        world = self.chain.world
        self.chain.block(control_value(world.by_roots(self.chain.deriver.state, body)))

    def _last_of(self, site: SiteName, height: int) -> tuple[int, int]:
        for derived in reversed(self.chain.blocks[:height]):
            entries = derived.block.entries
            for entry in reversed(range(len(entries))):
                parsed = parse_entry(entries[entry])
                if isinstance(parsed, Packet) and parsed.site == site:
                    return derived.block.header.height, entry
        order = list(self.sites)
        return 1, 2 * order.index(site)

    def committed(self, site: TestSite) -> list[int]:
        """Return the numbers of a site that are in committed blocks, in order."""
        numbers: list[int] = []
        for derived in self.chain.blocks:
            for entry in derived.block.entries:
                packet = parse_entry(entry)
                if isinstance(packet, Packet) and packet.site == site.name:
                    numbers.extend(opened_numbers(packet, site, self.keys))
        return numbers


def parts_of(
    site: TestSite, ledger: SiteLedger, spool: Spool, source: Source, log: SilentLog | None = None
) -> SiteParts:
    """Return the parts of an agent for a test site."""
    terms, genesis = terms_of(site), ledger.chain.world.genesis
    return SiteParts(
        genesis=genesis,
        terms=terms,
        signer=site.signer,
        standing=SiteStanding(genesis, terms, entitled(site), (site.signer,), spool),
        source=source,
        spool=spool,
        producer=ledger,
        heads=ledger,
        clock=FixedClock(),
        log=log or SilentLog(),
        random=os.urandom,
        topic=TOPIC,
    )


def opened_numbers(packet: Packet, site: TestSite, others: Sequence[SealingKey] = ()) -> list[int]:
    """Return the numbers inside a packet; fails where no key opens it."""
    key = next(k for k in (site.platform_key, *others) if packet.is_sealed_to(k.public.fingerprint))
    opened = open_packet(packet, key)
    assert isinstance(opened, Opened), opened
    numbers = []
    for data in opened.records:
        record = decode_record(data)
        assert record is not None
        assert record.site == site.name
        assert packet.collected_from <= record.time_ms <= packet.collected_to
        numbers.append(record.values[0].unscaled)
    return numbers


def ledger_with(number: int = 1, suite: Suite = Suite.LIGHT) -> tuple[SiteLedger, TestSite]:
    """Return a ledger with one enrolled site."""
    chain = Chain()
    site = chain.world.site(number, suite)
    return SiteLedger(site, chain=chain), site
