"""Hostile bytes on every topic of a real Kafka: each is refused by name, nothing stops, nothing is believed."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.core import avro
from pipeline.core.block import certified_body
from pipeline.core.control import Revoke
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, packet_id
from pipeline.core.replica import Extended, extend
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.accounting.votes import parse_vote
from pipeline.services.rejection import KEPT_BYTES
from pipeline.telemetry import node_metrics as metrics
from schemas import schema
from tests.support.chain import Chain, framed
from tests.support.nodes import ChainRig, chain_rig
from tests.support.outage_consumers import PlatformRig, ViewRig
from tests.support.outage_topics import read_observations
from tests.support.outage_values import (
    absurd_packets,
    enrolled,
    false_blocks,
    false_controls,
    false_registrations,
    false_votes,
    malformed_values,
    unfit_packets,
)
from tests.support.validation import registration_value
from tests.support.validators import ValidatorRig
from tests.support.waiting import read_topic
from tests.support.world import TestSite, World, control_value, packet_value

pytestmark = pytest.mark.stack
REJECTION = schema("Rejection")
DIVERGENT = 2  # of the false votes, those that the liar really signed


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[ChainRig]:
    """A fresh chain with no node running."""
    async with chain_rig(stack, topics, tmp_path) as opened:
        yield opened


def start_nodes(rig: ChainRig, *numbers: int) -> None:
    for number in numbers or range(len(rig.world.node_signers)):
        rig.start_node(f"node-{number}")


def fresh_packets(site: TestSite, count: int) -> list[bytes]:
    now_ms = SystemClock().now_ms()
    return [site.packet([value], time_ms=now_ms) for value in range(count)]


async def send_as(rig: ChainRig, role: str, topic: str, values: Sequence[bytes | None]) -> None:
    """Write values to partition 0 of a topic with the certificate of a role, one after the other."""
    producer = IdempotentProducer(rig.connection(role, "hostile"))
    for value in values:
        await producer.send([Outgoing(topic, value, b"hostile", 0)])
    await producer.close()


def outcomes() -> Counter[str]:
    """What the nodes of this process counted so far, together."""
    return Counter(
        {outcome.label: int(metrics.OUTCOMES.labels(outcome.label)._value.get()) for outcome in Outcome}
    )


def votes_counted(outcome: str) -> int:
    """How many messages of the cosignatures topic the nodes of this process counted with an outcome."""
    return sum(
        int(sample.value)
        for family in metrics.VOTES.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["outcome"] == outcome
    )


async def committed(rig: ChainRig) -> list[bytes]:
    """Verify the blocks topic with a replica of our own; return the identifiers of the packets in it."""
    state, found = rig.world.state(), []
    for record in await rig.read(rig.topics.blocks):
        result = extend(state, certified_body(record.value))
        if isinstance(result, Extended):
            found += [item.packet_id for item in result.admitted if isinstance(item, Packet)]
    return found


async def dead_letters(rig: ChainRig) -> dict[int, dict[str, Any]]:
    """Return the dead letters about the chain log by its offset."""
    letters = [
        avro.unframe(REJECTION, record.value or b"")
        for record in await read_topic(rig.connection("auditor", "rig"), rig.topics.rejected)
    ]
    return {letter["offset"]: letter for letter in letters if letter is not None}


async def votes(rig: ChainRig, height: int) -> dict[str, bytes]:
    """Return the block hash that each node cosigned at a height."""
    found = [parse_vote(rig.world.genesis.chain, r.value) for r in await rig.read(rig.topics.cosignatures)]
    return {vote.node: vote.block_hash for vote in found if vote is not None and vote.height == height}


async def derive_log(rig: ChainRig) -> list[Derived]:
    """Derive the chain log as a node does."""
    deriver = Deriver(rig.world.state())
    found: list[Derived] = []
    for record in await rig.read(rig.topics.chain):
        found.extend(deriver.feed(LogRecord(record.offset, record.time_ms, record.value)).closed)
    return found


@pytest.mark.faults
async def test_nothing_on_the_chain_log_stops_or_divides_the_nodes(rig: ChainRig) -> None:
    """Each hostile record is counted by every node under its name and kept as a dead letter; the rest is committed."""
    start_nodes(rig)
    case = enrolled(rig.world)
    await rig.send([control_value(raw) for raw in case.controls])
    await rig.until_published(1)
    before = outcomes()
    hostile = malformed_values(case) + absurd_packets(case) + false_controls(case)
    await send_as(rig, "validator", rig.topics.chain, [value for value, _ in hostile])
    good = fresh_packets(case.site, 5)
    await rig.send(list(map(packet_value, good)))
    await rig.until_published(2)
    nodes = len(rig.tasks)

    async def all_voted() -> bool:
        return len(await votes(rig, 2)) == nodes

    await rig.until(all_voted)
    assert len(set((await votes(rig, 2)).values())) == 1
    expected = Counter(outcome.label for _, outcome in hostile)
    counted = outcomes()
    counted.subtract(before)
    assert {name: counted[name] for name in expected} == {n: count * nodes for n, count in expected.items()}
    assert await committed(rig) == [packet_id(raw) for raw in good]
    letters = await dead_letters(rig)
    assert all(letter["stage"] == "chain" for letter in letters.values())
    assert [
        (letters[o]["reason"], letters[o]["value"], letters[o]["value_length"]) for o in sorted(letters)
    ] == [
        (outcome.label, (value or b"")[:KEPT_BYTES], len(value or b""))
        for value, outcome in hostile
        if outcome.is_refusal
    ]


@pytest.mark.faults
async def test_nodes_and_consumers_believe_nothing_false_on_the_topics_between_them(
    rig: ChainRig, tmp_path: Path
) -> None:
    """False votes and false blocks, some around a true certificate: counted, passed over, no part stops.

    The false blocks come before the true one is published; a node that starts anew reads them, too.
    """
    case, topics = enrolled(rig.world), rig.topics
    await send_as(rig, "node", topics.cosignatures, false_votes(rig.world, "node-3", 2))
    start_nodes(rig, 0, 1, 2)
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, topics, tmp_path)
    view = ViewRig(rig.connection("api", "a"), rig.world.genesis, topics, tmp_path)
    platform.give_key(case.site)
    await platform.start()
    view.start()
    await rig.send([control_value(raw) for raw in case.controls])
    await rig.until_published(1)
    await rig.stop_node("node-2")
    good = fresh_packets(case.site, 3)
    await rig.send(list(map(packet_value, good)))

    async def derived() -> bool:
        return len(await votes(rig, 2)) >= 2 and len(await derive_log(rig)) == 2

    await rig.until(derived)
    lies, invalid, divergent = (
        false_votes(rig.world, "node-3", 2),
        votes_counted("invalid"),
        votes_counted("divergent"),
    )
    await send_as(rig, "node", topics.cosignatures, lies)
    await rig.until(lambda: votes_counted("divergent") - divergent == 2 * DIVERGENT)
    await rig.until(lambda: votes_counted("invalid") - invalid == 2 * (len(lies) - DIVERGENT))
    block = (await derive_log(rig))[1]
    first = certified_body((await rig.read(topics.blocks))[0].value)
    false = false_blocks(rig.world, first, block.block, rig.world.certificate(block.checkpoint))
    forged = metrics.FORGED._value.get()
    await send_as(rig, "node", topics.blocks, false)
    rig.start_node("node-2")
    await rig.until_published(2)
    await rig.until(lambda: view.follower.height == 2 and len(platform.packets()) == 3)
    assert await committed(rig) == [packet_id(raw) for raw in good]
    assert platform.packets() == [("ok", "")] * 3
    assert len(view.skipped) == len(false) - 1  # an old block again is a repeat
    assert metrics.FORGED._value.get() - forged == 3 * (len(false) - 1)
    await rig.stop_node("node-0")
    rmtree(rig.folder / "node-0")
    rig.start_node("node-0")
    good += fresh_packets(case.site, 1)
    await rig.send([packet_value(good[-1])])
    await rig.until_published(3)
    assert await committed(rig) == [packet_id(raw) for raw in good]
    await platform.close()
    await view.close()


async def test_validators_believe_nothing_false_on_the_sites_topic(
    stack: EmbeddedStack, topics: Topics, tmp_path: Path
) -> None:
    """Unsigned, foreign and old registrations are counted by name; a revoked site stays out, the other gets through."""
    rig = ValidatorRig(stack, topics, tmp_path)
    revoked, other = enrolled(rig.world, 1), enrolled(rig.world, 2)
    out = Revoke(revoked.site.name, revoked.site.signer.public.fingerprint, "stolen")
    registered = [
        registration_value(rig.world, control, height)
        for height, control in enumerate((revoked.controls[0], other.controls[0], rig.world.control(out)), 1)
    ]
    false = false_registrations(revoked)
    node = IdempotentProducer(rig.connection("node", "rig"))
    keys = itertools.count()
    values = [*registered, *(value for value, _ in false)]
    await node.send([Outgoing(topics.sites, value, b"%d" % next(keys)) for value in values])
    rig.start("validator-1")
    page = rig.metrics("validator-1")
    counts = Counter(outcome.label for _, outcome in false)
    assert {name: registrations(page, name) for name in counts} == counts
    assert registrations(page, "admitted") == len(registered)
    refused, good = packet_value(revoked.site.packet()), packet_value(other.site.packet())
    await rig.submit(None, [refused, good])
    assert [record.value for record in await rig.read(topics.chain, 1)] == [good]
    assert rig.reasons(await rig.read(topics.rejected, 1)) == ["inactive_site"]
    assert rig.terminate("validator-1") == 0
    await node.close()
    await rig.close()


def registrations(page: str, outcome: str) -> int:
    """Read from a validator's metrics page how many registrations had an outcome."""
    start = f'bkdms_registrations_total{{outcome="{outcome}"}} '
    return sum(int(float(line.removeprefix(start))) for line in page.splitlines() if line.startswith(start))


