"""Surveyed and joined, or judged in full: the same blocks are taken, with the same outcome, whatever nodes certify."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.block import (
    Block,
    Entry,
    Header,
    Kind,
    LogSource,
    encode_certified,
    make_block,
    parse_certified,
)
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Revoke
from pipeline.core.derive import entries_root
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from pipeline.core.survey import Survey, join, survey
from tests.support.world import NOW_MS, PERIOD_MS, World

RIGHTS = ("sites", "grants", "offers")


@dataclass(frozen=True)
class Stock:
    """Records that a log could hold, good and bad ones: kinds and payloads."""

    world: World
    records: tuple[tuple[Kind, bytes], ...]


@cache
def stock() -> Stock:
    """Two sites let in, one not yet; the first records are admissible in order, those from ``BAD`` on never."""
    world = World()
    one, two, three = (world.site(number) for number in (1, 2, 3))
    found = [(Kind.CONTROL, raw) for site in (one, two) for raw in world.enrolment(site)]
    found += [(Kind.PACKET, one.packet([n])) for n in range(4)]
    found += [(Kind.PACKET, two.packet([n])) for n in range(2)]
    found.append((Kind.CONTROL, world.backfill(one, 0, 1)))
    old = two.packet([9], time_ms=1)
    found.append((Kind.CONTROL, world.backfill(two, 0, 1)))
    found.append((Kind.PACKET, old))
    found.append((Kind.CONTROL, world.control(Revoke(one.name, one.signer.public.fingerprint, "test"))))
    found += [(Kind.CONTROL, raw) for raw in world.enrolment(three)]
    found.append((Kind.PACKET, three.packet([1])))
    found.append((Kind.PACKET, one.packet([1], sequence=9)))
    broken = bytearray(found[5][1])
    broken[-1] ^= 1
    found.append((Kind.PACKET, bytes(broken)))
    found.append((Kind.PACKET, found[5][1] + b"x"))
    return Stock(world, tuple(found))


def next_block(state: ChainState, records: Sequence[tuple[Kind, bytes]], gap: int) -> Block:
    """Return the block that follows a state with these records, admissible or not."""
    head = state.head
    offset = head.next_offset + gap
    entries = [Entry(kind, offset + n, NOW_MS, payload) for n, (kind, payload) in enumerate(records)]
    start = NOW_MS - NOW_MS % PERIOD_MS
    header = Header(
        version=1,
        rules_version=state.rules_version,
        chain=state.chain,
        chain_id=state.genesis.url,
        height=head.height + 1,
        period_start=start,
        period_end=start + PERIOD_MS,
        part=head.part + 1 if head.period_start == start else 0,
        previous_hash=head.block_hash,
        first_index=head.frontier.size,
        entry_count=len(entries),
        entries_root=entries_root(entries),
        source=LogSource(head.incarnation, state.genesis.topic, 0, head.next_offset, offset + len(entries)),
        log_digest=bytes(32),
        contract_hash=state.contract.hash,
    )
    return make_block(header, entries)


def changed(header: Header, field: str, step: int) -> Header:
    """Return a header with one field that is another one."""
    if field in LogSource.__slots__:
        source: dict[str, Any] = {field: max(0, getattr(header.source, field) + step)}
        return replace(header, source=replace(header.source, **source))
    value = getattr(header, field)
    other = bytes((value[0] ^ 1,)) + value[1:] if isinstance(value, bytes) else max(0, value + step)
    fields: dict[str, Any] = {field: other}
    return replace(header, **fields)


FIELDS = (
    *(
        "rules_version",
        "chain",
        "height",
        "period_start",
        "period_end",
        "part",
        "previous_hash",
        "first_index",
    ),
    *("entry_count", "entries_root", "contract_hash", "incarnation", "partition", "first", "next"),
)
BAD = 17


@dataclass(frozen=True)
class Plan:
    """A block: how many of the next good records, others put in at a place, a header field changed, its tree."""

    good: int
    others: tuple[int, ...]
    at: int
    gap: int
    change: tuple[str, int] | None
    of_this_tree: bool

    def numbers(self, following: int) -> list[int]:
        """Return the numbers of its records, ``following`` the next good one."""
        numbers = list(range(following, min(following + self.good, BAD)))
        numbers[self.at : self.at] = self.others
        return numbers or [following % BAD]


def mostly(usual: Any, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw the usual thing thrice out of four times."""
    return st.integers(0, 3).flatmap(lambda n: others if n == 3 else st.just(usual))


