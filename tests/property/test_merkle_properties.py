"""The iterative tree agrees with the recursive definitions of RFC 6962, on good and on damaged proofs."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    is_consistent,
    is_included,
    leaf_hash,
    root_from_path,
    root_of,
)
from tests.vectors import generate_merkle as naive

MAX_LEAVES = 300
LEAVES = naive.leaves(MAX_LEAVES)
SIZES = st.integers(0, MAX_LEAVES)
HASHES = st.binary(min_size=32, max_size=32)


def _node_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    def node(level: int, index: int) -> bytes:
        subtree = leaves[index << level : (index + 1) << level]
        assert len(subtree) == 1 << level, "asked for a subtree that is not complete"
        return naive.root(subtree)

    return node


@given(SIZES)
def test_root_is_the_recursive_one(size: int) -> None:
    assert root_of(LEAVES[:size]) == naive.root(LEAVES[:size])


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_root_over_any_entries_is_the_recursive_one(entries: list[bytes]) -> None:
    hashes = [leaf_hash(entry) for entry in entries]
    assert root_of(hashes) == naive.root(hashes)


@given(st.lists(st.integers(0, 70), max_size=6))
def test_frontier_does_not_depend_on_how_leaves_are_batched(batches: list[int]) -> None:
    frontier, at = Frontier.EMPTY, 0
    for count in batches:
        frontier, at = frontier.extend(naive.leaves(at + count)[at:]), at + count
    whole = naive.leaves(at)
    assert frontier == Frontier.EMPTY.extend(whole) == Frontier.read(at, _node_of(whole))
    assert frontier.root() == naive.root(whole)


@given(SIZES, SIZES)
def test_growth_names_exactly_the_completed_nodes(one: int, other: int) -> None:
    old, new = sorted((one, other))
    _, rows = Frontier.EMPTY.extend(LEAVES[:old]).grow(LEAVES[old:new])
    node = _node_of(LEAVES)
    expected = [
        [node(level, i) for i in range(old >> level, new >> level)] for level in range(new.bit_length())
    ]
    assert rows == [row for row in expected if row]


@given(st.data(), st.integers(1, MAX_LEAVES))
def test_inclusion_proofs_are_the_recursive_ones_and_hold(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, _node_of(LEAVES[:size]))
    assert path == naive.inclusion(index, LEAVES[:size])
    assert is_included(LEAVES[index], index, size, path, naive.root(LEAVES[:size]))


@given(SIZES, SIZES)
def test_consistency_proofs_are_the_recursive_ones_and_hold(one: int, other: int) -> None:
    old, new = sorted((one, other))
    path = consistency_path(old, new, _node_of(LEAVES[:new]))
    assert path == naive.consistency(old, LEAVES[:new])
    assert is_consistent(old, new, naive.root(LEAVES[:old]), naive.root(LEAVES[:new]), path)


@given(HASHES, st.integers(-1, 80), st.integers(-1, 80), st.lists(HASHES, max_size=9))
def test_any_path_leads_where_the_recursive_reading_leads(
    leaf: bytes, index: int, size: int, path: list[bytes]
) -> None:
    assert root_from_path(leaf, index, size, path) == naive.root_by_inclusion(leaf, index, size, path)


@given(st.integers(1, 80), st.integers(1, 80), HASHES, st.lists(HASHES, max_size=9), st.booleans())
def test_a_consistency_proof_holds_for_the_roots_it_leads_to_and_no_others(
    one: int, other: int, old_root: bytes, path: list[bytes], damaged: bool
) -> None:
    old, new = sorted((one, other))
    leads_to = naive.roots_by_consistency(old, new, path, old_root)
    before, after = leads_to or (old_root, old_root)
    after = bytes([after[0] ^ damaged]) + after[1:]
    assert is_consistent(old, new, before, after, path) == naive.accepts_consistency(
        old, new, before, after, path
    )


@given(st.integers(), st.integers(), st.lists(st.binary(max_size=33), max_size=70))
def test_checks_answer_for_any_sizes_and_steps(one: int, other: int, path: list[bytes]) -> None:
    hash_ = LEAVES[0]
    assert is_included(hash_, one, other, path, hash_) in (True, False)
    assert is_consistent(one, other, hash_, hash_, path) in (True, False)


@given(SIZES)
def test_frontier_comes_back_from_its_encoding(size: int) -> None:
    frontier = Frontier.EMPTY.extend(LEAVES[:size])
    assert Frontier.decode(frontier.encode()) == frontier


@given(st.binary(max_size=8 + 3 * 32))
def test_bytes_are_a_frontier_in_one_form_or_not_at_all(data: bytes) -> None:
    try:
        frontier = Frontier.decode(data)
    except IntegrityError:
        return
    assert frontier.encode() == data
