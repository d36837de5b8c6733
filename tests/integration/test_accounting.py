"""Accounting nodes on a real Kafka and a real Redis, and what they do when parts lie or vanish."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import KafkaTrimmer
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.core.block import certified_body, encode_certified, parse_certified
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import IntegrityError
from pipeline.core.packet import Packet
from pipeline.core.replica import Extended, extend
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, LedgerHead, Outgoing, SignedBlock
from pipeline.services.accounting.publication import block_value
from pipeline.services.accounting.votes import parse_vote
from pipeline.telemetry import node_metrics as metrics
from tests.support.nodes import ChainRig, chain_rig
from tests.support.world import TestSite, control_value, packet_value

pytestmark = pytest.mark.stack


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[ChainRig]:
    """A fresh chain with no node running."""
    async with chain_rig(stack, topics, tmp_path) as opened:
        yield opened


async def enrol(rig: ChainRig) -> TestSite:
    site = rig.world.site(1)
    await rig.send([control_value(raw) for raw in rig.world.enrolment(site)])
    return site


def fresh_packet(site: TestSite, value: int = 1) -> bytes:
    return packet_value(site.packet([value], time_ms=SystemClock().now_ms()))


def start_nodes(rig: ChainRig, *numbers: int) -> None:
    for number in numbers or range(len(rig.world.node_signers)):
        rig.start_node(f"node-{number}")


async def published_sequences(rig: ChainRig) -> list[int]:
    """Verify the blocks topic with a replica of our own; return the sequences admitted."""
    state, sequences = rig.world.state(), []
    for record in await rig.read(rig.topics.blocks):
        result = extend(state, certified_body(record.value))
        if isinstance(result, Extended):
            sequences += [item.sequence for item in result.admitted if isinstance(item, Packet)]
    return sequences


async def ledger_height(rig: ChainRig) -> int:
    ledger = rig.ledger()
    head = await ledger.head()
    await ledger.close()
    return head.height if head else 0


async def test_nodes_commit_and_publish_what_was_sent_once(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    values = [fresh_packet(site, value) for value in range(20)]
    await rig.send(values)
    await rig.send(values)
    await rig.until_published(2)
    assert await published_sequences(rig) == list(range(1, 21))


async def test_one_absent_node_stops_nothing(rig: ChainRig) -> None:
    start_nodes(rig, 0, 1, 2)
    await enrol(rig)
    await rig.until_published(1)


async def test_without_quorum_nothing_is_committed_and_nothing_is_lost(rig: ChainRig) -> None:
    start_nodes(rig, 0, 1)
    site = await enrol(rig)
    await rig.send([fresh_packet(site)])

    async def both_voted() -> bool:
        return len(await rig.read(rig.topics.cosignatures)) >= 2

    await rig.until(both_voted)
    assert await ledger_height(rig) == 0
    rig.start_node("node-3")
    await rig.until_published(1)


async def test_a_node_that_signs_another_root_is_outvoted_and_named(rig: ChainRig) -> None:
    start_nodes(rig, 0, 1, 2)
    divergent = metrics.VOTES.labels("node-3", "divergent")
    before = divergent._value.get()
    await rig.start_liar("node-3")
    await enrol(rig)
    await rig.until_published(1)
    await rig.until(lambda: divergent._value.get() > before)


@pytest.mark.faults
async def test_a_killed_node_comes_back_and_follows(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    await rig.stop_node("node-1")
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)
    rig.start_node("node-1")
    await rig.stop_node("node-0")
    await rig.send([fresh_packet(site)])
    await rig.until_published(3)
    assert await published_sequences(rig) == [1, 2]


async def test_a_node_without_its_folder_rejoins_from_the_topics(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    await rig.stop_node("node-1")
    shutil.rmtree(rig.folder / "node-1")
    rig.start_node("node-1")
    await rig.stop_node("node-0")
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)


async def test_a_node_that_lost_its_folder_refuses_to_sign_a_second_block(rig: ChainRig) -> None:
    start_nodes(rig, 0, 1)
    await enrol(rig)
    await rig.until(lambda: voted(rig, "node-1"))
    await rig.stop_node("node-1")
    shutil.rmtree(rig.folder / "node-1")
    rig.start_node("node-1")
    await rig.until((rig.folder / "node-1" / "node.sqlite").exists)
    store = SqliteNodeStore(rig.folder / "node-1", rig.world.genesis)
    await rig.until(lambda: store.signed(1))
    with pytest.raises(IntegrityError, match="signs no fork"):
        store.record_signed([SignedBlock(1, bytes(32), b"another")])


async def voted(rig: ChainRig, name: str) -> bool:
    votes = [parse_vote(rig.world.genesis.chain, r.value) for r in await rig.read(rig.topics.cosignatures)]
    return any(vote is not None and vote.node == name for vote in votes)


async def test_a_wiped_redis_is_filled_again_and_the_chain_goes_on(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    await rig.wipe_redis()
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)
    assert await published_sequences(rig) == [1]


async def test_a_forged_head_is_replaced_by_the_certified_one(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    ledger = rig.ledger()
    seen = await ledger.head()
    forged = LedgerBlock(99, bytes(32), b"header", b"no block")
    assert await ledger.replace(seen, [forged], 98)
    await rig.until(lambda: head_is_not(rig, 99))
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)
    await ledger.close()


async def head_is_not(rig: ChainRig, height: int) -> bool:
    return await ledger_height(rig) != height


async def test_a_ledger_restored_from_an_old_copy_is_brought_forward(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    ledger = rig.ledger()
    old_body, old_head = await ledger.certified(1), await ledger.head()
    assert old_body is not None
    assert old_head is not None
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)
    old = LedgerBlock(1, old_head.block_hash, b"", old_body)
    assert await ledger.replace(await ledger.head(), [old], 1)
    await rig.until(lambda: head_is_not(rig, 1))
    brought = LedgerHead(2, (await second_block(rig)).block_hash, 2)
    # The node that repaired it may have read the block back a moment later.
    async with asyncio.timeout(20):
        while await ledger.head() != brought:
            await asyncio.sleep(0.05)
    await ledger.close()


async def second_block(rig: ChainRig) -> LedgerBlock:
    body = certified_body((await rig.read(rig.topics.blocks))[1].value)
    parsed = parse_certified(body)
    assert parsed is not None
    return LedgerBlock(2, parsed[0].hash, parsed[0].header_bytes, body)


async def test_a_forged_block_on_the_topic_is_passed_over(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await rig.until_published(1)
    parsed = parse_certified(certified_body((await rig.read(rig.topics.blocks))[0].value))
    assert parsed is not None
    lie = Checkpoint(rig.world.genesis.origin, 99, bytes(32))
    forged = encode_certified(parsed[0], rig.world.certificate(lie, ["node-0"]))
    block = LedgerBlock(2, parsed[0].hash, parsed[0].header_bytes, forged)
    await rig.producer.send([Outgoing(rig.topics.blocks, block_value(block), b"forged", 0)])
    await rig.send([fresh_packet(site)])
    await rig.until_published(2)
    assert await published_sequences(rig) == [1]


async def test_a_cut_chain_log_halts_a_starting_node(rig: ChainRig) -> None:
    start_nodes(rig)
    await enrol(rig)
    await rig.until_published(1)
    await rig.stop_node("node-1")
    await KafkaTrimmer(rig.connection("node", "rig")).trim(rig.topics.chain, 0, 1)
    rig.start_node("node-1")
    with pytest.raises(IntegrityError, match="does not give block 1 again"):
        await rig.until(lambda: False)


async def test_a_shortened_blocks_topic_halts_a_starting_node(rig: ChainRig) -> None:
    start_nodes(rig)
    await enrol(rig)
    await rig.until_published(1)
    await rig.stop_node("node-1")
    store = SqliteNodeStore(rig.folder / "node-1", rig.world.genesis)
    store.mark_published(7, 99, 0)
    rig.start_node("node-1")
    with pytest.raises(IntegrityError, match="blocks topic ends at height"):
        await rig.until(lambda: False)
