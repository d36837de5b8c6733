"""Keys of the platform rotated under traffic, on a real Kafka and Redis: nothing stops, and nothing is lost."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.journal_file import JournalFile
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.keystore import new_sealing_key
from pipeline.adapters.spool import SqliteSpool
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.core.block import parse_certified
from pipeline.core.errors import TransientError
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import SiteName
from pipeline.core.packet import Packet
from pipeline.core.replica import parse_entry
from pipeline.core.sealing import SealingKey
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.follower import Follower
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registry_view import RegistryView
from pipeline.services.rotation import DAY_MS, rotate_sites
from pipeline.services.site_agent import SiteAgent, SiteParts, SiteStanding
from pipeline.services.site_heads import site_head
from tests.support.nodes import ChainRig, chain_rig
from tests.support.site_bench import FAST, PACE
from tests.support.site_ledger import FixedClock, ListSource, SilentLog, entitled, opened_numbers, terms_of
from tests.support.world import NOW_MS, TestSite, control_value

pytestmark = pytest.mark.stack

QUICK = replace(PACE, head_poll_s=0.1, registry_poll_s=0.2, window=64)
# Records of the test carry the time of its world, which real nodes find too old without a grant.
GRANTED = (NOW_MS - 10 * DAY_MS, NOW_MS + 10 * DAY_MS)


@dataclass
class Edge:
    """What is between a site and the platform: Kafka, which can be cut, and heads from a view of the blocks topic."""

    rig: ChainRig
    view: SqlLedgerView
    follower: Follower
    is_cut: bool = False

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Bring packets to the chain log."""
        if self.is_cut:
            raise TransientError("cut off", code="kafka")
        await self.rig.producer.send(batch)

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Serve the head of a site by what is published."""
        assert not with_packet
        while await self.follower.step(0):
            pass
        with self.view.snapshot() as snapshot:
            document = site_head(self.rig.world.genesis.chain, snapshot, site, since)
        if document is None:
            raise TransientError("not published yet", code="head_missing")
        return json.dumps(document.as_json()).encode()

    async def close(self) -> None:
        """Close what was opened for the view."""
        await self.follower.close()
        self.view.close()


@pytest.fixture
async def edge(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[Edge]:
    """A chain on which all nodes run and site 1 is enrolled."""
    async with chain_rig(stack, topics, tmp_path / "nodes") as rig:
        for name in rig.world.node_signers:
            rig.start_node(name)
        records = [*rig.world.enrolment(rig.site), rig.world.backfill(rig.site, *GRANTED)]
        await rig.send(list(map(control_value, records)))
        await rig.until_published(1)
        view = SqlLedgerView(tmp_path / "view", rig.world.genesis)
        reader = KafkaPartitionReader(rig.connection("api", "edge"), topics.blocks)
        made = Edge(rig, view, Follower(rig.world.genesis, reader, view))
        yield made
        await made.close()


async def rotate(edge: Edge, folder: Path, keys: list[SealingKey]) -> None:
    """Do what `bkdms registrar rotate SITE` does."""
    rig = edge.rig
    reader = KafkaPartitionReader(rig.connection("registrar", "desk"), rig.topics.blocks)

    def make_key(algorithm: Algorithm) -> PublicKey:
        keys.append(new_sealing_key(algorithm))
        return keys[-1].public

    with JournalFile(folder / "registrar.json", rig.world.genesis.chain) as journal:
        view = RegistryView(rig.world.genesis, reader)
        desk = RegistrarDesk(rig.world.registrar, rig.world.genesis, view, journal, rig.producer)
        end = NOW_MS + 30 * DAY_MS
        await rotate_sites(desk, make_key, [rig.site.name], now_ms=NOW_MS, valid_to=end)
    await reader.close()


def packets_of(site: TestSite, blocks: list[bytes]) -> list[Packet]:
    """Return the site's packets in published blocks, in order."""
    found: list[Packet] = []
    for body in blocks:
        parsed = parse_certified(body)
        assert parsed is not None
        packets = [parse_entry(entry) for entry in parsed[0].entries]
        found += [packet for packet in packets if isinstance(packet, Packet) and packet.site == site.name]
    return found


@pytest.mark.faults
async def test_a_rotation_under_traffic_loses_nothing_and_spooled_packets_arrive_and_open(
    edge: Edge, tmp_path: Path
) -> None:
    rig, site, keys = edge.rig, edge.rig.site, [edge.rig.site.platform_key]
    spool = SqliteSpool(tmp_path / "spool.sqlite", bytes(32), terms_of(site).binding)
    source, log = ListSource(list(range(100))), SilentLog()
    genesis, terms = rig.world.genesis, terms_of(site)
    standing = SiteStanding(genesis, terms, entitled(site), (site.signer,), spool)
    parts = SiteParts(
        genesis=genesis,
        terms=terms,
        signer=site.signer,
        standing=standing,
        source=source,
        spool=spool,
        producer=edge,
        heads=edge,
        clock=FixedClock(),
        log=log,
        random=os.urandom,
        topic=rig.topics.chain,
    )
    running = asyncio.create_task(SiteAgent(parts, FAST, QUICK).run())
    await rig.until(lambda: spool.totals().confirmed_records >= 50)
    edge.is_cut = True
    source.numbers += list(range(100, 200))
    await rig.until(lambda: spool.totals().spooled_records == 200 and spool.depth().packets > 0)
    waiting = [packet.made.packet_id for packet in spool.live_packets(0, 1000)]
    await rotate(edge, tmp_path, keys)
    await rig.until(lambda: log.events.count("platform_key_taken_up") == 2)
    edge.is_cut = False
    source.numbers += list(range(200, 260))
    await rig.until(lambda: spool.totals().confirmed_records == 260)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    spool.close()
    packets = packets_of(site, [block.certified for block in await rig.blocks()])
    assert [n for packet in packets for n in opened_numbers(packet, site, keys)] == list(range(260))
    old, new = (key.public.fingerprint for key in keys)
    assert {packet.packet_id for packet in packets if packet.is_sealed_to(old)} >= set(waiting)
    assert packets[-1].is_sealed_to(new)
