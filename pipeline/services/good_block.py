"""What an audit takes from a block that extended the chain, however that was found out."""

from dataclasses import dataclass

from pipeline.core.packet import Packet
from pipeline.core.replica import Extended
from pipeline.core.state import Changes
from pipeline.core.survey import Survey
from pipeline.services.audit_report import Source


@dataclass(frozen=True, slots=True)
class GoodBlock:
    """A block that extended the chain."""

    height: int
    block_hash: bytes
    length: int
    leaf_hashes: list[bytes]
    packets: int
    controls: int
    changes: Changes


def is_placed(source: Source, found: Survey, height: int) -> bool:
    """Say whether a surveyed block is what its source says it is: of a height, or of leaves in a tree."""
    if source.height not in (0, height):
        return False
    return not source.leaves or found.leaf_hashes == [leaf.hash for leaf in source.leaves]


def of_survey(found: Survey, changes: Changes) -> GoodBlock:
    """Return the block of a survey that joined the chain."""
    height = found.header.height
    return GoodBlock(
        height, found.block_hash, found.length, found.leaf_hashes, found.packets, found.controls, changes
    )


def of_extended(result: Extended) -> GoodBlock:
    """Return the block that extended the chain."""
    block, count = result.block, len(result.admitted)
    packets = sum(isinstance(admitted, Packet) for admitted in result.admitted)
    return GoodBlock(
        block.header.height,
        block.hash,
        len(block.encoded),
        block.leaf_hashes,
        packets,
        count - packets,
        result.changes,
    )
