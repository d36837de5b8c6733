"""A replica takes certified blocks only, names what is wrong with any other, and stays as it was."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import Block, Header, Kind, encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.contract import Contract
from pipeline.core.derive import Derived, entries_root
from pipeline.core.replica import BlockProblem, BlockReason, Extended, assume_signed, extend
from pipeline.core.state import ChainState
from tests.support.chain import Chain
from tests.support.world import World, secret

NODES = [f"node-{number}" for number in range(4)]


@cache
def chain() -> Chain:
    """Return a chain of three blocks: two sites enrolled, their packets, one more packet."""
    found = Chain()
    sites = [found.world.site(number) for number in (1, 2)]
    found.enrol(*sites)
    found.packets(*(site.packet([1, 2]) for site in sites))
    found.packets(sites[0].packet([3]))
    return found


def state_at(height: int) -> ChainState:
    """Return the state after the first blocks."""
    state = chain().world.state()
    for data in chain().certified[:height]:
        assert isinstance(extend(state, data), Extended)
    return state


def refused(state: ChainState, data: bytes, **arguments: Any) -> BlockProblem:
    """Return why a block is refused, after checking that the state is as before."""
    tables, head = deepcopy(state.tables), state.head
    found = extend(state, data, **arguments)
    assert isinstance(found, BlockProblem)
    assert state.tables == tables
    assert state.head == head
    return found


def certified(state: ChainState, block: Block, names: list[str] | None = None) -> bytes:
    """Return a block with a certificate of the tree that it would give: what a quorum that lies can make."""
    frontier = state.head.frontier.extend(block.leaf_hashes)
    checkpoint = Checkpoint(state.genesis.origin, frontier.size, frontier.root())
    return encode_certified(block, chain().world.certificate(checkpoint, names))


def test_every_block_extends_the_chain_in_order() -> None:
    assert state_at(3).head == chain().deriver.state.head
    assert state_at(3).tables == chain().deriver.state.tables


def test_an_extended_block_says_what_it_changed_and_where_it_is() -> None:
    state = state_at(1)
    found = extend(state, chain().certified[1])
    assert isinstance(found, Extended)
    first, second = chain().blocks[:2]
    assert found.changes == second.changes
    assert found.block_offset == len(first.block.encoded)
    assert [item.raw for item in found.admitted] == [entry.payload for entry in second.block.entries]


def test_a_block_again_is_a_repeat() -> None:
    for height, data in enumerate(chain().certified, 1):
        assert refused(state_at(3), data).reason is BlockReason.REPEAT
        assert refused(state_at(height), data).height == height


@pytest.mark.parametrize("bit", range(8))
def test_no_bit_of_a_certified_block_can_be_flipped(bit: int) -> None:
    """A flip in the block is refused; one in the certificate, too, for every signature has to be good."""
    data, state = chain().certified[1], state_at(1)
    for at in range(bit, len(data), 8):
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        before = state.head
        found = extend(state, bytes(flipped))
        assert isinstance(found, BlockProblem), f"bit {bit} of byte {at}"
        assert state.head == before
    assert state.tables == state_at(1).tables
    assert isinstance(extend(state, data), Extended)


CHANGES: dict[str, tuple[BlockReason, Callable[[Header], Header]]] = {
    "version": (BlockReason.UPGRADE, lambda h: replace(h, version=2)),
    "rules_version": (BlockReason.UPGRADE, lambda h: replace(h, rules_version=2)),
    "chain": (BlockReason.HEADER, lambda h: replace(h, chain=secret("other"))),
    "chain_id": (BlockReason.HEADER, lambda h: replace(h, chain_id="https://other.example")),
    "height 0": (BlockReason.REPEAT, lambda h: replace(h, height=0)),
    "height of the head": (BlockReason.REPEAT, lambda h: replace(h, height=h.height - 1)),
    "height ahead": (BlockReason.GAP, lambda h: replace(h, height=h.height + 1)),
    "period_start": (BlockReason.HEADER, lambda h: replace(h, period_start=h.period_start + 1)),
    "another period": (
        BlockReason.HEADER,
        lambda h: replace(h, period_start=h.period_start + 1000, period_end=h.period_end + 1000),
    ),
    "period_end": (BlockReason.HEADER, lambda h: replace(h, period_end=h.period_end + 1)),
    "part": (BlockReason.HEADER, lambda h: replace(h, part=1)),
    "previous_hash": (BlockReason.LINK, lambda h: replace(h, previous_hash=secret("other"))),
    "first_index": (BlockReason.TREE, lambda h: replace(h, first_index=h.first_index + 1)),
    "entry_count": (BlockReason.TREE, lambda h: replace(h, entry_count=h.entry_count + 1)),
    "huge entry_count": (BlockReason.HEADER, lambda h: replace(h, entry_count=2**63 - 1)),
    "entries_root": (BlockReason.TREE, lambda h: replace(h, entries_root=secret("other"))),
    "contract_hash": (BlockReason.HEADER, lambda h: replace(h, contract_hash=secret("other"))),
}
SOURCE_CHANGES: dict[str, dict[str, Any]] = {
    "incarnation": {"incarnation": 2},
    "topic": {"topic": "other"},
    "partition": {"partition": 1},
    "first too late": {"first": 99},
    "first too early": {"first": 0},
    "next before the last entry": {"next": 4},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_forged_header_field_is_named_even_where_a_quorum_certified_it(field: str) -> None:
    reason, change = CHANGES[field]
    state, genuine = state_at(1), chain().blocks[1].block
    forged = make_block(change(genuine.header), genuine.entries)
    problem = refused(state, certified(state, forged))
    if reason is BlockReason.GAP:
        assert problem.reason is reason
    else:
        assert (problem.reason, problem.height) == (reason, forged.header.height)
    if reason in (BlockReason.HEADER, BlockReason.TREE, BlockReason.LINK) and field in Header.__slots__:
        assert field.removesuffix("_start").removesuffix("_end").removesuffix("_id") in problem.detail


@pytest.mark.parametrize("name", SOURCE_CHANGES)
def test_a_forged_source_is_named(name: str) -> None:
    state, genuine = state_at(1), chain().blocks[1].block
    source = replace(genuine.header.source, **SOURCE_CHANGES[name])
    forged = make_block(replace(genuine.header, source=source), genuine.entries)
    problem = refused(state, certified(state, forged))
    assert problem.reason is BlockReason.HEADER
    assert "source" in problem.detail


@pytest.mark.parametrize("field", [*CHANGES, *SOURCE_CHANGES, "log_digest"])
def test_a_forged_header_under_the_genuine_certificate_is_refused_and_halts_nobody(field: str) -> None:
    """One lying node has the genuine certificate as soon as the others have; it must not stop them with it.

    A block of a height ahead is the exception: whether it is genuine only the blocks between can tell.
    """
    state, genuine = state_at(1), chain().blocks[1].block
    header = genuine.header
    if field in CHANGES:
        header = CHANGES[field][1](header)
    elif field in SOURCE_CHANGES:
        header = replace(header, source=replace(header.source, **SOURCE_CHANGES[field]))
    else:
        header = replace(header, log_digest=secret("other"))
    forged = make_block(header, genuine.entries)
    genuine_certificate = chain().world.certificate(chain().blocks[1].checkpoint)
    problem = refused(state, encode_certified(forged, genuine_certificate))
    assert problem.reason is not BlockReason.UPGRADE
    assert (problem.reason is BlockReason.GAP) == (field == "height ahead")


@pytest.mark.parametrize("height", [2, 3])
def test_a_genuine_later_block_is_a_gap_only_with_its_certificate(height: int) -> None:
    state, derived = chain().world.state(), chain().blocks[height - 1]
    assert refused(state, chain().certified[height - 1]).reason is BlockReason.GAP
    other = chain().world.certificate(chain().blocks[0].checkpoint)
    assert refused(state, encode_certified(derived.block, other)).reason is BlockReason.CERTIFICATE
    few = chain().world.certified(derived, NODES[:2])
    assert refused(state, few).reason is BlockReason.CERTIFICATE


def entries_changed(change: Callable[[list[Any]], list[Any]]) -> Block:
    """Return block 2 with other entries and the header that fits them."""
    genuine = chain().blocks[1].block
    entries = change(list(genuine.entries))
    header = replace(genuine.header, entry_count=len(entries), entries_root=entries_root(entries))
    return make_block(header, entries)


def other_bytes(entries: list[Any]) -> list[Any]:
    """Return entries of which the first has one bit of its signature flipped."""
    payload = bytearray(entries[0].payload)
    payload[-1] ^= 1
    return [replace(entries[0], payload=bytes(payload)), *entries[1:]]


ENTRY_CHANGES: dict[str, tuple[str, Callable[[list[Any]], list[Any]]]] = {
    "bad signature": ("entry 0: bad_signature", other_bytes),
    "doubled": ("entry 1: duplicate", lambda e: [e[0], replace(e[0], offset=e[1].offset)]),
    "other kind": ("entry 0: malformed", lambda e: [replace(e[0], kind=Kind.CONTROL), e[1]]),
    "garbage": ("entry 1: malformed", lambda e: [e[0], replace(e[1], payload=b"garbage")]),
    "out of order": ("source", lambda e: [e[1], e[0]]),
    "same offset": ("source", lambda e: [e[0], replace(e[1], offset=e[0].offset)]),
    "time of another period": ("period", lambda e: [e[0], replace(e[1], time_ms=e[1].time_ms + 1000)]),
}


@pytest.mark.parametrize("name", ENTRY_CHANGES)
def test_an_entry_that_is_not_admitted_is_named_even_where_a_quorum_certified_it(name: str) -> None:
    detail, change = ENTRY_CHANGES[name]
    state = state_at(1)
    problem = refused(state, certified(state, entries_changed(change)))
    assert detail in problem.detail


def test_a_block_without_entries_is_refused() -> None:
    state = state_at(1)
    assert refused(state, certified(state, entries_changed(lambda entries: []))).reason is BlockReason.TREE


def test_a_dropped_entry_needs_another_certificate() -> None:
    """Leaving an admitted record out is what only the quorum can do."""
    state, block = state_at(1), entries_changed(lambda entries: entries[:1])
    genuine = chain().world.certificate(chain().blocks[1].checkpoint)
    assert refused(state, encode_certified(block, genuine)).reason is BlockReason.CERTIFICATE


def test_a_block_of_more_entries_than_the_contract_allows_is_refused() -> None:
    small = Chain(World(contract=Contract(period_ms=1000, max_entries=2)))
    site = small.world.site(1)
    small.enrol(site)
    state = small.world.state()
    assert isinstance(extend(state, small.certified[0]), Extended)
    head, time = state.head, small.blocks[0].block.entries[0].time_ms
    template = chain().blocks[1].block.entries[0]
    entries = [
        replace(template, offset=head.next_offset + n, time_ms=time, payload=site.packet([n]))
        for n in range(3)
    ]
    first = small.blocks[0].block.header
    header = replace(
        first,
        height=2,
        part=1,
        previous_hash=head.block_hash,
        first_index=head.frontier.size,
        entry_count=3,
        entries_root=entries_root(entries),
        source=replace(first.source, first=head.next_offset, next=head.next_offset + 3),
    )
    problem = refused(state, certified(state, make_block(header, entries)))
    assert (problem.reason, "entry_count" in problem.detail) == (BlockReason.HEADER, True)
    header = replace(header, entry_count=2, entries_root=entries_root(entries[:2]))
    assert isinstance(extend(state, certified(state, make_block(header, entries[:2]))), Extended)


@pytest.mark.parametrize("names", [NODES[:1], NODES[:2], NODES[2:]])
def test_a_certificate_of_too_few_nodes_is_refused(names: list[str]) -> None:
    problem = refused(state_at(1), chain().world.certified(chain().blocks[1], names))
    assert (problem.reason, problem.detail) == (
        BlockReason.CERTIFICATE,
        f"too_few_nodes: {len(names)} of the 3 nodes needed",
    )


def test_any_quorum_of_nodes_will_do() -> None:
    for absent in NODES:
        names = [name for name in NODES if name != absent]
        assert isinstance(extend(state_at(1), chain().world.certified(chain().blocks[1], names)), Extended)


def liars() -> Checkpoint:
    """Return a checkpoint of the right size with another root."""
    genuine = chain().blocks[1].checkpoint
    return replace(genuine, root=secret("lie"))


def test_a_certificate_of_another_tree_is_refused_whoever_signed_it() -> None:
    block = chain().blocks[1].block
    problem = refused(state_at(1), encode_certified(block, chain().world.certificate(liars(), NODES)))
    assert (problem.reason, problem.detail) == (BlockReason.CERTIFICATE, "checkpoint is of another tree")


def test_a_liars_signature_does_not_make_up_the_quorum() -> None:
    """Its line says something else, so it is a bad signature of a known key."""
    world, genuine = chain().world, chain().blocks[1]
    lie = world.certificate(liars(), NODES[2:3]).split(b"\n\n")[1]
    mixed = world.certificate(genuine.checkpoint, NODES[:2]) + lie
    problem = refused(state_at(1), encode_certified(genuine.block, mixed))
    assert problem.reason is BlockReason.CERTIFICATE


@pytest.mark.parametrize("certificate", [b"", b"\n\n", b"\xff" * 100, b"\0", "— node-0 AAAA\n".encode()])
def test_bytes_that_are_no_certificate_are_refused(certificate: bytes) -> None:
    block = chain().blocks[1].block
    assert refused(state_at(1), encode_certified(block, certificate)).reason is BlockReason.CERTIFICATE


def test_bytes_that_are_no_block_are_malformed() -> None:
    data = chain().certified[1]
    for other in (b"", data[:-1], data + b"\0", bytes(1000), b"\xff" * 1000, bytes(900_001)):
        assert refused(state_at(1), other).reason is BlockReason.MALFORMED


def test_skipping_packet_signatures_skips_nothing_else() -> None:
    state = state_at(1)
    forged = certified(state, entries_changed(other_bytes))
    assert refused(state, forged).reason is BlockReason.ENTRY
    assert isinstance(extend(state, forged, assume_signed), Extended)
    lie = encode_certified(entries_changed(other_bytes), chain().world.certificate(liars()))
    assert refused(state_at(1), lie, check=assume_signed).reason is BlockReason.CERTIFICATE


def test_a_tick_is_no_entry() -> None:
    state = state_at(1)
    tick = certified(state, entries_changed(lambda e: [replace(e[0], payload=TICK_VALUE), e[1]]))
    assert refused(state, tick).reason is BlockReason.ENTRY


def test_a_problem_names_height_reason_and_detail() -> None:
    problem = BlockProblem(BlockReason.LINK, 7, "why")
    assert str(problem) == "block 7: previous_hash: why"
    assert isinstance(chain().blocks[0], Derived)
