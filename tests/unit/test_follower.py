"""The follower stores verified blocks only, each once, and halts where the quorum contradicts itself."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipeline.core.block import encode_certified, make_block
from pipeline.core.derive import Derived, entries_root
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.followed import Applied
from pipeline.core.replica import BlockReason
from pipeline.core.state import ChainState, Tables
from pipeline.ports import Received
from pipeline.services.follower import PATIENCE_MS, Follower, Skipped, follow_to_end
from tests.support.chain import Chain, MemoryReader, MemoryTopic, framed
from tests.support.world import TestSite, control_value


class MemorySink:
    """A sink in memory that refuses what a transaction would refuse; ``fail`` makes the next store fail."""

    def __init__(self, chain: Chain) -> None:
        self._genesis = chain.world.genesis
        self.applied: list[Applied] = []
        self.next_offset = 0
        self.fail = False
        self._tables, self._head = Tables(), ChainState(self._genesis).head

    def load(self) -> tuple[ChainState, int]:
        copies = Tables(**{part: dict(getattr(self._tables, part)) for part in Tables.__slots__})
        return ChainState(self._genesis, copies, self._head), self.next_offset

    def root_of_size(self, size: int) -> bytes | None:
        frontiers = [item.extended.changes.head.frontier for item in self.applied]
        return next((frontier.root() for frontier in frontiers if frontier.size == size), None)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        if self.fail:
            self.fail = False
            raise TransientError("the database is away")
        assert next_offset > self.next_offset or applied
        for item in applied:
            changes = item.extended.changes
            assert changes.head.height == self._head.height + 1
            for part in Tables.__slots__:
                getattr(self._tables, part).update(getattr(changes.tables, part))
            self._head = changes.head
        self.applied.extend(applied)
        self.next_offset = next_offset

    @property
    def heights(self) -> list[int]:
        return [item.extended.block.header.height for item in self.applied]


class Case:
    """A chain of an enrolment and three blocks of packets, a topic, a sink and a follower of it."""

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        self.chain = Chain()
        self.site: TestSite = self.chain.world.site(1)
        self.chain.enrol(self.site)
        for value in range(3):
            self.chain.packets(self.site.packet([value]))
        self.topic = MemoryTopic()
        self.sink = MemorySink(self.chain)
        self.skipped: list[Skipped] = []
        self.reader = MemoryReader(self.topic)
        self.follower = Follower(
            self.chain.world.genesis, self.reader, self.sink, pool=pool, alarm=self.skipped.append
        )

    def publish(self, *values: bytes) -> None:
        self.topic.values.extend(values)

    async def drain(self) -> None:
        while await self.follower.step(0):
            pass

    @property
    def reasons(self) -> list[BlockReason]:
        return [skipped.problem.reason for skipped in self.skipped]


@pytest.fixture
def case() -> Case:
    return Case()


def tampered(derived: Derived, entry: int = 0) -> Derived:
    """A block with one byte of an entry changed, resealed so that only nodes could have certified it."""
    entries = list(derived.block.entries)
    payload = bytearray(entries[entry].payload)
    payload[-1] ^= 1
    entries[entry] = replace(entries[entry], payload=bytes(payload))
    return replace(derived, block=make_block(derived.block.header, entries))


async def test_all_blocks_are_stored_in_order_with_their_offsets(case: Case) -> None:
    case.topic.publish(case.chain.certified)
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]
    assert [item.kafka_offset for item in case.sink.applied] == [0, 1, 2, 3]
    assert case.follower.caught_up


async def test_repeats_are_ignored_without_an_alarm(case: Case) -> None:
    blocks = case.chain.certified
    case.topic.publish([blocks[0], blocks[0], blocks[1], blocks[0], blocks[1], *blocks[1:]])
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]
    assert case.skipped == []


@pytest.mark.parametrize("junk", [None, b"", b"\x00", b"junk", framed(b""), framed(b"\xff" * 99)])
async def test_bytes_that_are_no_block_are_skipped_and_alarmed(case: Case, junk: bytes | None) -> None:
    blocks = case.chain.certified
    case.topic.publish(blocks[:2])
    case.topic.values.append(junk)
    case.topic.publish(blocks[2:])
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]
    assert case.reasons == [BlockReason.MALFORMED]


async def test_a_block_that_too_few_nodes_certified_is_skipped(case: Case) -> None:
    world, blocks = case.chain.world, case.chain.blocks
    case.publish(framed(world.certified(blocks[0], ["node-0", "node-1"])))
    case.topic.publish(case.chain.certified)
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]
    assert case.reasons == [BlockReason.CERTIFICATE]


async def test_a_changed_block_under_a_good_certificate_is_skipped(case: Case) -> None:
    blocks = case.chain.blocks
    certificate = case.chain.world.certificate(blocks[1].checkpoint)
    case.topic.publish(case.chain.certified[:1])
    case.publish(framed(encode_certified(tampered(blocks[1]).block, certificate)))
    case.topic.publish(case.chain.certified[1:])
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]
    assert case.reasons == [BlockReason.TREE]


async def test_a_good_block_published_too_early_does_no_harm(case: Case) -> None:
    blocks = case.chain.certified
    case.topic.publish([blocks[0], blocks[2], blocks[1], blocks[2], blocks[3]])
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]


async def test_a_missing_block_halts_when_the_topic_stays_at_its_end(case: Case) -> None:
    blocks = case.chain.certified
    case.topic.publish([blocks[0], blocks[2]])
    await case.follower.step(0)
    with pytest.raises(IntegrityError, match="bkdms verify") as halted:
        await wait_for_ever(case.follower)
    assert halted.value.code == "block_gap"
    assert case.sink.heights == [1]


class BusyReader(MemoryReader):
    """A topic that somebody writes to all the time."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        await asyncio.sleep(0.01)
        self._topic.values.append(b"junk")
        return await super().fetch(max_records, timeout_ms)


