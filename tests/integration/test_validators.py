"""Validators as processes on a real Kafka: sharing, dying, stopping, rubbish, and Kafka away."""

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from ops.local_servers import KAFKA
from ops.stack import EmbeddedStack
from pipeline.core.admission import TICK_VALUE, enact, judge, parse_value
from pipeline.core.control import Control
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES, Packet
from pipeline.core.state import ChainState
from pipeline.core.topics import Topics
from pipeline.ports import Received
from tests.support.validation import changed_packet
from tests.support.validators import ValidatorRig, until
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value, secret

pytestmark = pytest.mark.stack

UNKNOWN_SITES = 100_000
UNKNOWN_BATCH = 5_000
# Room for the allocator; one remembered site of a hundred thousand would take some 200 bytes, 20 MB together.
GROWTH_MB = 15


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[ValidatorRig]:
    """A fresh chain with no validator running."""
    opened = ValidatorRig(stack, topics, tmp_path)
    yield opened
    await opened.close()


def enrolled(world: World, sites: Sequence[TestSite]) -> ChainState:
    """Return the chain's state after the sites' enrolment."""
    state, fresh = world.state(), World(topic=world.topic)
    for site in sites:
        for raw in fresh.enrolment(site):
            parsed = parse_value(control_value(raw))
            assert isinstance(parsed, Control)
            enact(state, parsed)
    return state


def admitted(state: ChainState, records: Sequence[Received]) -> list[bytes | None]:
    """Return the values of a chain log that the full rules admit."""
    found = []
    for record in records:
        packet = parse_value(record.value)
        assert isinstance(packet, Packet)
        if judge(state, packet, NOW_MS) is Outcome.ADMITTED:
            enact(state, packet)
            found.append(record.value)
    return found


@pytest.mark.faults
async def test_packets_survive_the_death_of_a_validator_in_order(rig: ValidatorRig) -> None:
    """Two share the topic, one is killed half way: every packet is admitted once by the full rules."""
    sites = [rig.world.site(number) for number in range(8)]
    await rig.register(sites)
    rig.start("validator-1")
    rig.start("validator-2")
    values = {site.name: [packet_value(site.packet([n])) for n in range(100)] for site in sites}
    for site in sites:
        await rig.submit(site, values[site.name][:50])
    await rig.read(rig.topics.chain, 1)
    rig.kill("validator-1")
    for site in sites:
        await rig.submit(site, values[site.name][50:])
    until(lambda: rig.lag("validator-2") == {0: 0, 1: 0, 2: 0, 3: 0})
    records = await rig.read(rig.topics.chain, 800)
    assert sorted(v for v in admitted(enrolled(rig.world, sites), records) if v) == sorted(
        value for queue in values.values() for value in queue
    )
    assert rig.terminate("validator-2") == 0


@pytest.mark.faults
async def test_a_stopped_validator_has_committed_what_it_sent(rig: ValidatorRig) -> None:
    """The next one repeats nothing."""
    site = rig.world.site(1)
    await rig.register([site])
    rig.start("validator-1")
    first, second = packet_value(site.packet()), packet_value(site.packet())
    await rig.submit(site, [first])
    await rig.read(rig.topics.chain, 1)
    assert rig.terminate("validator-1") == 0
    await rig.submit(site, [second])
    rig.start("validator-1")
    records = await rig.read(rig.topics.chain, 2)
    assert [record.value for record in records] == [first, second]


@pytest.mark.faults
async def test_rubbish_is_refused_by_name_and_a_flood_of_it_takes_no_memory(rig: ValidatorRig) -> None:
    """Whatever a site's certificate can send, and a hundred thousand unknown sites; then a genuine packet."""
    site, stranger = rig.world.site(1), rig.world.site(2)
    await rig.register([site])
    rig.start("validator-1")
    genuine = site.packet(advance=False)
    rubbish = {
        secret("random", 400): Outcome.FOREIGN_SCHEMA,
        packet_value(genuine[:-7]): Outcome.MALFORMED,
        packet_value(bytes(MAX_PACKET_BYTES + 100)): Outcome.OVERSIZED,
        b"\0\0\0\0\7" + genuine: Outcome.FOREIGN_SCHEMA,
        TICK_VALUE: Outcome.FOREIGN_SCHEMA,
        packet_value(b"\x82\x00" + genuine[1:]): Outcome.MALFORMED,
        packet_value(genuine[:250] + b"\x80\x80\x80\x10"): Outcome.MALFORMED,
        changed_packet(site, collected_from=-62_135_596_800_000): Outcome.OUT_OF_RANGE,
        changed_packet(site, signature=bytes(64)): Outcome.BAD_SIGNATURE,
    }
    await rig.submit(None, [b"", *rubbish])
    letters = await rig.read(rig.topics.rejected, len(rubbish) + 1)
    assert rig.reasons(letters) == ["empty", *(outcome.label for outcome in rubbish.values())]
    raw, name = stranger.packet(), stranger.name.site_id
    memory, began = 0.0, time.monotonic()
    for start in range(0, UNKNOWN_SITES, UNKNOWN_BATCH):
        numbers = range(start, start + UNKNOWN_BATCH)
        await rig.submit(None, [packet_value(raw.replace(name, n.to_bytes(16, "big"))) for n in numbers])
        if start == UNKNOWN_SITES // 5:
            memory = rig.memory_mb("validator-1")
    until(lambda: rig.counted("validator-1", "unknown_site") == UNKNOWN_SITES)
    seconds, growth = time.monotonic() - began, rig.memory_mb("validator-1") - memory
    print(f"refused {UNKNOWN_SITES / seconds:.0f} packets of unknown sites a second")  # noqa: T201
    assert growth < GROWTH_MB
    await rig.submit(site, [packet_value(genuine)])
    assert [r.value for r in await rig.read(rig.topics.chain, 1)] == [packet_value(genuine)]


@pytest.mark.faults
async def test_a_validator_outlives_kafka(rig: ValidatorRig) -> None:
    """While the broker is down it waits and retries; afterwards everything gets through, once by the rules."""
    site = rig.world.site(1)
    await rig.register([site])
    rig.start("validator-1")
    values = [packet_value(site.packet([n])) for n in range(60)]
    await rig.submit(site, values[:20])
    rig.stack.supervisor.stop(KAFKA)
    until(lambda: "retrying" in rig.events("validator-1"))
    rig.stack.supervisor.restart(KAFKA)
    await rig.submit(site, values[20:])
    until(lambda: sum(rig.lag("validator-1").values()) == 0 and len(rig.lag("validator-1")) == 4)
    records = await rig.read(rig.topics.chain, 60)
    assert admitted(enrolled(rig.world, [site]), records) == values
    assert rig.terminate("validator-1") == 0
