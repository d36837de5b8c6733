"""Rows of blocks, as every store that follows the blocks keeps them."""

from typing import Any

from sqlalchemy import BigInteger, Column, LargeBinary

from pipeline.core.replica import Extended


def block_columns() -> list[Column[Any]]:
    """Return the columns of a ``blocks`` table; offsets and lengths in bytes, periods in broker milliseconds."""
    numbers = ("period_start", "period_end", "part", "entries", "block_offset", "block_length")
    return [
        Column("height", BigInteger, primary_key=True, autoincrement=False),
        Column("hash", LargeBinary, nullable=False),
        Column("first_index", BigInteger, nullable=False),
        Column("tree_size", BigInteger, nullable=False, unique=True),
        Column("root", LargeBinary, nullable=False, comment="of the tree after the block"),
        *(Column(name, BigInteger, nullable=False) for name in numbers),
        Column("certificate", LargeBinary, nullable=False),
        Column("certified_first", BigInteger, nullable=False, comment="earliest cosignature, in seconds"),
        Column("kafka_offset", BigInteger, nullable=False),
    ]


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
