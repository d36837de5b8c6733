"""An audit from a real Kafka derives blocks again from the chain log, as far as it is still there."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import KafkaTrimmer
from pipeline.core.block import parse_certified
from pipeline.core.topics import Topics
from tests.support.commands import Ended, bkdms, settings_file
from tests.support.nodes import ChainRig, chain_rig
from tests.support.world import TestSite, control_value, packet_value

pytestmark = pytest.mark.stack


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[ChainRig]:
    """A chain of four published blocks, some refused records in its log, and no node running."""
    async with chain_rig(stack, topics, tmp_path) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        await opened.send([control_value(raw) for raw in opened.world.enrolment(opened.site)])
        await opened.until_published(1)
        for height in (2, 3, 4):
            await opened.send([fresh_packet(opened.site), b"junk", fresh_packet(opened.site)])
            await opened.until_published(height)
        for name in list(opened.tasks):
            await opened.stop_node(name)
        yield opened


def fresh_packet(site: TestSite) -> bytes:
    return packet_value(site.packet(time_ms=SystemClock().now_ms()))


@pytest.mark.faults
async def test_blocks_are_derived_again_from_the_log_that_is_there(rig: ChainRig, tmp_path: Path) -> None:
    settings = settings_file(rig, tmp_path / "audit", "auditor")
    blocks = [parse_certified(block.certified) for block in await rig.blocks()]
    height = len(blocks)

    async def verify(*arguments: str) -> Ended:
        return await bkdms(settings, "verify", "--json", *arguments)

    ended = await verify("--resume", str(tmp_path / "progress"))
    assert ended.code == 0, ended
    found = json.loads(ended.out)
    assert (found["blocks"], found["log_blocks"], found["log_missing"]) == (height, height, 0)
    third = blocks[2]
    assert third is not None
    await KafkaTrimmer(rig.connection("node", "rig")).trim(rig.topics.chain, 0, third[0].header.source.first)
    ended = await verify()
    assert ended.code == 0, ended
    assert json.loads(ended.out)["log_blocks"] == height - 2
    again = await verify("--resume", str(tmp_path / "progress"))
    assert again.code == 0, again
    found = json.loads(again.out)
    assert (found["resumed_after"], found["blocks"], found["log_blocks"]) == (height, height, 0)
