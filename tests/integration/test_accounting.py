"""Accounting nodes on a real Kafka and a real Redis."""

from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.core import avro
from pipeline.core.keys import Use
from pipeline.core.replica import Extended, extend
from pipeline.core.signing import Ed25519Signer
from pipeline.core.topics import Topics
from pipeline.services.accounting.startup import certified_body
from tests.support.nodes import ChainRig, chain_rig
from tests.support.world import World, control_value, packet_value, secret

pytestmark = pytest.mark.stack


async def enrol(rig: ChainRig, count: int = 1) -> list:
    sites = [rig.world.site(number) for number in range(count)]
    await rig.send([control_value(raw) for site in sites for raw in rig.world.enrolment(site)])
    return sites


def now_packet(site, rig: ChainRig, value: int) -> bytes:
    from pipeline.adapters.clock import SystemClock

    return packet_value(site.packet([value], time_ms=SystemClock().now_ms()))


async def published_state(rig: ChainRig):
    """Replay the blocks topic with a verifier of our own and return state and admitted packets."""
    state, packets = rig.world.state(), []
    for record in await rig.read(rig.topics.blocks):
        result = extend(state, certified_body(record.value))
        assert isinstance(result, Extended), result
        packets += [p for p in result.admitted if hasattr(p, "packet_id")]
    return state, packets


async def test_four_nodes_commit_and_publish_what_was_sent(
    stack: EmbeddedStack, topics: Topics, tmp_path: Path
) -> None:
    async with chain_rig(stack, topics, tmp_path) as rig:
        for name in rig.world.node_signers:
            rig.start_node(name)
        (site,) = await enrol(rig)
        await rig.until_published(1)
        await rig.send([now_packet(site, rig, value) for value in range(20)])
        await rig.until_published(2)
        state, packets = await published_state(rig)
        assert [p.sequence for p in packets] == list(range(1, 21))
