"""The exporter's own state: chain state, position in the blocks topic, roots by size, and what it signed last.

It follows from the blocks topic and is built again from there where it does not fit the exported files.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, Engine, Integer, LargeBinary, MetaData, Table, Text, select

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.sql.engine import open_sqlite, transaction, upsert
from pipeline.adapters.sql.state_rows import clear_state, create_state_tables, load_state, save_changes
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState, in_one

EXPORT_FILE: Final = "export.sqlite"
_ONE: Final = 1
_EXPORT: Final = MetaData()
_roots = Table(
    "exported_roots",
    _EXPORT,
    Column("tree_size", BigInteger, primary_key=True),
    Column("root", LargeBinary, nullable=False),
)
_position = Table(
    "export_position",
    _EXPORT,
    Column("one", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False, comment="the signed note of the last stored block"),
)
_ACCUSERS: Final = MetaData()
_accusers = Table(
    "export_accusers",
    _ACCUSERS,
    Column("name", Text, primary_key=True, comment="keys of a witness that reported a fork or a larger tree"),
)


class SqlExportStore:
    """State in one folder, which one process at a time may have open.

    Raises:
        ConfigError: another process has the folder (code ``folder_in_use``), or it is another chain's.
        TransientError: the disk refuses.
    """

    def __init__(self, folder: Path, genesis: Genesis) -> None:
        self._genesis = genesis
        self._engine: Engine = open_sqlite(folder / EXPORT_FILE, durable=True)
        self._lock_file = lock_folder(folder)
        try:
            with transaction(self._engine) as connection:
                _EXPORT.create_all(connection)
                _ACCUSERS.create_all(connection)
                create_state_tables(connection, genesis)
        except BaseException:
            self.close()
            raise

    def load(self) -> tuple[ChainState, int, bytes]:
        """Return state, next offset of the blocks topic and last signed note; genesis, 0 and none at first."""
        with transaction(self._engine) as connection:
            state = load_state(connection, self._genesis)
            row = connection.execute(select(_position)).first()
        if state is None or row is None:
            return ChainState(self._genesis), row.next_offset if row is not None else 0, b""
        return state, row.next_offset, row.checkpoint

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        with transaction(self._engine) as connection:
            return connection.execute(select(_roots.c.root).where(_roots.c.tree_size == size)).scalar()

    def save(self, applied: Sequence[Applied], next_offset: int, checkpoint: bytes) -> None:
        """Store what blocks changed, the position and the note of the last of them, all or nothing."""
        with transaction(self._engine) as connection:
            trees = [item.extended.changes.head.frontier for item in applied]
            upsert(connection, _roots, [{"tree_size": tree.size, "root": tree.root()} for tree in trees])
            changes = in_one(item.extended.changes for item in applied)
            if changes is not None:
                save_changes(connection, changes)
            row = {"one": _ONE, "next_offset": next_offset, "checkpoint": checkpoint}
            upsert(connection, _position, [row])

    def clear(self) -> None:
        """Forget all but who accuses, so that the export is written again from the first block."""
        with transaction(self._engine) as connection:
            clear_state(connection)
            for table in _EXPORT.sorted_tables:
                connection.execute(table.delete())

    def accusers(self) -> frozenset[str]:
        """Return who reported a fork or a larger tree and has not cosigned since; none at first."""
        with transaction(self._engine) as connection:
            return frozenset(connection.execute(select(_accusers.c.name)).scalars())

    def save_accusers(self, names: Collection[str]) -> None:
        """Store these names instead."""
        with transaction(self._engine) as connection:
            connection.execute(_accusers.delete())
            for name in sorted(names):
                connection.execute(_accusers.insert().values(name=name))

    def close(self) -> None:
        """Close the database and let other processes have the folder."""
        self._engine.dispose()
        os.close(self._lock_file)
