"""Naming the first bad bytes among the leaves of a block that does not extend a chain."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pipeline.core.block import bytes_value
from pipeline.core.damage import Damage, locate_damage
from pipeline.core.leaves import LEAF_HEAD_BYTES, block_of_leaves, leaf_problem
from pipeline.core.state import ChainState

_HEAD_FIELDS: Final = {"kind": (0, 1), "offset": (1, 9), "time": (9, LEAF_HEAD_BYTES)}


def locate_leaf_damage(state: ChainState, leaves: Sequence[bytes]) -> tuple[int, Damage]:
    """Return the number of the first bad leaf and what is bad there, its bytes counted within the leaf.

    The leaves are those of a block, its header the last one, that does not extend ``state``; it stays as it is. Total.
    """
    last = len(leaves) - 1
    block = block_of_leaves(leaves)
    if block is None:
        problem = leaf_problem(leaves)
        if problem is None:
            return last, Damage("leaf", None, 0, len(leaves[last]), "does not end a block")
        entry = problem.number if problem.number < last else None
        return problem.number, Damage("leaf", entry, problem.start, problem.end, problem.detail)
    damage = locate_damage(state, block.encoded + bytes_value(b""))
    if damage is not None and damage.entry is not None and damage.entry < last:
        size = len(leaves[damage.entry])
        start, end = _HEAD_FIELDS.get(damage.field, (LEAF_HEAD_BYTES, size))
        return damage.entry, replace(damage, start=start, end=end)
    if damage is not None and damage.field.startswith("header") and damage.end <= len(block.header_bytes):
        start, end = damage.start + LEAF_HEAD_BYTES, damage.end + LEAF_HEAD_BYTES
        return last, replace(damage, start=start, end=end)
    detail = "does not follow from the chain before it and its entries"
    return last, Damage("header", None, LEAF_HEAD_BYTES, len(leaves[last]), detail)
