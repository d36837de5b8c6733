"""A site with another key by now: what the former key signed arrives as it is, or is signed anew; the spool is kept."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.signing import Ed25519Signer
from tests.support.site_bench import Bench, running, until
from tests.support.world import secret
from tests.unit.test_site_rotation import agent, amendment, standing

SUCCESSOR = Ed25519Signer(secret("successor"), Use.SITE)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A site whose agent sealed packets while Kafka was away."""
    made = Bench(tmp_path, list(range(30)))
    yield made
    made.spool.close()


async def spooled(bench: Bench) -> list[bytes]:
    """Collect everything, seal some of it into packets with the first key, and send none."""
    bench.ledger.kafka_away = True
    async with running(agent(bench)):
        # How many packets there are when sending fails follows from how fast the source was read.
        await until(lambda: bench.spool.depth().records == 30 and bench.spool.depth().packets > 0)
    bench.reopen()
    bench.ledger.kafka_away = False
    return [packet.raw for packet in bench.spool.live_packets(0, 100)]


def signers(bench: Bench) -> list[bytes]:
    """Return the fingerprints of the keys of all packets sent, in order."""
    packets = [parse_packet(value[5:]) for value in bench.ledger.sent]
    return [packet.site_key for packet in packets if isinstance(packet, Packet)]


async def run_with_both(bench: Bench) -> None:
    """Run the agent with both keys until all is committed."""
    both = standing(bench, bench.site.signer, SUCCESSOR)
    async with asyncio.timeout(20):
        await agent(bench, standing=both).run(until_committed=True)


async def test_during_the_overlap_packets_of_the_former_key_arrive_as_they_are(bench: Bench) -> None:
    raws = await spooled(bench)
    bench.ledger.control(amendment(bench, SUCCESSOR, until_ms=MAX_TIME_MS))
    await run_with_both(bench)
    assert bench.committed == list(range(30))
    assert [value[5:] for value in bench.ledger.sent[: len(raws)]] == raws
    assert signers(bench)[-1] == SUCCESSOR.public.fingerprint


async def test_after_the_overlap_their_records_are_signed_anew(bench: Bench) -> None:
    """Nothing is lost, nothing doubled, and the order stays."""
    await spooled(bench)
    bench.ledger.control(amendment(bench, SUCCESSOR, until_ms=0))
    await run_with_both(bench)
    assert bench.committed == list(range(30))
    assert "signing_anew" in bench.log.events


async def test_without_another_key_nothing_is_signed_anew(bench: Bench) -> None:
    """Packets that find no way in for other reasons are sent as they are, however often."""
    raws = await spooled(bench)
    bench.ledger.commits_when_asked = False
    async with running(agent(bench)):
        await until(lambda: bench.log.events.count("sending_again") >= 2)
    assert "signing_anew" not in bench.log.events
    sent = {value[5:] for value in bench.ledger.sent}
    assert sent >= set(raws)
    sequences = {packet.sequence for packet in map(parse_packet, sent) if isinstance(packet, Packet)}
    assert len(sequences) == len(sent)
