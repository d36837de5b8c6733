"""One size of an exported log, read through its tiles: nodes of the tree, entries, and where control records are.

Nothing read is believed here: whoever builds a proof from it verifies the proof. What is missing or malformed is
raised with the file's name; what is read is kept in bounded caches.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from pipeline.core.block import Kind
from pipeline.core.merkle import HASH_BYTES, paired
from pipeline.core.tiles import ENTRIES, TILE_LEVELS, TILE_WIDTH, TileId

Read = Callable[[str], bytes]
"""Gives the bytes under a path of the log; none where there is no such file."""

_CACHED_TILES: Final = 256
_CACHED_BUNDLES: Final = 8
_LENGTH_BYTES: Final = 2


class UnreadableError(Exception):
    """A file of the log is missing or is not what its path says."""

    def __init__(self, file: str, detail: str) -> None:
        super().__init__(detail)
        self.file = file
        self.detail = detail


class Bundle:
    """An entry bundle: the ends of its entries in ``data``, as many as the tree has of it, and their first bytes."""

    __slots__ = ("_data", "_ends", "_kinds")

    def __init__(self, data: bytes, ends: list[int], kinds: bytes) -> None:
        self._data = data
        self._ends = ends
        self._kinds = kinds

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return self._data[start + _LENGTH_BYTES : self._ends[number]]

    def first(self, kind: Kind, start: int) -> int | None:
        """Return the number of the first entry of a kind from ``start`` on, or None."""
        found = self._kinds.find(kind, start)
        return None if found < 0 else found

    def all(self, kind: Kind) -> list[int]:
        """Return the numbers of all entries of a kind."""
        return [number for number, found in enumerate(self._kinds) if found == kind]


class TileReader:
    """The tree of ``size`` leaves of a log; one thread at a time."""

    def __init__(self, read: Read, size: int) -> None:
        self.size = size
        self._read = read
        self._tile = lru_cache(maxsize=_CACHED_TILES)(self._read_tile)
        self.bundle = lru_cache(maxsize=_CACHED_BUNDLES)(self._read_bundle)

    def node(self, level: int, index: int) -> bytes:
        """Return a node's hash: the complete subtree over ``2**level`` leaves from ``index * 2**level`` on.

        Raises:
            UnreadableError: the tile is missing or malformed.
        """
        tile_level, rise = divmod(level, TILE_LEVELS)
        tile, place = divmod(index, TILE_WIDTH >> rise)
        return self._tile(tile_level, tile)[rise][place]

    def entry(self, index: int) -> bytes:
        """Return a leaf's bytes.

        Raises:
            UnreadableError: the bundle is missing or malformed.
        """
        number, place = divmod(index, TILE_WIDTH)
        return self.bundle(number)[place]

    def _read_tile(self, level: int, index: int) -> list[list[bytes]]:
        """Return a tile's hashes, and above them all complete nodes within the tile, row by row."""
        tile = self._id(level, index)
        data = self._content(tile)
        if len(data) % HASH_BYTES or len(data) // HASH_BYTES < tile.width:
            raise UnreadableError(tile.path, f"{len(data)} bytes are not {tile.width} hashes")
        row = [data[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES)]
        rows = [row]
        while len(row) > 1:
            row = paired(row)
            rows.append(row)
        return rows

    def _read_bundle(self, index: int) -> Bundle:
        bundle = self._id(ENTRIES, index)
        data = self._content(bundle)
        ends: list[int] = []
        kinds = bytearray()
        at, length = 0, len(data)
        for _ in range(bundle.width):
            start = at + _LENGTH_BYTES
            at = start + (data[at] << 8 | data[at + 1] if start < length else length)
            if not start < at <= length:
                raise UnreadableError(
                    bundle.path, f"{length} bytes are not {bundle.width} entries of a chain"
                )
            ends.append(at)
            kinds.append(data[start])
        return Bundle(data, ends, bytes(kinds))

    def _id(self, level: int, index: int) -> TileId:
        count = self.size >> TILE_LEVELS * max(level, 0)
        return TileId(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))

    def _content(self, tile: TileId) -> bytes:
        """Return a file; of a tile that has become full since, the full form, whose beginning it is."""
        data = self._read(tile.path)
        if not data and not tile.is_full:
            data = self._read(tile.full_path)
        if not data:
            raise UnreadableError(tile.path, "missing")
        return data


def bundle_path(index: int) -> str:
    """Return the path of the bundle that holds a leaf, once it is full."""
    return TileId(ENTRIES, index // TILE_WIDTH).path
