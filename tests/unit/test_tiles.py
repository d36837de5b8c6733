"""Tiles: paths as C2SP tlog-tiles writes them, bundles, and an edge that grows the same tree however it is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import Frontier, leaf_hash, root_of
from pipeline.core.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    Edge,
    TileId,
    changed_tiles,
    decode_bundle,
    decode_tile,
    encode_bundle,
    parse_tile_path,
    partial_width,
    partials_of,
    tiles_of,
)

LEAVES = [i.to_bytes(4, "big") for i in range(1200)]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (TileId(0, 0), "tile/0/000"),
        (TileId(0, 1234067), "tile/0/x001/x234/067"),
        (TileId(63, 1000, 1), "tile/63/x001/000.p/1"),
        (TileId(ENTRIES, 999, 255), "tile/entries/999.p/255"),
        (TileId(2, 2**63 - 1), "tile/2/x009/x223/x372/x036/x854/x775/807"),
    ],
)
def test_a_tile_has_one_path_and_back(tile: TileId, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/../../checkpoint",
        "tile/0/000/../000",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_any_other_spelling_is_no_path(path: str) -> None:
    assert parse_tile_path(path) is None


@given(st.text(alphabet="tile/0123456789xp.ns-", max_size=40))
def test_no_text_is_read_as_a_path_that_we_would_not_write(text: str) -> None:
    found = parse_tile_path(f"tile/{text}")
    assert found is None or found.path == f"tile/{text}"


@pytest.mark.parametrize("wrong", [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (0, 2**63, 1)])
def test_there_is_no_such_tile(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="tile"):
        TileId(*wrong)


@pytest.mark.parametrize(
    ("level", "size", "width"), [(0, 255, 255), (0, 256, 0), (1, 256, 1), (2, 70_000, 1)]
)
def test_the_partial_width_is_what_is_in_no_full_tile(level: int, size: int, width: int) -> None:
    assert partial_width(level, size) == width


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == tuple(entries)


@given(st.binary(max_size=80))
def test_bytes_are_a_bundle_only_if_they_are_the_encoding_of_one(data: bytes) -> None:
    found = decode_bundle(data)
    assert found is None or encode_bundle(found) == data


def test_a_bundle_refuses_an_entry_whose_length_it_cannot_say() -> None:
    assert decode_bundle(encode_bundle([bytes(MAX_ENTRY_BYTES)])) == (bytes(MAX_ENTRY_BYTES),)
    with pytest.raises(IntegrityError) as refused:
        encode_bundle([bytes(MAX_ENTRY_BYTES + 1)])
    assert refused.value.code == "entry_size"


@given(st.integers(0, 200_000))
def test_partial_tiles_are_those_of_the_tree_that_are_not_full(size: int) -> None:
    assert list(partials_of(size)) == [tile for tile in tiles_of(size) if not tile.is_full]


def written(cuts: list[int]) -> dict[TileId, bytes]:
    """Return all files of a tree whose edge grows in steps that end at ``cuts``; the last write of a path counts."""
    edge, found = Edge.EMPTY, dict[TileId, bytes]()
    for before, after in zip([0, *cuts], cuts, strict=False):
        edge, filled = edge.grow(LEAVES[before:after])
        assert all(found.setdefault(tile, content) == content for tile, content in filled)
        found.update(edge.partials())
        assert {tile for tile, _ in [*filled, *edge.partials()]} >= set(changed_tiles(before, after))
    return found


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(LEAVES)), min_size=1, max_size=6).map(sorted))
def test_files_depend_on_the_leaves_alone(cuts: list[int]) -> None:
    size = cuts[-1]
    whole = written([size])
    grown = written(cuts)
    assert whole.keys() == set(tiles_of(size))
    assert {tile: grown[tile] for tile in whole} == whole


@pytest.mark.parametrize("size", [0, 1, 3, 255, 256, 257, 512, 1199])
def test_an_edge_knows_the_frontier(size: int) -> None:
    edge, _ = Edge.EMPTY.grow(LEAVES[:size])
    assert edge.frontier() == Frontier.EMPTY.extend(map(leaf_hash, LEAVES[:size]))


def test_full_tiles_hold_the_roots_of_the_level_below() -> None:
    files = written([600])
    below = decode_tile(files[TileId(0, 1)])
    above = decode_tile(files[TileId(1, 0, 2)])
    assert below is not None
    assert above is not None
    assert above[1] == root_of(below)


@pytest.mark.parametrize(
    ("size", "entries", "rows"),
    [
        (1, (), ((leaf_hash(b"a"),),)),
        (1, (b"b",), ((leaf_hash(b"a"),),)),
        (1, (), ()),
        (2, (b"a",), ((leaf_hash(b"a"),),)),
        (256, (), ((),)),
        (0, (b"a",), ()),
    ],
)
def test_no_edge_is_made_of_parts_that_do_not_fit(
    size: int, entries: tuple[bytes, ...], rows: tuple[tuple[bytes, ...], ...]
) -> None:
    with pytest.raises(ValueError, match=r"edge"):
        Edge(size, entries, rows)


def test_bytes_of_no_whole_hashes_are_no_tile() -> None:
    assert decode_tile(bytes(33)) is None