async def test_the_platform_records_what_does_not_fit_and_publishes_nothing_of_it(
    stack: EmbeddedStack, topics: Topics, tmp_path: Path
) -> None:
    """Packets that do not open, or hold what their site may not say, are named; the ones around them are stored."""
    rig = ChainRig(stack, World(topic=topics.chain), topics, tmp_path)
    chain = Chain(rig.world)
    good, keyless, *others = (rig.world.site(number) for number in (1, 2, 11, 12))
    chain.enrol(good, keyless, *others)
    unfit = unfit_packets(rig.world, good, keyless)
    chain.packets(*(raw for raw, _ in unfit))
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, topics, tmp_path)
    for site in (good, *others):
        platform.give_key(site)
    await platform.start()
    await send_as(rig, "node", topics.blocks, list(map(framed, chain.certified)))
    await rig.until(lambda: platform.packets() == [found for _, found in unfit])

    async def published() -> list[list[str]]:
        messages = await read_observations(rig.connection("analyst", "a"), topics.observations)
        return [[item["exact"] for item in message["observations"]] for message in messages]

    async def last_is_out() -> bool:
        return ["0.06"] in await published()

    await rig.until(last_is_out)
    assert await published() == [["0.01"], ["0.06"]]
    assert platform.rows("SELECT count(*) FROM observations") == [(2,)]
    await platform.close()
    await rig.close()
