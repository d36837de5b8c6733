"""A node that starts believes only what a quorum certified and what it signed itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import encode_certified, make_block
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.replica import extend
from pipeline.core.state import ChainState
from pipeline.ports import Received, SignedBlock
from pipeline.services.accounting.startup import Resumed, catch_up, ledger_block, recover_signing_records
from pipeline.services.accounting.votes import Candidate, vote_message
from pipeline.services.signatures import SignaturePool
from tests.support.chain import MemoryReader, MemoryTopic, framed
from tests.support.world import NOW_MS, PERIOD_MS, World, control_value, packet_value, secret


class LogReader(MemoryReader):
    """The chain log in memory, with one period between two records."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        found = await super().fetch(max_records, timeout_ms)
        return [record._replace(time_ms=NOW_MS + PERIOD_MS * record.offset) for record in found]


@dataclass
class Case:
    """A chain of three blocks, derived from a log, and the empty folder of a node."""

    folder: Path

    def __post_init__(self) -> None:
        self.world = World()
        site = self.world.site(1)
        values = [control_value(raw) for raw in self.world.enrolment(site)]
        self.log = MemoryTopic("log", [*values, packet_value(site.packet()), TICK_VALUE])
        self.blocks: list[Derived] = []
        deriver = Deriver(self.world.state())
        for offset, value in enumerate(self.log.values):
            time_ms = NOW_MS + PERIOD_MS * offset
            self.blocks.extend(deriver.feed(LogRecord(offset, time_ms, value)).closed)
        self.certified = [self.world.certified(derived) for derived in self.blocks]
        self.store = SqliteNodeStore(self.folder, self.world.genesis)
        self.pool = SignaturePool(1)

    def commit(self, count: int) -> None:
        """Put the first blocks into the folder, committed and unpublished."""
        before = None
        for derived, certified in list(zip(self.blocks, self.certified, strict=True))[:count]:
            self.store.add_block(before, ledger_block(derived.block, certified))
            before = derived.changes

    async def start(self, published: Sequence[bytes]) -> Resumed:
        """Start the node on a blocks topic."""
        reader = MemoryReader(MemoryTopic("blocks", list(published)))
        return await catch_up(self.world.genesis, self.store, reader, LogReader(self.log), self.pool)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.store.close()
    made.pool.close()


async def test_a_node_takes_a_height_for_published_only_by_the_very_block(case: Case) -> None:
    case.commit(3)
    second = case.blocks[1].block
    nobody = framed(encode_certified(second, b"no certificate"))
    other_header = make_block(replace(second.header, height=3), second.entries)
    forged = framed(encode_certified(other_header, b""))
    resumed = await case.start([framed(case.certified[0]), forged, nobody])
    assert (resumed.published, resumed.state.head.height) == (1, 3)
    topic = [framed(case.certified[0]), forged, nobody, framed(case.certified[1])]
    assert (await case.start(topic)).published == 2


async def test_a_gap_in_the_blocks_topic_is_derived_again_from_the_chain_log(case: Case) -> None:
    resumed = await case.start([framed(case.certified[0]), framed(case.certified[2])])
    assert (resumed.state.head.height, resumed.published) == (1, 1)


async def test_a_gap_that_the_chain_log_no_longer_holds_halts_the_node(case: Case) -> None:
    case.log.first = 2
    with pytest.raises(IntegrityError, match="gap after height 1"):
        await case.start([framed(case.certified[0]), framed(case.certified[2])])


class TrimmedReader(LogReader):
    """A chain log beside which the blocks topic grows, as often as somebody looks at the log."""

    def __init__(self, log: MemoryTopic, topic: MemoryTopic, coming: Sequence[bytes]) -> None:
        super().__init__(log)
        self.topic, self.coming = topic, list(coming)

    async def bounds(self) -> tuple[int, int]:
        if self.coming:
            self.topic.values.append(self.coming.pop(0))
        return await super().bounds()


