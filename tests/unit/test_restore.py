"""What ``ledger restore`` appends is verified, and complete as far as anything certified or signed survives."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pipeline.core.block import certified_body, encode_certified
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.outcome import Outcome
from pipeline.core.replica import Extended, extend
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing, SignedBlock
from pipeline.services.accounting.votes import Candidate, vote_message
from pipeline.services.restore import Restore, Restored, Supply
from pipeline.services.signatures import SignaturePool
from pipeline.services.site_directory import SiteDirectory
from tests.support.chain import Chain, MemoryReader, MemoryTopic, framed
from tests.support.world import NOW_MS, World, control_value, packet_value, secret

TOPICS = Topics()
NODES = [f"node-{number}" for number in range(4)]


@dataclass
class Kafka:
    """Blocks and site registrations as they were put on their topics; a send may be cut short, once."""

    blocks: MemoryTopic = field(default_factory=MemoryTopic)
    sites: list[bytes | None] = field(default_factory=list)
    cut_at: int | None = None

    async def send(self, batch: Sequence[Outgoing]) -> None:
        for record in batch:
            if self.cut_at == len(self.blocks.values):
                self.cut_at = None
                raise TransientError("Kafka is away", code="kafka")
            (self.blocks.values if record.topic == TOPICS.blocks else self.sites).append(record.value)

    async def close(self) -> None:
        """Leave."""

    def heights(self, world: World) -> list[int]:
        """Return the heights that a replica of our own takes from the blocks topic, in order."""
        state, found = world.state(), []
        for value in self.blocks.values:
            if isinstance(extend(state, certified_body(value)), Extended):
                found.append(state.head.height)
        return found


@pytest.fixture
def chain() -> Chain:
    """Return a chain of twenty blocks."""
    made = Chain()
    site = made.world.site(1)
    made.enrol(site)
    for value in range(19):
        made.packets(site.packet([value]))
    return made


async def restore(
    chain: Chain, kafka: Kafka, *supplies: Supply, signed: Sequence[SignedBlock] = ()
) -> Restored:
    pool = SignaturePool(1)
    try:
        work = Restore(chain.world.genesis, TOPICS, MemoryReader(kafka.blocks), kafka, pool)
        return await work.run(supplies, signed)
    finally:
        pool.close()


def supply(chain: Chain, first: int = 1, last: int = 20, name: str = "export") -> Supply:
    return Supply(name, [(height, chain.certified[height - 1]) for height in range(first, last + 1)])


def signed(chain: Chain, derived: Derived, node: str, *, body: bool = True, by: str = "") -> SignedBlock:
    """Return the signing record of a node for a block."""
    about = Candidate(derived.block.header.height, derived.block.hash, derived.checkpoint)
    signer = chain.world.node_signers[by or node]
    message = vote_message(chain.world.genesis.chain, about, node, [signer], 1)
    return SignedBlock(about.height, about.block_hash, message, derived.block.encoded if body else b"")


async def test_an_empty_topic_is_filled_with_the_very_blocks_that_were_published(chain: Chain) -> None:
    kafka = Kafka()
    done = await restore(chain, kafka, supply(chain))
    assert (done.found, done.height, done.problems, done.unfinished) == (0, 20, (), ())
    assert kafka.blocks.values == [framed(certified) for certified in chain.certified]


async def test_validators_learn_the_sites_again(chain: Chain) -> None:
    """From the blocks that are on the topic already, too."""
    for present in (0, 5, 20):
        kafka = Kafka()
        kafka.blocks.publish(chain.certified[:present])
        await restore(chain, kafka, supply(chain))
        directory = SiteDirectory(chain.world.genesis)
        for value in kafka.sites:
            directory.apply(value)
        assert len(directory) == 1


@pytest.mark.parametrize("cut_at", [0, 1, 5, 16, 19])
async def test_what_was_cut_short_is_completed_by_running_it_again(chain: Chain, cut_at: int) -> None:
    kafka = Kafka(cut_at=cut_at)
    with pytest.raises(TransientError):
        await restore(chain, kafka, supply(chain))
    done = await restore(chain, kafka, supply(chain))
    assert (done.found, done.height) == (cut_at, 20)
    assert kafka.blocks.values == [framed(certified) for certified in chain.certified]
    assert kafka.sites
    again = await restore(chain, kafka, supply(chain))
    assert (again.found, again.problems, len(kafka.blocks.values)) == (20, (), 20)


async def test_blocks_come_from_wherever_they_are(chain: Chain) -> None:
    kafka = Kafka()
    done = await restore(chain, kafka, supply(chain, 15, 20, "node"), supply(chain, 1, 15))
    assert (done.height, done.problems) == (20, ())
    assert kafka.heights(chain.world) == list(range(1, 21))


async def test_blocks_that_no_source_has_are_named(chain: Chain) -> None:
    kafka = Kafka()
    done = await restore(chain, kafka, supply(chain, 1, 10), supply(chain, 13, 20, "nodes/node-1"))
    assert done.height == 10
    (problem,) = done.problems
    assert problem == "block 11 is missing: nodes/node-1 goes on with the certified block 13"


async def test_a_damaged_block_is_named_and_taken_from_another_source(chain: Chain) -> None:
    damaged = bytearray(chain.certified[4])
    damaged[200] ^= 1
    spoiled = Supply("spoiled", [*enumerate(chain.certified[:4], 1), (5, bytes(damaged))])
    done = await restore(chain, Kafka(), spoiled)
    assert done.height == 4
    assert done.problems[0].startswith("spoiled: block ")
    spoiled = Supply("spoiled", [*enumerate(chain.certified[:4], 1), (5, bytes(damaged))])
    done = await restore(chain, Kafka(), spoiled, supply(chain))
    assert (done.height, done.problems) == (20, ())


async def test_rubbish_and_repeats_on_the_topic_stop_nothing(chain: Chain) -> None:
    kafka = Kafka()
    kafka.blocks.publish([chain.certified[0], b"rubbish", chain.certified[0], chain.certified[1]])
    kafka.blocks.values.append(None)
    done = await restore(chain, kafka, supply(chain))
    assert (done.found, done.height, done.problems) == (2, 20, ())
    assert kafka.heights(chain.world) == list(range(1, 21))


async def test_a_topic_with_a_gap_is_completed_or_the_gap_is_named(chain: Chain) -> None:
    kafka = Kafka()
    kafka.blocks.publish([chain.certified[0], chain.certified[3]])
    done = await restore(chain, kafka, supply(chain, 1, 2))
    assert done.height == 2
    assert "which no block after 2 leads to" in done.problems[0]
    done = await restore(chain, kafka, supply(chain))
    assert (done.height, done.problems) == (20, ())


def fork(chain: Chain) -> bytes:
    """Return another block 5 with a valid certificate."""
    state = chain.world.state()
    for certified in chain.certified[:4]:
        assert isinstance(extend(state, certified), Extended)
    deriver = Deriver(state)
    value = control_value(chain.world.backfill(chain.world.site(1), 0, 1))
    assert deriver.feed(LogRecord(deriver.next_offset, NOW_MS, value)).outcome is Outcome.ADMITTED
    return chain.world.certified(deriver.close()[0])


@pytest.mark.parametrize("first", [True, False])
async def test_two_certified_chains_are_a_fork_and_neither_is_written(chain: Chain, first: bool) -> None:
    kafka = Kafka()
    kafka.blocks.publish(chain.certified[:4])
    rows = [(5, chain.certified[4]), (5, fork(chain))]
    with pytest.raises(IntegrityError) as halted:
        await restore(chain, kafka, Supply("both", rows if first else rows[::-1]))
    assert halted.value.code == "fork"
    assert len(kafka.blocks.values) == 4


async def test_a_topic_that_is_no_prefix_of_the_sources_is_refused(chain: Chain) -> None:
    kafka = Kafka()
    kafka.blocks.publish([*chain.certified[:4], fork(chain)])
    with pytest.raises(IntegrityError) as halted:
        await restore(chain, kafka, supply(chain))
    assert halted.value.code == "fork"
    assert len(kafka.blocks.values) == 5


async def test_what_enough_nodes_signed_is_completed(chain: Chain) -> None:
    """Two blocks that no folder holds a certificate of; one node's record lacks the block itself."""
    kafka = Kafka()
    records = [
        signed(chain, derived, node, body=node != "node-1")
        for derived in chain.blocks[18:]
        for node in NODES[:3]
    ]
    done = await restore(chain, kafka, supply(chain, 1, 18), signed=records)
    assert (done.height, done.completed, done.unfinished) == (20, (19, 20), ())
    assert kafka.heights(chain.world) == list(range(1, 21))


