"""Two valid certificates at one height halt everybody who sees both, and name what to run; a node signs no fork."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.core.block import encode_certified, parse_certified
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import IntegrityError
from pipeline.core.replica import extend
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, Outgoing
from pipeline.services.accounting.publication import block_value
from pipeline.services.accounting.votes import Candidate, parse_vote, vote_message
from tests.support.commands import bkdms, settings_file
from tests.support.forks import forked_block
from tests.support.nodes import ChainRig, chain_rig
from tests.support.outage_consumers import PlatformRig, ViewRig
from tests.support.world import TestSite, control_value, packet_value

pytestmark = [pytest.mark.stack, pytest.mark.faults]
OTHER = bytes(31) + b"7"


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[ChainRig]:
    """A chain of two published blocks and four running nodes."""
    async with chain_rig(stack, topics, tmp_path) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        await opened.send([control_value(raw) for raw in opened.world.enrolment(opened.site)])
        await opened.until_published(1)
        await opened.send([fresh_packet(opened.site), fresh_packet(opened.site)])
        await opened.until_published(2)
        yield opened


def fresh_packet(site: TestSite) -> bytes:
    return packet_value(site.packet(time_ms=SystemClock().now_ms()))


async def stop_all(rig: ChainRig) -> None:
    for name in list(rig.tasks):
        await rig.stop_node(name)


async def publish(rig: ChainRig, block: LedgerBlock) -> None:
    await rig.producer.send([Outgoing(rig.topics.blocks, block_value(block), b"other", 0)])


async def ended_with(rig: ChainRig, code: str) -> str:
    """Wait until a node ends; return what it says."""
    with pytest.raises(IntegrityError) as ended:
        await rig.until(lambda: False)
    assert ended.value.code == code
    return str(ended.value)


@pytest.mark.parametrize("entries", [None, 1], ids=["same size", "smaller"])
async def test_a_fork_on_the_topic_halts_running_nodes(rig: ChainRig, entries: int | None) -> None:
    await publish(rig, forked_block(rig.world, await rig.blocks(), entries=entries))
    assert "run 'bkdms verify'" in await ended_with(rig, "fork")


async def test_a_fork_on_the_topic_halts_a_starting_node(rig: ChainRig) -> None:
    await stop_all(rig)
    await publish(rig, forked_block(rig.world, await rig.blocks()))
    for folder in (rig.folder / "node-0", rig.folder / "lost"):
        rig.start_node("node-0", folder=folder)
        assert "run 'bkdms verify'" in await ended_with(rig, "fork")
        await rig.stop_node("node-0")


async def test_a_fork_in_redis_halts_a_node(rig: ChainRig) -> None:
    await stop_all(rig)
    blocks, ledger = await rig.blocks(), rig.ledger()
    assert await ledger.replace(await ledger.head(), [blocks[0], forked_block(rig.world, blocks)], 2)
    await ledger.close()
    rig.start_node("node-0")
    assert "with 'bkdms verify'" in await ended_with(rig, "fork")


async def test_a_fork_halts_consumers_and_the_auditor_names_it(rig: ChainRig, tmp_path: Path) -> None:
    """Whether they saw the first of the two before or begin from nothing; what was good stays stored."""
    await stop_all(rig)
    await publish(rig, forked_block(rig.world, await rig.blocks()))
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, tmp_path)
    await platform.start()
    await rig.until(lambda: not platform.is_running)
    assert platform.rows("SELECT height FROM blocks ORDER BY height") == [(1,), (2,)]
    await platform.close()
    view = ViewRig(rig.connection("api", "v"), rig.world.genesis, rig.topics, tmp_path)
    view.start()
    assert view.task is not None
    with pytest.raises(IntegrityError, match="run 'bkdms verify'"):
        await view.task
    view.task = None
    await view.close()
    ended = await bkdms(settings_file(rig, tmp_path / "audit", "auditor"), "verify")
    assert (ended.code, "two valid certificates disagree" in ended.out) == (1, True), ended


async def test_a_forged_block_stops_no_consumer_and_the_auditor_mentions_it(
    rig: ChainRig, tmp_path: Path
) -> None:
    """It has the genuine certificate, but is another block."""
    await stop_all(rig)
    blocks = await rig.blocks()
    genuine, other = parse_certified(blocks[1].certified), forked_block(rig.world, blocks)
    forged = parse_certified(other.certified)
    assert genuine is not None
    assert forged is not None
    await publish(rig, replace(other, certified=encode_certified(forged[0], genuine[1])))
    for name in rig.world.node_signers:
        rig.start_node(name)
    await rig.send([fresh_packet(rig.site)])
    await rig.until_published(3)
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, tmp_path)
    await platform.start()
    await rig.until(lambda: len(platform.packets()) == 3)
    await platform.close()
    ended = await bkdms(settings_file(rig, tmp_path / "audit", "auditor"), "verify")
    assert (ended.code, "3 blocks" in ended.out) == (0, True), ended


@pytest.mark.parametrize("folder", ["old copy", "lost"])
async def test_a_node_whose_folder_forgot_what_it_signed_signs_no_fork(rig: ChainRig, folder: str) -> None:
    """Its vote for another third block is on the topic: it halts before it votes for the one it derives now."""
    await stop_all(rig)
    if folder == "lost":
        shutil.rmtree(rig.folder / "node-1")
    size = (await last_size(rig)) + 3
    about = Candidate(3, OTHER, Checkpoint(rig.world.genesis.origin, size, OTHER))
    vote = vote_message(rig.world.genesis.chain, about, "node-1", rig.world.signers("node-1"), 1)
    await rig.producer.send([Outgoing(rig.topics.cosignatures, vote, b"node-1", 0)])
    await rig.send([fresh_packet(rig.site)])
    rig.start_node("node-1")
    assert "signs no fork" in await ended_with(rig, "second_signature")
    votes = [parse_vote(rig.world.genesis.chain, r.value) for r in await rig.read(rig.topics.cosignatures)]
    third = {vote.block_hash for vote in votes if vote and (vote.node, vote.height) == ("node-1", 3)}
    assert third == {OTHER}


async def last_size(rig: ChainRig) -> int:
    state = rig.world.state()
    for block in await rig.blocks():
        extend(state, block.certified)
    return state.head.frontier.size


async def test_nodes_that_lost_everything_but_the_topics_go_on_with_the_same_chain(rig: ChainRig) -> None:
    """An empty Redis and empty folders beside a full topic are no new genesis."""
    await stop_all(rig)
    before = await rig.blocks()
    await rig.wipe_redis()
    for name in rig.world.node_signers:
        shutil.rmtree(rig.folder / name)
        rig.start_node(name)
    await rig.send([fresh_packet(rig.site)])
    await rig.until_published(3)
    after = await rig.blocks()
    assert (after[:2], [block.height for block in after]) == (before, [1, 2, 3])
