"""Blocks out of the leaves of a tree: entries up to a header make a block again, with the bytes that it had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.block import Block, Entry, Kind, header_leaf, make_block, parse_header, parse_leaf
from pipeline.core.names import MAX_LONG

LEAF_HEAD_BYTES: Final = 17
"""What comes before the payload in a leaf: kind, log offset, broker time."""


@dataclass(frozen=True, slots=True)
class LeafProblem:
    """A leaf that has no place in a block: its number among the leaves given, its bytes [start, end), why."""

    number: int
    start: int
    end: int
    detail: str


def is_header(leaf: bytes) -> bool:
    """Say whether a leaf ends a block."""
    return leaf[:1] == bytes((Kind.HEADER,))


def block_of_leaves(leaves: Sequence[bytes]) -> Block | None:
    """Return the block whose leaves these are, its header the last one, or None. Total."""
    entries: list[Entry] = []
    for leaf in leaves[:-1]:
        entry = _entry(leaf)
        if entry is None:
            return None
        entries.append(entry)
    header = parse_header(leaves[-1][LEAF_HEAD_BYTES:]) if leaves and is_header(leaves[-1]) else None
    if header is None or header_leaf(header) != leaves[-1]:
        return None
    return make_block(header, entries)


def leaf_problem(leaves: Sequence[bytes]) -> LeafProblem | None:
    """Return the first leaf that keeps these from being the leaves of a block, or None."""
    for number, leaf in enumerate(leaves[:-1]):
        if _entry(leaf) is None:
            return LeafProblem(number, 0, min(len(leaf), LEAF_HEAD_BYTES), "is no packet or control record")
    last = leaves[-1]
    number, parsed = len(leaves) - 1, parse_leaf(last)
    if parsed is None or parsed[0] is not Kind.HEADER:
        return LeafProblem(number, 0, min(len(last), LEAF_HEAD_BYTES), "is no header, which ends each block")
    header = parse_header(parsed[3])
    if header is None:
        return LeafProblem(number, LEAF_HEAD_BYTES, len(last), "does not hold an encoded header")
    if header_leaf(header) != last:
        return LeafProblem(number, 1, LEAF_HEAD_BYTES, "offset or time are not where its block ends")
    return None


def _entry(leaf: bytes) -> Entry | None:
    parsed = parse_leaf(leaf)
    if parsed is None or parsed[0] is Kind.HEADER or max(parsed[1:3]) > MAX_LONG:
        return None
    return Entry(*parsed)
