"""C2SP tlog-tiles: paths of tiles and entry bundles, their bytes, and how a tree's right edge grows them.

A tile holds 256 hashes of one level (8 tree levels apart), a bundle the entries under one tile of level 0; what is
not full yet is a partial one under a path of its own. Pure: files in and out are bytes and paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import HASH_BYTES, MAX_TREE_SIZE, Frontier, leaf_hash, root_of

CHECKPOINT: Final = "checkpoint"
"""The path of the checkpoint."""
TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""
TILE_LEVELS: Final = 8
"""Tree levels from one level of tiles to the next."""
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535
ENTRIES: Final = -1
"""The level that stands for entry bundles."""

_LENGTH_BYTES: Final = 2
_GROUP: Final = 1000
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class TileId:
    """One tile, or one bundle where ``level`` is ENTRIES; ``width`` counts its hashes or entries.

    Raises:
        ValueError: there is no such tile.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (ENTRIES <= self.level <= MAX_LEVEL and 0 <= self.index <= MAX_TREE_SIZE):
            raise ValueError("a tile's level is 0 to 63, its index 0 to 2**63 - 1")
        if not 1 <= self.width <= TILE_WIDTH:
            raise ValueError(f"a tile holds 1 to {TILE_WIDTH} hashes")

    @property
    def is_full(self) -> bool:
        """Whether nothing can be added; a full tile never changes."""
        return self.width == TILE_WIDTH

    @property
    def path(self) -> str:
        """The path under the log's prefix (C2SP tlog-tiles)."""
        return self.full_path if self.is_full else f"{self.partials_path}/{self.width}"

    @property
    def full_path(self) -> str:
        """The path of this tile once it is full."""
        groups, rest = [f"{self.index % _GROUP:03d}"], self.index // _GROUP
        while rest:
            groups.append(f"x{rest % _GROUP:03d}")
            rest //= _GROUP
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{'/'.join(reversed(groups))}"

    @property
    def partials_path(self) -> str:
        """The folder of this tile's partial forms."""
        return f"{self.full_path}.p"


def parse_tile_path(path: str) -> TileId | None:
    """Return the tile of a path; None for anything but the one form that ``TileId.path`` writes."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level = ENTRIES if found["level"] == "entries" else int(found["level"])
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = int(found["width"] or TILE_WIDTH)
    if index > MAX_TREE_SIZE or width > TILE_WIDTH:
        return None
    tile = TileId(level, index, width)
    return tile if tile.path == path else None


def partial_width(level: int, size: int) -> int:
    """Return how many hashes (entries at level 0) of a tree of ``size`` leaves are in no full tile of a level."""
    return (size >> TILE_LEVELS * level) % TILE_WIDTH


def tiles_of(size: int) -> Iterator[TileId]:
    """Yield every bundle and tile of the tree of ``size`` leaves, bundles first, then level by level."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        count = size >> TILE_LEVELS * max(level, 0)
        if not count:
            return
        full, rest = divmod(count, TILE_WIDTH)
        yield from (TileId(level, index) for index in range(full))
        if rest:
            yield TileId(level, full, rest)


def partials_of(size: int) -> Iterator[TileId]:
    """Yield the bundle and the tiles of the tree of ``size`` leaves that are not full."""
    for level in range(ENTRIES, levels_of(size)):
        width = partial_width(max(level, 0), size)
        if width:
            yield TileId(level, size >> TILE_LEVELS * (max(level, 0) + 1), width)


