"""The Merkle tree against vectors made from the text of RFC 6962, and its refusals."""

import json
from typing import Any

import pytest

from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    Frontier,
    consistency_path,
    inclusion_path,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    root_from_path,
    root_of,
)
from tests.vectors import generate_merkle

LEAVES = generate_merkle.leaves(13)


def _vectors(name: str) -> list[Any]:
    found: list[Any] = json.loads((generate_merkle.FOLDER / name).read_text())
    return found


@pytest.mark.parametrize("name", sorted(generate_merkle.files()))
def test_vector_files_are_what_their_generator_writes(name: str) -> None:
    assert (generate_merkle.FOLDER / name).read_text() == generate_merkle.files()[name]


def test_inclusion_vectors_are_decided_as_recorded() -> None:
    vectors = _vectors("merkle_inclusion.json")
    wrong = [
        v["name"]
        for v in vectors
        if v["accept"]
        != is_included(
            bytes.fromhex(v["leaf"]),
            v["index"],
            v["size"],
            [bytes.fromhex(step) for step in v["path"]],
            bytes.fromhex(v["root"]),
        )
    ]
    assert wrong == []
    assert {v["accept"] for v in vectors} == {True, False}


def test_consistency_vectors_are_decided_as_recorded() -> None:
    vectors = _vectors("merkle_consistency.json")
    wrong = [
        v["name"]
        for v in vectors
        if v["accept"]
        != is_consistent(
            v["old_size"],
            v["new_size"],
            bytes.fromhex(v["old_root"]),
            bytes.fromhex(v["new_root"]),
            [bytes.fromhex(step) for step in v["path"]],
        )
    ]
    assert wrong == []
    assert {v["accept"] for v in vectors} == {True, False}


def test_empty_root_is_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == Frontier.EMPTY.root() == EMPTY_ROOT


def test_leaf_and_node_hashes_are_separated() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_append_gives_the_same_frontier_as_extend() -> None:
    one_by_one = Frontier.EMPTY
    for leaf in LEAVES:
        one_by_one = one_by_one.append(leaf)
    assert one_by_one == Frontier.EMPTY.extend(LEAVES)


def test_frontier_encoding_is_fixed() -> None:
    frontier = Frontier.EMPTY.extend(LEAVES[:3])
    assert frontier.encode() == (3).to_bytes(8, "big") + node_hash(*LEAVES[:2]) + LEAVES[2]
    assert Frontier.decode(frontier.encode()) == frontier


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 9,
        (1).to_bytes(8, "big"),
        (1).to_bytes(8, "big") + b"x" * 31,
        (1).to_bytes(8, "big") + b"x" * 33,
        (2).to_bytes(8, "big") + b"x" * 64,
        (2**63).to_bytes(8, "big") + b"x" * 32,
    ],
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError) as refusal:
        Frontier.decode(data)
    assert refusal.value.code == "frontier"


@pytest.mark.parametrize(
    ("size", "peaks"), [(-1, ()), (2, (b"x" * 32,) * 2), (1, (b"x",)), (2**63, (b"x" * 32,))]
)
def test_a_frontier_that_fits_no_tree_cannot_be_made(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"tree|peaks|hash"):
        Frontier(size, peaks)


def test_a_tree_stops_at_its_largest_size() -> None:
    full = Frontier(MAX_TREE_SIZE, (b"x" * 32,) * 63)
    with pytest.raises(ValueError, match="tree size"):
        full.append(LEAVES[0])


def test_a_leaf_that_is_no_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Frontier.EMPTY.append(b"short")


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, 2**63)])
def test_there_is_no_path_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_path(index, size, lambda level, i: LEAVES[0])


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 2**63)])
def test_there_is_no_consistency_proof_for_sizes_out_of_order(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="does not extend"):
        consistency_path(old, new, lambda level, i: LEAVES[0])


def test_sizes_past_63_bits_prove_nothing() -> None:
    leaf, size = LEAVES[0], 2**63
    assert root_from_path(leaf, 0, size - 1, [leaf] * 63) is not None
    assert root_from_path(leaf, 0, size, [leaf] * 63) is None
    assert not is_consistent(size, size, leaf, leaf, [])


@pytest.mark.parametrize(("old", "new"), [(2, 3), (3, 7), (4, 8), (6, 8), (12, 13)])
def test_a_longer_proof_does_not_fit_roots_made_for_it(old: int, new: int) -> None:
    """Whoever may choose both roots can hash one more step into them."""
    path = [*generate_merkle.consistency(old, LEAVES[:new]), generate_merkle.OTHER]
    before, after = (
        node_hash(generate_merkle.OTHER, generate_merkle.root(LEAVES[:size])) for size in (old, new)
    )
    assert not is_consistent(old, new, before, after, path)


def test_a_step_that_is_no_hash_proves_nothing() -> None:
    left, right = LEAVES[:2]
    short = left[:31]
    assert not is_included(right, 1, 2, [short], node_hash(short, right))
    assert not is_consistent(1, 2, short, node_hash(short, right), [right])