PLANS = st.lists(
    st.builds(
        Plan,
        st.integers(1, 5),
        mostly((), st.lists(st.integers(0, 19), max_size=3).map(tuple)),
        st.integers(0, 4),
        st.integers(0, 1),
        mostly(None, st.tuples(st.sampled_from(FIELDS), st.sampled_from((-1, 1)))),
        mostly(True, st.just(False)),
    ),
    min_size=1,
    max_size=8,
)


def surveyed(state: ChainState, data: bytes) -> Survey | None:
    """Survey a block away from the chain, by the rights that are in force there."""
    away = ChainState(state.genesis)
    for name in RIGHTS:
        getattr(away.tables, name).update(getattr(state.tables, name))
    parsed = parse_certified(data)
    before = (away.head, repr(away.tables))
    found = None if parsed is None else survey(away, *parsed)
    assert (away.head, repr(away.tables)) == before
    return found


class Pair:
    """Two states that go on by the same blocks, one by ``extend``, one by ``survey`` and ``join``."""

    def __init__(self) -> None:
        self.state, self.joined = stock().world.state(), stock().world.state()

    def offer(
        self,
        numbers: Sequence[int],
        gap: int = 0,
        change: tuple[str, int] | None = None,
        *,
        of_this_tree: bool = True,
    ) -> bool:
        """Offer a certified block of these records to both, and return whether both took it."""
        state = self.state
        block = next_block(state, [stock().records[number] for number in numbers], gap)
        if change is not None:
            block = make_block(changed(block.header, *change), block.entries)
        leaves = block.leaf_hashes if of_this_tree else [bytes(32), *block.leaf_hashes[1:]]
        frontier = state.head.frontier.extend(leaves)
        checkpoint = Checkpoint(state.genesis.origin, frontier.size, frontier.root())
        data = encode_certified(block, stock().world.certificate(checkpoint))
        found = surveyed(self.joined, data)
        changes = None if found is None else join(self.joined, found)
        result = extend(state, data)
        assert changes == (result.changes if isinstance(result, Extended) else None)
        assert (self.joined.head, self.joined.tables) == (state.head, state.tables)
        return changes is not None


@settings(max_examples=40)
@given(plans=PLANS)
def test_a_survey_joins_where_the_block_extends_the_chain(plans: list[Plan]) -> None:
    pair, following = Pair(), 0
    for plan in plans:
        numbers = plan.numbers(following)
        if pair.offer(numbers, plan.gap, plan.change, of_this_tree=plan.of_this_tree):
            following = max(following, 1 + max((number for number in numbers if number < BAD), default=0))


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("gap", [0, 1])
def test_a_header_that_claims_something_else_joins_no_more_than_it_extends(
    field: str, step: int, gap: int
) -> None:
    pair = Pair()
    assert pair.offer([0, 1, 2, 3])
    assert pair.offer([4, 8])
    assert pair.offer([5, 6], gap, (field, step)) or pair.offer([5, 6], gap)


@pytest.mark.parametrize(
    "numbers", [[5], [8, 9, 8], [4, 5, 7], [9, 8], [12], [16], [18], [19], [4, 18], [4, 4], [0], [13, 4]]
)
def test_a_block_with_what_is_not_admissible_joins_no_more_than_it_extends(numbers: list[int]) -> None:
    pair = Pair()
    assert pair.offer([0, 1, 2, 3])
    assert not pair.offer(numbers)
    assert not pair.offer([4, 5], of_this_tree=False)
    assert pair.offer([4, 5])


def test_the_stock_is_admissible_in_order() -> None:
    pair = Pair()
    for numbers in ([0, 1, 2, 3], [4, 5, 8, 6], [7, 9, 10, 11, 12], [13, 14, 15, 16]):
        assert pair.offer(numbers)


@pytest.mark.parametrize("names", [["node-0", "node-1"], ["node-3"]])
def test_a_block_that_too_few_nodes_certified_is_not_surveyed(names: list[str]) -> None:
    state = stock().world.state()
    block = next_block(state, [stock().records[number] for number in (0, 1)], 0)
    frontier = state.head.frontier.extend(block.leaf_hashes)
    checkpoint = Checkpoint(state.genesis.origin, frontier.size, frontier.root())
    data = encode_certified(block, stock().world.certificate(checkpoint, names))
    assert surveyed(state, data) is None
    assert not isinstance(extend(state, data), Extended)