def changed_tiles(old: int, new: int) -> Iterator[TileId]:
    """Yield the bundles and tiles of the tree of ``new`` leaves that the one of ``old`` leaves has not got."""
    for level in range(ENTRIES, MAX_LEVEL + 1):
        shift = TILE_LEVELS * max(level, 0)
        before, count = old >> shift, new >> shift
        if count <= before:
            return
        yield from (TileId(level, index) for index in range(before // TILE_WIDTH, count // TILE_WIDTH))
        if count % TILE_WIDTH:
            yield TileId(level, count // TILE_WIDTH, count % TILE_WIDTH)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return a bundle: each entry after its length as big-endian u16.

    Raises:
        IntegrityError: an entry is longer than a bundle can say (code ``entry_size``).
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise IntegrityError(
            f"an entry has more than {MAX_ENTRY_BYTES} bytes, which no entry bundle can hold",
            code="entry_size",
        )
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def decode_bundle(data: bytes) -> tuple[bytes, ...] | None:
    """Return the entries of a bundle, or None where the bytes are none. Total."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            return None
        entries.append(data[start:at])
    return tuple(entries)


def decode_tile(data: bytes) -> tuple[bytes, ...] | None:
    """Return the hashes of a tile, or None where the bytes are none. Total."""
    if len(data) % HASH_BYTES:
        return None
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Edge:
    """What is in no full tile yet: all that is needed to go on writing tiles.

    ``rows[l]`` are the hashes of level l that are in no full tile, ``entries`` the leaves of ``rows[0]``.

    Raises:
        ValueError: they do not fit the size or one another.
    """

    size: int
    entries: tuple[bytes, ...]
    rows: tuple[tuple[bytes, ...], ...]

    EMPTY: ClassVar[Edge]

    def __post_init__(self) -> None:
        widths = [partial_width(level, self.size) for level in range(levels_of(self.size))]
        if [len(row) for row in self.rows] != widths:
            raise ValueError(f"the hashes are not the right edge of a tree of {self.size} leaves")
        if tuple(map(leaf_hash, self.entries)) != (self.rows[0] if self.rows else ()):
            raise ValueError("the entries are not the leaves of the right edge")

    def frontier(self) -> Frontier:
        """Return the tree's frontier."""
        peaks = (peak for row in reversed(self.rows) for peak in Frontier.EMPTY.extend(row).peaks)
        return Frontier(self.size, tuple(peaks))

    def grow(self, leaves: Sequence[bytes]) -> tuple[Self, list[tuple[TileId, bytes]]]:
        """Return the edge after these leaves, and each bundle and tile that they filled, in order.

        Raises:
            IntegrityError: a leaf does not fit into a bundle (code ``entry_size``).
        """
        filled: list[tuple[TileId, bytes]] = []
        entries = [*self.entries, *leaves]
        first = self.size // TILE_WIDTH
        whole = len(entries) // TILE_WIDTH * TILE_WIDTH
        for at in range(0, whole, TILE_WIDTH):
            content = encode_bundle(entries[at : at + TILE_WIDTH])
            filled.append((TileId(ENTRIES, first + at // TILE_WIDTH), content))
        size = self.size + len(leaves)
        new = [leaf_hash(leaf) for leaf in leaves]
        rows: list[tuple[bytes, ...]] = []
        for level in range(levels_of(size)):
            row = [*(self.rows[level] if level < len(self.rows) else ()), *new]
            first = self.size >> TILE_LEVELS * (level + 1)
            cut = len(row) // TILE_WIDTH * TILE_WIDTH
            new = []
            for at in range(0, cut, TILE_WIDTH):
                hashes = row[at : at + TILE_WIDTH]
                filled.append((TileId(level, first + at // TILE_WIDTH), b"".join(hashes)))
                new.append(root_of(hashes))
            rows.append(tuple(row[cut:]))
        return type(self)(size, tuple(entries[whole:]), tuple(rows)), filled

    def partials(self) -> Iterator[tuple[TileId, bytes]]:
        """Yield the partial bundle and the partial tiles of the edge.

        Raises:
            IntegrityError: a leaf does not fit into a bundle (code ``entry_size``).
        """
        if self.entries:
            index = self.size // TILE_WIDTH
            yield TileId(ENTRIES, index, len(self.entries)), encode_bundle(self.entries)
        for level, row in enumerate(self.rows):
            if row:
                yield TileId(level, self.size >> TILE_LEVELS * (level + 1), len(row)), b"".join(row)


def levels_of(size: int) -> int:
    """Return how many levels of tiles a tree of ``size`` leaves has."""
    return -(-size.bit_length() // TILE_LEVELS)


Edge.EMPTY = Edge(0, (), ())