async def test_what_too_few_nodes_signed_is_named_and_left_alone(chain: Chain) -> None:
    kafka, last = Kafka(), chain.blocks[19]
    for count, blocking in ((1, False), (2, True)):
        records = [signed(chain, last, node) for node in NODES[:count]]
        done = await restore(chain, kafka, supply(chain, 1, 19), signed=records)
        (item,) = done.unfinished
        assert (done.height, item.height, item.block_hash) == (19, 20, last.block.hash)
        assert item.nodes == tuple(NODES[:count])
        assert item.blocks_the_chain is blocking


async def test_a_node_counts_once_and_only_by_its_own_key(chain: Chain) -> None:
    last = chain.blocks[19]
    records = [signed(chain, last, node) for node in ("node-0", "node-0", "node-1")]
    records += [signed(chain, last, node, by="node-0") for node in ("node-2", "node-3")]
    done = await restore(chain, Kafka(), supply(chain, 1, 19), signed=records)
    assert done.height == 19
    assert done.unfinished[0].nodes == ("node-0", "node-1")


async def test_a_forged_record_does_not_spoil_what_enough_nodes_signed(chain: Chain) -> None:
    last = chain.blocks[19]
    records = [signed(chain, last, "node-3", by="node-0"), *(signed(chain, last, node) for node in NODES[:3])]
    done = await restore(chain, Kafka(), supply(chain, 1, 19), signed=records)
    assert (done.height, done.completed) == (20, (20,))


async def test_a_body_that_is_not_the_signed_block_is_not_completed(chain: Chain) -> None:
    last = chain.blocks[19]
    records = [signed(chain, last, node, body=False) for node in NODES]
    for body in (chain.blocks[18].block.encoded, b"rubbish", encode_certified(last.block, b"x")):
        lies = [SignedBlock(20, secret("x"), records[0].message, body), *records]
        assert (await restore(chain, Kafka(), supply(chain, 1, 19), signed=lies)).height == 19


async def test_nothing_is_completed_that_the_rules_refuse() -> None:
    """A quorum's signatures make no block good."""
    chain = Chain()
    site = chain.world.site(1)
    chain.enrol(site)
    chain.block(packet_value(site.packet([1])), control_value(chain.world.backfill(site, 0, 1)))
    lie = Chain(chain.world)
    lie.deriver.state.put("sites", site.name, chain.deriver.state.tables.sites[site.name])
    lie.deriver.state.put("offers", site.name, chain.deriver.state.tables.offers[site.name])
    lie.deriver.state.take_changes()
    lie.packets(chain.world.site(1).packet([1]))
    records = [signed(chain, lie.blocks[0], node) for node in NODES]
    done = await restore(chain, Kafka(), signed=records)
    assert done.height == 0
    assert "signing records: block 1" in done.problems[0]