async def test_a_log_that_is_trimmed_while_a_node_starts_does_not_halt_it(case: Case) -> None:
    """The blocks that were published meanwhile say where the log goes on."""
    blocks = [framed(certified) for certified in case.certified]
    case.log.first = case.blocks[-1].block.header.source.first
    topic = MemoryTopic("blocks", [*blocks[:1]])
    log = TrimmedReader(case.log, topic, blocks[1:])
    resumed = await catch_up(case.world.genesis, case.store, MemoryReader(topic), log, case.pool)
    assert (resumed.state.head.height, resumed.published) == (len(blocks), len(blocks))


async def test_a_log_that_differs_halts_a_node_though_blocks_go_on_appearing(case: Case) -> None:
    case.log.first = len(case.log.values)
    topic = MemoryTopic("blocks", [framed(case.certified[0])])
    log = TrimmedReader(case.log, topic, [b"rubbish"] * 1000)
    with pytest.raises(IntegrityError) as error:
        await catch_up(case.world.genesis, case.store, MemoryReader(topic), log, case.pool)
    assert error.value.code == "log_differs"


def vote(case: Case, candidate: Candidate, signer: str = "node-0") -> bytes:
    """Return a vote in the name of node-0."""
    signers = [case.world.node_signers[signer]]
    return vote_message(case.world.genesis.chain, candidate, "node-0", signers, 1)


def about(derived: Derived) -> Candidate:
    return Candidate(derived.block.header.height, derived.block.hash, derived.checkpoint)


async def recover(case: Case, votes: Sequence[bytes], state: ChainState | None = None) -> None:
    reader = MemoryReader(MemoryTopic("votes", list(votes)))
    await recover_signing_records(case.store, reader, "node-0", state or case.world.state())


async def test_a_node_takes_from_the_topic_only_what_it_signed_itself(case: Case) -> None:
    """Neither a message that another node wrote in its name nor its own signature under another height."""
    first = about(case.blocks[0])
    own = vote(case, first)
    in_its_name = vote(case, replace(first, height=5, block_hash=secret("other")), "node-3")
    moved = vote(case, replace(first, height=2, block_hash=secret("other")))
    await recover(case, [in_its_name, own, moved])
    assert case.store.signed(1) == SignedBlock(1, first.block_hash, own)
    assert (case.store.signed(2), case.store.signed(5)) == (None, None)


def other_block(case: Case, height: int) -> Candidate:
    """Return another block at a height, of another tree."""
    root = secret(f"other {height}")
    return replace(
        about(case.blocks[height - 1]),
        block_hash=root,
        checkpoint=replace(case.blocks[height - 1].checkpoint, root=root),
    )


async def test_an_old_copy_of_the_folder_learns_what_was_signed_since(case: Case) -> None:
    first, second = about(case.blocks[0]), other_block(case, 2)
    own = [vote(case, first), vote(case, second)]
    case.store.record_signed([SignedBlock(1, first.block_hash, own[0])])
    await recover(case, own)
    with pytest.raises(IntegrityError, match="signs no fork"):
        case.store.record_signed([SignedBlock(2, case.blocks[1].block.hash, b"message")])


async def test_a_known_signature_under_another_height_teaches_a_restarted_node_nothing(case: Case) -> None:
    """Its first message may be out of sight, so the folder tells which height it was for."""
    first = about(case.blocks[0])
    case.store.record_signed([SignedBlock(1, first.block_hash, vote(case, first))])
    await recover(case, [vote(case, replace(first, height=7))])
    assert case.store.signed(7) is None


async def test_signatures_below_the_head_bind_nobody(case: Case) -> None:
    """What a quorum certified is never signed again, so neither is anybody stopped by it."""
    state = case.world.state()
    extend(state, case.certified[0])
    await recover(case, [vote(case, about(case.blocks[0])), vote(case, other_block(case, 2))], state)
    assert [record.height for record in case.store.signed_above(0)] == [2]


@pytest.mark.parametrize(("mark", "learned"), [(1, [2]), (2, []), (3, [1, 2])])
async def test_votes_are_read_from_where_all_before_is_certified(
    case: Case, mark: int, learned: list[int]
) -> None:
    """A mark beyond the end is of a topic that is gone."""
    case.store.mark_votes_read(mark)
    await recover(case, [vote(case, other_block(case, height)) for height in (1, 2)])
    assert [record.height for record in case.store.signed_above(0)] == learned
