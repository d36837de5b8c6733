"""A node that starts after a disaster goes on only where root keys say so, and forgets no certified block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import encode_certified
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from pipeline.ports import Received, SignedBlock
from pipeline.services.accounting.publishing import Publishing
from pipeline.services.accounting.startup import Resumed, catch_up, ledger_block
from pipeline.services.signatures import SignaturePool
from tests.support.chain import MemoryReader, MemoryTopic, framed
from tests.support.world import NOW_MS, PERIOD_MS, World, control_value, packet_value, secret


class LogReader(MemoryReader):
    """The chain log in memory, with one period between two records."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        found = await super().fetch(max_records, timeout_ms)
        return [record._replace(time_ms=NOW_MS + PERIOD_MS * record.offset) for record in found]


class Case:
    """A node that read three published blocks, and what becomes of its topics."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.site = self.world.site(1)
        values = [control_value(raw) for raw in self.world.enrolment(self.site)]
        values += [packet_value(self.site.packet()), TICK_VALUE]
        self.log = MemoryTopic("log", list(values))
        self.state = self.world.state()
        self.certified: list[bytes] = []
        self.derive(values)
        self.store = SqliteNodeStore(folder, self.world.genesis)
        self.pool = SignaturePool(1)

    def derive(self, values: Sequence[bytes], first: int = 0) -> list[Derived]:
        """Derive values of a log that begin at an offset, after what was derived before."""
        deriver = Deriver(self.state)
        closed: list[Derived] = []
        for offset, value in enumerate(values, first):
            closed += deriver.feed(LogRecord(offset, NOW_MS + PERIOD_MS * offset, value)).closed
        self.certified += [self.world.certified(derived) for derived in closed]
        return closed

    def state_at(self, height: int) -> ChainState:
        """Return the state after the first blocks."""
        state = self.world.state()
        for certified in self.certified[:height]:
            assert isinstance(extend(state, certified), Extended)
        return state

    def reanchor(self, height: int = 3) -> bytes:
        """Return the reanchor of a block, framed."""
        return control_value(self.world.reanchor(self.state_at(height)))

    def lose_log(self, *values: bytes) -> None:
        """Put another log in the place of the one that was consumed."""
        self.log = MemoryTopic("log", list(values))

    async def start(self, *published: bytes) -> Resumed:
        """Start the node on a blocks topic of these certified blocks; of all that there are by default."""
        topic = MemoryTopic("blocks", [framed(certified) for certified in published or self.certified])
        reader = MemoryReader(topic)
        return await catch_up(self.world.genesis, self.store, reader, LogReader(self.log), self.pool)


@pytest.fixture
async def case(tmp_path: Path) -> Iterator[Case]:  # type: ignore[misc]  # an asynchronous generator
    made = Case(tmp_path)
    assert (await made.start()).published == 3
    yield made
    made.store.close()
    made.pool.close()


async def test_a_log_that_was_replaced_halts_the_node_and_names_what_to_run(case: Case) -> None:
    case.lose_log(TICK_VALUE, TICK_VALUE, TICK_VALUE, TICK_VALUE, TICK_VALUE)
    with pytest.raises(IntegrityError, match="'bkdms ledger reanchor'") as halted:
        await case.start()
    assert halted.value.code == "log_differs"


async def test_a_log_that_gives_another_block_in_its_place_halts_the_node(case: Case) -> None:
    site = case.world.site(1)
    case.log.values[2] = packet_value(site.packet([99]))
    with pytest.raises(IntegrityError, match="no reanchor of block 3"):
        await case.start()


async def test_the_node_goes_on_at_the_reanchor_of_its_last_block(case: Case) -> None:
    good = await case.start()
    case.lose_log(TICK_VALUE, packet_value(case.site.packet()), case.reanchor(), TICK_VALUE)
    resumed = await case.start()
    assert resumed.log_next == 2
    assert resumed.state.head == good.state.head
    assert resumed.state.tables == good.state.tables
    assert resumed.last_changes == good.last_changes
    assert (resumed.before, resumed.tail) == (good.before, good.tail)
    assert good.log_next == good.state.head.next_offset == 3


async def test_of_two_reanchors_of_the_last_block_all_nodes_take_the_first(case: Case) -> None:
    state = case.state_at(3)
    others = control_value(case.world.reanchor(state, *case.world.roots[1:]))
    case.lose_log(case.reanchor(2), others, case.reanchor())
    assert (await case.start()).log_next == 1


@pytest.mark.parametrize("height", [0, 1, 2])
async def test_a_reanchor_of_an_older_block_makes_no_node_forget_a_newer_one(case: Case, height: int) -> None:
    case.lose_log(case.reanchor(height))
    with pytest.raises(IntegrityError, match="no reanchor of block 3"):
        await case.start()


async def test_a_reanchor_by_one_of_two_root_keys_is_none(case: Case) -> None:
    state = case.state_at(3)
    twice = case.world.roots[:1] * 2
    values = [case.world.reanchor(state, *signers) for signers in (case.world.roots[:1], twice)]
    case.lose_log(*map(control_value, values))
    with pytest.raises(IntegrityError, match="no reanchor of block 3"):
        await case.start()


async def test_where_the_log_gives_the_last_block_again_a_reanchor_is_not_looked_for(case: Case) -> None:
    case.log.values.append(case.reanchor())
    assert (await case.start()).log_next == 3


async def test_a_block_that_began_anew_is_derived_again_at_a_lower_offset(case: Case) -> None:
    case.lose_log(case.reanchor(), TICK_VALUE)
    (block,) = case.derive([case.reanchor(), TICK_VALUE])
    resumed = await case.start()
    assert resumed.state.head == block.changes.head
    assert (resumed.state.head.incarnation, resumed.log_next) == (2, 1)
    assert (await case.start()).last_changes == block.changes
    case.lose_log(TICK_VALUE, TICK_VALUE)
    with pytest.raises(IntegrityError, match="no reanchor of block 4"):
        await case.start()
    case.lose_log(TICK_VALUE, case.reanchor(4))
    assert (await case.start()).log_next == 1


async def test_a_chain_without_blocks_needs_a_reanchor_only_where_its_log_begins_later(
    tmp_path: Path,
) -> None:
    case = Case(tmp_path)
    assert (await case.start(b"no block")).log_next == 0
    case.log.first = 1
    with pytest.raises(IntegrityError, match="begins later"):
        await case.start(b"no block")
    case.log.values[2] = case.reanchor(0)
    assert (await case.start(b"no block")).log_next == 2
    case.store.close()
    case.pool.close()


GARBAGE = b"no block"


async def test_a_restored_topic_has_other_offsets_and_is_found_again(case: Case) -> None:
    """Shorter than before, of the same length, longer; with blocks beyond what the node had read."""
    first, second, third = case.certified
    repeats = (first, first, GARBAGE, second, second, third)
    assert (await case.start(*repeats)).published == 3
    case.store.mark_published(3, 6, 0)
    case.lose_log(case.reanchor(), TICK_VALUE, TICK_VALUE)
    resumed = await case.start(first, second, third)
    assert (resumed.published, resumed.blocks_next, resumed.log_next) == (3, 3, 0)
    case.store.mark_published(3, 6, 0)
    for _ in range(4):
        case.derive([control_value(case.world.reanchor(case.state)), TICK_VALUE])
    case.lose_log(TICK_VALUE)
    with pytest.raises(IntegrityError, match="no reanchor of block 7"):
        await case.start()
    case.lose_log(TICK_VALUE, case.reanchor(7))
    resumed = await case.start()
    assert (resumed.state.head.height, resumed.published, resumed.log_next) == (7, 7, 1)


async def test_a_topic_that_lost_published_blocks_halts_and_names_what_to_run(case: Case) -> None:
    case.lose_log(case.reanchor(2), TICK_VALUE)
    with pytest.raises(IntegrityError, match="'bkdms ledger restore'") as halted:
        await case.start(*case.certified[:2])
    assert halted.value.code == "blocks_topic_cut"


async def test_a_block_that_was_committed_and_not_published_is_not_forgotten(case: Case) -> None:
    """The topic was restored without it, and root keys reanchored the block before: the node halts, and keeps it."""
    values = [packet_value(case.site.packet()), TICK_VALUE]
    (fourth,) = case.derive(values, first=3)
    held = await case.start(*case.certified[:3])
    case.store.add_block(held.last_changes, ledger_block(fourth.block, case.certified[3]))
    case.lose_log(case.reanchor(3), TICK_VALUE)
    with pytest.raises(IntegrityError, match=r"block 4 is.*Blocks after 3 are in this node's folder only"):
        await case.start(*case.certified[:3])
    assert case.store.held_block(4) is not None
    case.lose_log(case.reanchor(4), TICK_VALUE)
    resumed = await case.start(*case.certified[:3])
    assert (resumed.state.head.height, resumed.published, resumed.log_next) == (4, 3, 0)


async def test_another_certified_chain_on_the_topic_is_a_fork(case: Case) -> None:
    case.store.mark_published(3, 9, 0)
    state = case.state_at(2)
    (other,) = Case.derive(_other(case, state), [packet_value(case.world.site(1).packet([7])), TICK_VALUE], 2)
    forged = encode_certified(other.block, case.world.certificate(other.checkpoint))
    with pytest.raises(IntegrityError, match="forked"):
        await case.start(*case.certified[:2], forged)


def _other(case: Case, state: ChainState) -> Case:
    other = object.__new__(Case)
    other.world, other.state, other.certified = case.world, state, []
    return other


@dataclass
class Cuts:
    """A ``Trimmer`` that notes what it was asked for."""

    made: list[tuple[str, int, int]] = field(default_factory=list)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        self.made.append((topic, partition, before))


async def test_offsets_of_the_log_before_trim_nothing(case: Case) -> None:
    """They could be beyond what is not consumed yet."""
    cuts = Cuts()
    links = SimpleNamespace(store=case.store, trimmer=cuts)
    for height, expected in ((6, [1]), (7, [1]), (8, [1, 10])):
        if height == 7:
            case.lose_log(*[TICK_VALUE] * 10, case.reanchor(), TICK_VALUE)
            case.derive([case.reanchor(), TICK_VALUE], first=10)
            await case.start()
        head = SimpleNamespace(changes=SimpleNamespace(head=case.state.head))
        memory: Any = SimpleNamespace(links=links, committed=head)
        await Publishing(memory)._trim(height)
        assert [before for _, _, before in cuts.made] == expected


def test_what_a_node_signed_is_kept_until_it_is_published(tmp_path: Path) -> None:
    store = SqliteNodeStore(tmp_path, World().genesis)
    records = [SignedBlock(height, secret(str(height)), b"vote", b"block") for height in (1, 2)]
    store.record_signed(records)
    store.record_signed(records)
    assert store.signed_above(0) == records
    store.mark_published(1, 1, 0)
    assert [record.encoded for record in store.signed_above(0)] == [b"", b"block"]
    store.close()
