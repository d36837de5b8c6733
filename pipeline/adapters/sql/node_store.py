"""An accounting node's folder: chain state one block behind, certified blocks, signing records.

The state lags by one block so that a start can derive the last block from the log again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, Engine, Integer, LargeBinary, MetaData, Table, select

from pipeline.adapters.sql.engine import open_sqlite, transaction, upsert
from pipeline.adapters.sql.state_rows import create_state_tables, load_state, save_changes
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState, Changes
from pipeline.ports import LedgerBlock, SignedBlock, StoredNode

NODE_FILE: Final = "node.sqlite"
_NODE = MetaData()
_blocks = Table(
    "certified_blocks",
    _NODE,
    Column("height", BigInteger, primary_key=True),
    Column("block_hash", LargeBinary, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("certified", LargeBinary, nullable=False),
)
_signed = Table(
    "signing_records",
    _NODE,
    Column("height", BigInteger, primary_key=True),
    Column("block_hash", LargeBinary, nullable=False),
    Column("message", LargeBinary, nullable=False),
)
_signed_bodies = Table(
    "signed_bodies",
    _NODE,
    Column("height", BigInteger, primary_key=True),
    Column("encoded", LargeBinary, nullable=False),
)
_progress = Table(
    "progress",
    _NODE,
    Column("one", Integer, primary_key=True),
    Column("published", BigInteger, nullable=False),
    Column("blocks_next", BigInteger, nullable=False),
)
_votes = Table(
    "votes_read",
    _NODE,
    Column("one", Integer, primary_key=True),
    Column("votes_next", BigInteger, nullable=False),
)
_ONE = 1
_SIGNED_AT_ONCE = 1000


class SqliteNodeStore:
    """The ``NodeStore`` port on a SQLite file that survives power loss."""

    def __init__(
        self, folder: Path, genesis: Genesis, name: str = NODE_FILE, *, durable: bool = True
    ) -> None:
        self._engine: Engine = open_sqlite(folder / name, durable=durable, holds_blocks=True)
        with transaction(self._engine) as connection:
            _NODE.create_all(connection)
            create_state_tables(connection, genesis)

    def load(self, genesis: Genesis) -> StoredNode:
        """Return what is stored; the genesis state where nothing is."""
        with transaction(self._engine) as connection:
            state = load_state(connection, genesis) or ChainState(genesis)
            rows = connection.execute(
                select(_blocks).where(_blocks.c.height > state.head.height).order_by(_blocks.c.height)
            )
            tail = tuple(LedgerBlock(r.height, r.block_hash, r.header, r.certified) for r in rows)
            progress = connection.execute(select(_progress)).first()
        published, blocks_next = (progress.published, progress.blocks_next) if progress else (0, 0)
        return StoredNode(state, tail, published, blocks_next)

    def held_blocks(self, above: int) -> list[LedgerBlock]:
        """Return the certified blocks held above a height, in order."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(_blocks).where(_blocks.c.height > above).order_by(_blocks.c.height)
            )
            return [LedgerBlock(r.height, r.block_hash, r.header, r.certified) for r in rows]

    def held_block(self, height: int) -> LedgerBlock | None:
        """Return the certified block held at a height, or None."""
        with transaction(self._engine) as connection:
            r = connection.execute(select(_blocks).where(_blocks.c.height == height)).first()
        return LedgerBlock(r.height, r.block_hash, r.header, r.certified) if r else None

    def add_block(self, changes_before: Changes | None, block: LedgerBlock) -> None:
        """Store a certified block, and what the block before it changed, in one transaction."""
        row = {
            "height": block.height,
            "block_hash": block.block_hash,
            "header": block.header,
            "certified": block.certified,
        }
        with transaction(self._engine) as connection:
            if changes_before is not None:
                save_changes(connection, changes_before)
            upsert(connection, _blocks, [row])

    def mark_published(self, height: int, blocks_next: int, keep_from: int) -> None:
        """Store how far the blocks topic was read; drop certified blocks below ``keep_from``."""
        with transaction(self._engine) as connection:
            upsert(connection, _progress, [{"one": _ONE, "published": height, "blocks_next": blocks_next}])
            connection.execute(_blocks.delete().where(_blocks.c.height < keep_from))
            connection.execute(_signed_bodies.delete().where(_signed_bodies.c.height <= height))

    def signed_above(self, height: int) -> list[SignedBlock]:
        """Return the next signing records above a height, in order; none where there are no more."""
        joined = _signed.outerjoin(_signed_bodies, _signed.c.height == _signed_bodies.c.height)
        query = select(_signed, _signed_bodies.c.encoded).select_from(joined)
        query = query.where(_signed.c.height > height).order_by(_signed.c.height)
        with transaction(self._engine) as connection:
            rows = connection.execute(query.limit(_SIGNED_AT_ONCE))
            return [SignedBlock(r.height, r.block_hash, r.message, r.encoded or b"") for r in rows]

    def votes_next(self) -> int:
        """Return the offset in the votes topic below which all is about certified blocks; 0 at first."""
        with transaction(self._engine) as connection:
            return connection.execute(select(_votes.c.votes_next)).scalar() or 0

    def mark_votes_read(self, votes_next: int) -> None:
        """Store that everything below an offset of the votes topic is about certified blocks."""
        with transaction(self._engine) as connection:
            upsert(connection, _votes, [{"one": _ONE, "votes_next": votes_next}])

    def signed(self, height: int) -> SignedBlock | None:
        """Return the signing record of a height."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_signed).where(_signed.c.height == height)).first()
        return SignedBlock(row.height, row.block_hash, row.message) if row else None

    def record_signed(self, blocks: Sequence[SignedBlock]) -> None:
        """Store signing records before their signatures are released.

        Raises:
            IntegrityError: another block was signed at one of the heights.
        """
        with transaction(self._engine) as connection:
            for block in blocks:
                held = connection.execute(
                    select(_signed.c.block_hash).where(_signed.c.height == block.height)
                ).scalar()
                if held is not None and held != block.block_hash:
                    raise IntegrityError(
                        f"this node signed another block at height {block.height} and signs no fork; "
                        "compare the nodes with 'bkdms verify'. After a reanchor, others have to publish this "
                        "height first; if they can't, give all nodes' folders to 'bkdms ledger restore'",
                        code="second_signature",
                    )
                if held is None:
                    row = {"height": block.height, "block_hash": block.block_hash, "message": block.message}
                    connection.execute(_signed.insert(), row)
                    if block.encoded:
                        upsert(
                            connection, _signed_bodies, [{"height": block.height, "encoded": block.encoded}]
                        )

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