async def test_a_missing_block_halts_though_the_topic_never_stays_at_its_end(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.services.follower.PATIENCE_MS", 50)
    blocks = case.chain.certified
    case.topic.publish([blocks[0], blocks[2]])
    follower = Follower(case.chain.world.genesis, BusyReader(case.topic), case.sink)
    with pytest.raises(IntegrityError) as halted:
        for _ in range(200):
            await follower.step(1000)
    assert halted.value.code == "block_gap"


async def test_who_follows_to_the_end_does_not_take_a_missing_block_for_it(case: Case) -> None:
    blocks = case.chain.certified
    case.topic.publish([blocks[0], blocks[2]])
    with pytest.raises(IntegrityError) as halted:
        await follow_to_end(case.follower)
    assert halted.value.code == "block_gap"


async def wait_for_ever(follower: Follower) -> None:
    """Step with patience until the topic has no more to say: at its end, and once more from its beginning."""
    for _ in range(3):
        await follower.step(PATIENCE_MS)


async def restored(case: Case, values: list[bytes | None]) -> Follower:
    """Return a follower that starts on another topic than the one that was stored from."""
    case.topic.values.insert(0, b"junk")
    case.topic.publish(case.chain.certified)
    await case.drain()
    case.reader = MemoryReader(MemoryTopic(values=values))
    return Follower(case.chain.world.genesis, case.reader, case.sink)


async def test_a_topic_that_was_restored_at_lower_offsets_is_read_from_its_beginning(case: Case) -> None:
    """The stored position lies behind its end; the blocks are the same, and those after them are stored."""
    blocks = [framed(data) for data in case.chain.certified]
    case.topic.values.extend([None] * 3)
    follower = await restored(case, [*blocks])
    while not follower.caught_up or follower.awaits_blocks:
        await follower.step(0)
    assert case.sink.heights == [1, 2, 3, 4]
    case.chain.packets(case.site.packet([9]))
    case.reader._topic.publish(case.chain.certified[4:])
    await follower.step(0)
    assert case.sink.heights == [1, 2, 3, 4, 5]
    assert case.sink.next_offset == 5


async def test_a_position_behind_blocks_that_a_restored_topic_holds_is_given_up(case: Case) -> None:
    """The topic grew past the stored position before the follower came back."""
    follower = await restored(case, [])
    case.sink.next_offset = 5
    for value in range(2):
        case.chain.packets(case.site.packet([value]))
    case.reader._topic.publish(case.chain.certified)
    while not follower.caught_up or follower.awaits_blocks:
        await follower.step(PATIENCE_MS)
    assert case.sink.heights == [1, 2, 3, 4, 5, 6]


async def test_a_topic_that_was_restored_from_a_fork_halts(case: Case) -> None:
    fork = other_history(case)
    follower = await restored(case, [framed(data) for data in fork.certified])
    with pytest.raises(IntegrityError) as halted:
        await wait_for_ever(follower)
    assert halted.value.code == "fork"


def other_history(case: Case) -> Chain:
    """Another chain of the same genesis whose second block holds another packet."""
    fork = Chain(case.chain.world)
    fork.block(*(control_value(entry.payload) for entry in case.chain.blocks[0].block.entries))
    fork.packets(case.chain.world.site(1).packet([99]))
    return fork


async def test_two_valid_certificates_at_one_height_halt(case: Case) -> None:
    case.topic.publish(case.chain.certified[:2])
    case.publish(framed(other_history(case).certified[1]))
    with pytest.raises(IntegrityError) as halted:
        await case.drain()
    assert halted.value.code == "fork"
    assert case.sink.heights == [1, 2], "what was good is stored before the halt"


async def test_a_fork_halts_also_after_a_restart(case: Case) -> None:
    case.topic.publish(case.chain.certified[:3])
    await case.drain()
    case.publish(framed(other_history(case).certified[1]))
    again = Follower(case.chain.world.genesis, MemoryReader(case.topic), case.sink)
    with pytest.raises(IntegrityError) as halted:
        await again.step(0)
    assert halted.value.code == "fork"


def certified_header(case: Case, **fields: object) -> bytes:
    """Block 2 with header fields changed, certified by the nodes as it is."""
    derived = case.chain.blocks[1]
    block = make_block(replace(derived.block.header, **fields), derived.block.entries)  # type: ignore[arg-type]
    frontier = case.chain.blocks[0].changes.head.frontier.extend(block.leaf_hashes)
    checkpoint = replace(derived.checkpoint, size=frontier.size, root=frontier.root())
    return framed(encode_certified(block, case.chain.world.certificate(checkpoint)))


async def test_a_certified_block_of_newer_rules_halts_and_says_upgrade(case: Case) -> None:
    case.topic.publish(case.chain.certified[:1])
    case.publish(certified_header(case, rules_version=2))
    with pytest.raises(IntegrityError, match="newer release") as halted:
        await case.drain()
    assert halted.value.code == "upgrade_needed"


async def test_a_certified_block_that_our_rules_refuse_halts(case: Case) -> None:
    case.topic.publish(case.chain.certified[:1])
    case.publish(certified_header(case, contract_hash=bytes(32)))
    with pytest.raises(IntegrityError) as halted:
        await case.drain()
    assert halted.value.code == "rules_differ"


async def test_after_a_failed_store_the_same_blocks_are_stored(case: Case) -> None:
    case.topic.publish(case.chain.certified)
    case.sink.fail = True
    with pytest.raises(TransientError):
        await case.drain()
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]


