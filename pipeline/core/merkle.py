"""The append-only Merkle tree of RFC 6962 2.1 (SHA-256): roots, frontier, proofs and their checks.

Owns the hashing rules and nothing else: leaves come in as hashes, stored nodes through a ``node`` function;
what a leaf means and where nodes are kept is other modules' affair. All hashes are 32 raw bytes; sizes and
indexes count leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final

from pipeline.core.errors import IntegrityError

HASH_BYTES: Final = 32
MAX_TREE_SIZE: Final = 2**63 - 1
"""Largest number of leaves; sizes travel as Avro longs, which are signed."""
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 2.1)."""

NodeReader = Callable[[int, int], bytes]
"""``node(level, i)``: hash of the complete subtree over the ``2**level`` leaves from ``i * 2**level`` on."""

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_SIZE_BYTES: Final = 8


def leaf_hash(data: bytes, rest: bytes = b"") -> bytes:
    """Hash one leaf's bytes, which may come in two parts (RFC 6962 2.1)."""
    hasher = sha256(_LEAF + data)
    if rest:
        hasher.update(rest)
    return hasher.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two child hashes into their parent's (RFC 6962 2.1)."""
    return sha256(_NODE + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over all of ``leaf_hashes``, in order (RFC 6962 2.1)."""
    row = list(leaf_hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        parents = paired(row)
        if len(row) % 2:  # the odd one out has no sibling and rises unchanged
            parents.append(row[-1])
        row = parents
    return row[0]


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _require_hashes(values: Iterable[bytes]) -> None:
    if not _are_hashes(values):
        raise ValueError(f"a hash is not {HASH_BYTES} bytes long")


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: all that is needed to append to it and to know its root.

    ``peaks`` are the roots of the complete subtrees that the binary digits of ``size`` call for, left to
    right, that is largest first.

    Raises:
        ValueError: the peaks do not fit the size, or one is not 32 bytes.
    """

    size: int
    peaks: tuple[bytes, ...]

    EMPTY: ClassVar[Frontier]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise ValueError(f"tree size {self.size} is outside 0 to {MAX_TREE_SIZE}")
        if len(self.peaks) != self.size.bit_count():
            raise ValueError(f"{len(self.peaks)} peaks do not make a tree of {self.size} leaves")
        _require_hashes(self.peaks)

    def append(self, leaf: bytes) -> Frontier:
        """Return the frontier after one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> Frontier:
        """Return the frontier after these leaf hashes, in order; linear in their number."""
        return self.grow(leaf_hashes)[0]

    def grow(self, leaf_hashes: Iterable[bytes]) -> tuple[Frontier, list[list[bytes]]]:
        """Return the frontier after these leaf hashes, and every node that they completed, for stores.

        The second value holds one row per level from 0 up: ``rows[level][j]`` is node ``(size >> level) + j``
        of that level, ``size`` being the size before. Levels with nothing new are left out at the top.

        Raises:
            ValueError: a hash is not 32 bytes, or the tree would grow past MAX_TREE_SIZE.
        """
        new = list(leaf_hashes)
        _require_hashes(new)
        size, level = self.size + len(new), 0
        old_peaks, peaks = list(self.peaks), []
        rows: list[list[bytes]] = []
        while new:
            rows.append(new)
            row = [old_peaks.pop(), *new] if (self.size >> level) & 1 else new
            if len(row) % 2:
                peaks.append(row[-1])
            new, level = paired(row), level + 1
        return Frontier(size, (*old_peaks, *reversed(peaks))), rows

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return _fold(self.peaks)

    def encode(self) -> bytes:
        """Return the one encoding: size as big-endian u64, then the peaks."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.peaks)

    @classmethod
    def decode(cls, data: bytes) -> Frontier:
        """Read what ``encode`` wrote.

        Raises:
            IntegrityError: the bytes are not such an encoding (code ``frontier``).
        """
        size, rest = int.from_bytes(data[:_SIZE_BYTES], "big"), data[_SIZE_BYTES:]
        if len(data) < _SIZE_BYTES or size > MAX_TREE_SIZE or len(rest) != size.bit_count() * HASH_BYTES:
            raise IntegrityError("the bytes are not an encoded tree frontier", code="frontier")
        return cls(size, tuple(rest[at : at + HASH_BYTES] for at in range(0, len(rest), HASH_BYTES)))

    @classmethod
    def read(cls, size: int, node: NodeReader) -> Frontier:
        """Return the frontier of the first ``size`` leaves of a stored tree."""
        return cls(size, tuple(node(level, i) for level, i in _complete_subtrees(0, size)))


Frontier.EMPTY = Frontier(0, ())


def path_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the leaves [low, high) under each hash of the audit path of leaf ``index``, lowest first.

    With the leaf itself they make up the whole tree of ``size`` leaves.

    Raises:
        ValueError: there is no such leaf in a tree of that size.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise ValueError(f"there is no leaf {index} in a tree of {size} leaves")
    ranges: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    ranges.reverse()
    return ranges


def inclusion_path(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of ``size`` leaves, lowest first (RFC 6962 2.1.1).

    Raises:
        ValueError: there is no such leaf in a tree of that size.
    """
    return [_range_root(low, high, node) for low, high in path_ranges(index, size)]


def consistency_path(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Return the proof that the tree of ``new`` leaves extends that of ``old`` leaves (RFC 6962 2.1.2).

    It is empty for equal sizes, and for an empty old tree, which every tree extends.

    Raises:
        ValueError: the sizes are out of order or out of bounds.
    """
    if not 0 <= old <= new <= MAX_TREE_SIZE:
        raise ValueError(f"a tree of {new} leaves does not extend one of {old}")
    path: list[bytes] = []
    if old == 0:
        return path
    low, high = 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range_root(middle, high, node))
            high = middle
        else:
            path.append(_range_root(low, middle, node))
            low = middle
    if low:  # otherwise the last subtree is the old tree itself, whose root the checker has
        path.append(_range_root(low, high, node))
    path.reverse()
    return path


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that an audit path leads to (RFC 9162 2.1.3.2).

    None where the path can't belong to such a leaf: index out of bounds, wrong length, not hashes.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE or not _are_hashes((leaf, *path)):
        return None
    here, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if here & 1 or here == last:
            result = node_hash(sibling, result)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        here, last = here >> 1, last >> 1
    return result if last == 0 else None


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Say whether ``path`` proves that the tree of this size and root holds ``leaf`` at ``index``."""
    return root_from_path(leaf, index, size, path) == root


def is_consistent(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Say whether ``path`` proves that the new tree begins with the whole old one (RFC 9162 2.1.4.2)."""
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE or not _are_hashes((old_root, new_root, *path)):
        return False
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT and (new_size > 0 or new_root == EMPTY_ROOT)
    if old_size == new_size:
        return not path and old_root == new_root
    steps = list(path)
    if old_size & (old_size - 1) == 0:  # the old tree is one complete subtree, left out of the proof
        steps.insert(0, old_root)
    return bool(steps) and _roots_along(old_size, new_size, steps) == (old_root, new_root)


def _roots_along(old_size: int, new_size: int, steps: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the old and the new root that a consistency proof leads to, or None if its length is wrong."""
    here, last = old_size - 1, new_size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return None
        if here & 1 or here == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        here, last = here >> 1, last >> 1
    return (old, new) if last == 0 else None


def paired(row: list[bytes]) -> list[bytes]:
    """Hash neighbours two by two; a last odd one is left out."""
    each = iter(row)
    return [sha256(_NODE + left + right).digest() for left, right in zip(each, each, strict=False)]


def _fold(peaks: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees given left to right."""
    if not peaks:
        return EMPTY_ROOT
    result = peaks[-1]
    for peak in reversed(peaks[:-1]):
        result = node_hash(peak, result)
    return result


def _split(count: int) -> int:
    """Return the largest power of two below ``count`` (k of RFC 6962 2.1); count is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _complete_subtrees(low: int, high: int) -> list[tuple[int, int]]:
    """Return (level, index) of the complete subtrees over leaves ``low`` to ``high - 1``, left to right.

    ``low`` is a multiple of the largest of them, as it is wherever RFC 6962 splits a tree.
    """
    found: list[tuple[int, int]] = []
    while low < high:
        level = (high - low).bit_length() - 1
        found.append((level, low >> level))
        low += 1 << level
    return found


def _range_root(low: int, high: int, node: NodeReader) -> bytes:
    """Return the root over leaves ``low`` to ``high - 1`` of a stored tree."""
    return _fold([node(level, i) for level, i in _complete_subtrees(low, high)])
