"""Rows of blocks, as every store that follows the blocks keeps them."""

from typing import Any

from pipeline.core.replica import Extended


def block_row(extended: Extended, kafka_offset: int) -> dict[str, Any]:
    """Return the row of a block in a ``blocks`` table."""
    header, frontier = extended.block.header, extended.changes.head.frontier
    return {
        "height": header.height,
        "hash": extended.block.hash,
        "first_index": header.first_index,
        "tree_size": frontier.size,
        "root": frontier.root(),
        "period_start": header.period_start,
        "period_end": header.period_end,
        "part": header.part,
        "entries": header.entry_count,
        "block_offset": extended.block_offset,
        "block_length": len(extended.block.encoded),
        "certificate": extended.certificate,
        "certified_first": extended.first_timestamp,
        "kafka_offset": kafka_offset,
    }