async def test_while_kafka_is_away_nothing_is_lost(case: Case) -> None:
    case.topic.publish(case.chain.certified)
    case.reader.fail_next = 1
    with pytest.raises(TransientError):
        await case.drain()
    await case.drain()
    assert case.sink.heights == [1, 2, 3, 4]


@pytest.mark.parametrize("left", [0, 2])
async def test_a_topic_that_ends_before_what_is_stored_halts_and_names_the_remedy(
    case: Case, left: int
) -> None:
    follower = await restored(case, [framed(data) for data in case.chain.certified[:left]])
    with pytest.raises(IntegrityError, match="bkdms ledger restore") as halted:
        await wait_for_ever(follower)
    assert halted.value.code == "blocks_topic_cut"
    assert case.sink.next_offset == 5, "the next start finds out as well"


async def test_signatures_on_a_pool_give_the_same_blocks() -> None:
    with ThreadPoolExecutor(2) as pool:
        case = Case(pool)
        case.topic.publish(case.chain.certified)
        await case.drain()
        assert case.sink.heights == [1, 2, 3, 4]


async def test_a_certified_block_with_a_bad_signature_halts_with_a_pool_as_without() -> None:
    with ThreadPoolExecutor(2) as pool:
        for threads in (pool, None):
            case = Case(threads)
            block = tampered(case.chain.blocks[1]).block
            header = replace(block.header, entries_root=entries_root(block.entries))
            block = make_block(header, block.entries)
            frontier = case.chain.blocks[0].changes.head.frontier.extend(block.leaf_hashes)
            checkpoint = replace(case.chain.blocks[1].checkpoint, size=frontier.size, root=frontier.root())
            case.topic.publish(case.chain.certified[:1])
            case.publish(framed(encode_certified(block, case.chain.world.certificate(checkpoint))))
            with pytest.raises(IntegrityError, match="bad_signature") as halted:
                await case.drain()
            assert halted.value.code == "rules_differ"
            assert case.sink.heights == [1]
