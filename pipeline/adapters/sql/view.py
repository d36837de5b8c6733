"""The API's ledger view: a SQLite file with blocks, sites and control records, and the tree's hashes in flat files.

All of it follows from the blocks topic: a view whose files contradict each other is built again from there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, select

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.hash_files import HashFiles
from pipeline.adapters.sql.block_rows import block_row
from pipeline.adapters.sql.engine import open_sqlite, transaction, upsert
from pipeline.adapters.sql.state_rows import clear_state, create_state_tables, load_state, save_changes
from pipeline.adapters.sql.view_tables import (
    VIEW,
    site_key,
    view_blocks,
    view_controls,
    view_packets,
    view_position,
    view_sites,
)
from pipeline.core.control import Action, AuthorityBody, NewContract, Nodes, Registrars, SiteBody, action_of
from pipeline.core.errors import ConflictError
from pipeline.core.followed import Applied, BlockInfo, EntryInfo, SiteInfo
from pipeline.core.genesis import Genesis
from pipeline.core.names import SiteName
from pipeline.core.packet import FIRST_PREVIOUS, Packet
from pipeline.core.replica import Extended
from pipeline.core.site_head import MAX_AUTHORITIES, MAX_OFFERS
from pipeline.core.state import ChainState
from pipeline.telemetry.logs import logger

_log = logger(__name__)
_ONE: Final = 1
_START: Final = {"one": _ONE, "next_offset": 0}
_BLOCK_FIELDS: Final = tuple(BlockInfo.__slots__)
_OF_ALL_SITES: Final = ""
_CHANGES: Final = (
    (Action.ENROL, Action.AMEND),
    (Action.ENROL, Action.SUSPEND, Action.RESUME, Action.REVOKE),
)
_ENTRY_FIELDS: Final = ("height", "entry", "leaf_index", "log_offset", "time_ms")


class ViewSnapshot:
    """One look at the view, good while its ``with`` block is open."""

    def __init__(self, connection: Connection, tree: HashFiles) -> None:
        self._connection = connection
        self._tree = tree
        self._last = self._block(select(view_blocks).order_by(view_blocks.c.height.desc()).limit(1))

    def last_block(self) -> BlockInfo | None:
        """Return the last block, or None before the first."""
        return self._last

    def block(self, height: int) -> BlockInfo | None:
        """Return a block, or None for a height that is not there."""
        return self._block(select(view_blocks).where(view_blocks.c.height == height))

    def _block(self, query: Any) -> BlockInfo | None:
        row = self._connection.execute(query).mappings().first()
        return None if row is None else BlockInfo(**{name: row[name] for name in _BLOCK_FIELDS})

    def site(self, name: SiteName) -> SiteInfo | None:
        """Return a site that was ever enrolled, or None."""
        key = site_key(name)
        active = self._connection.execute(
            select(view_sites.c.active).where(view_sites.c.site == key)
        ).scalar()
        if active is None:
            return None
        (enrolment,) = self._controls(key, (Action.ENROL,), 1)
        offers = self._controls(key, (Action.KEY_OFFER,), MAX_OFFERS)
        records = self._records(key)
        packet = (
            self._connection.execute(select(view_packets).where(view_packets.c.site == key))
            .mappings()
            .first()
        )
        if packet is None:
            return SiteInfo(name, active, enrolment, offers, 0, FIRST_PREVIOUS, None, records)
        last, sequence = _entry(packet, None), packet["sequence"]
        return SiteInfo(name, active, enrolment, offers, sequence, packet["packet_id"], last, records)

    def _records(self, key: str) -> tuple[EntryInfo, ...]:
        """Return the last grant of rights to a site and the last change of its standing, oldest first."""
        found = {item.leaf_index: item for kinds in _CHANGES for item in self._controls(key, kinds, 1)}
        return tuple(found[index] for index in sorted(found))

    def _controls(self, key: str, actions: tuple[Action, ...], limit: int) -> tuple[EntryInfo, ...]:
        """Return the newest control records of these kinds about a site, oldest first."""
        rows = self._connection.execute(
            select(view_controls)
            .where(view_controls.c.site == key, view_controls.c.action.in_(list(map(int, actions))))
            .order_by(view_controls.c.leaf_index.desc())
            .limit(limit)
        ).mappings()
        return tuple(reversed([_entry(row, row["payload"]) for row in rows]))

    def authorities(self) -> tuple[EntryInfo, ...]:
        """Return the newest changes of registrars, nodes and contract, oldest first."""
        actions = (Action.REGISTRARS, Action.NODES, Action.CONTRACT)
        return self._controls(_OF_ALL_SITES, actions, MAX_AUTHORITIES)

    def path(self, index: int) -> list[bytes]:
        """Return the inclusion path of a leaf in the tree after the last block.

        Raises:
            ValueError: there is no such leaf.
        """
        return self._tree.inclusion(index, self._last.tree_size if self._last is not None else 0)


class SqlLedgerView:
    """The view in one folder, which one process at a time may have open.

    Raises:
        ConfigError: another process has the folder (code ``folder_in_use``), or it is another chain's.
    """

    def __init__(self, folder: Path, genesis: Genesis) -> None:
        self._genesis = genesis
        self.engine: Engine = open_sqlite(folder / "view.sqlite", durable=True)
        self._lock_file = lock_folder(folder)
        self._tree_folder = folder / "tree"
        self._tree: HashFiles | None = None
        self._swap = Lock()
        self.rebuilds = 0
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def _create(self) -> None:
        with transaction(self.engine) as connection:
            VIEW.create_all(connection)
            create_state_tables(connection, self._genesis)
            if connection.execute(select(view_position.c.one)).first() is None:
                connection.execute(view_position.insert(), _START)

    def load(self) -> tuple[ChainState, int]:
        """Return state and next offset of the blocks topic; genesis and 0 at first, and after files that disagree."""
        with transaction(self.engine) as connection:
            state = load_state(connection, self._genesis) or ChainState(self._genesis)
            next_offset: int = connection.execute(select(view_position.c.next_offset)).scalar_one()
        frontier = state.head.frontier
        try:
            tree = HashFiles.open(self._tree_folder, frontier.size)
        except ConflictError:
            tree = None
        if tree is None or tree.frontier != frontier:
            if tree is not None:
                tree.close()
            return self._start_over()
        self._put_tree(tree)
        return state, next_offset

    def _start_over(self) -> tuple[ChainState, int]:
        """Forget everything, so that the view is built again from the first block."""
        self.rebuilds += 1
        _log.warning("view_rebuilt", reason="rows and hash files disagree")
        with transaction(self.engine) as connection:
            clear_state(connection)
            for table in VIEW.sorted_tables:
                connection.execute(table.delete())
            connection.execute(view_position.insert(), _START)
        self._put_tree(HashFiles.open(self._tree_folder, 0))
        return ChainState(self._genesis), 0

    def _put_tree(self, tree: HashFiles | None) -> None:
        with self._swap:
            if self._tree is not None:
                self._tree.close()
            self._tree = tree

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        with transaction(self.engine) as connection:
            return connection.execute(
                select(view_blocks.c.root).where(view_blocks.c.tree_size == size)
            ).scalar()

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Store blocks and the position, all or nothing."""
        tree = self._tree
        if tree is None:
            raise ConflictError("the view was not loaded", code="view_closed")
        for item in applied:
            tree.append(item.extended.block.leaf_hashes)
        tree.sync()  # before the size that counts is recorded
        with transaction(self.engine) as connection:
            for item in applied:
                _store_block(connection, item)
            connection.execute(view_position.update(), {"next_offset": next_offset})

    @contextmanager
    def snapshot(self) -> Iterator[ViewSnapshot]:
        """Give one consistent look at the last block and everything before it.

        Raises:
            TransientError: the database is away (code ``database``).
            ConflictError: the view is not loaded yet (code ``view_closed``).
        """
        # The lock keeps the files open; appending to them meanwhile changes nothing that a proof reads.
        with self._swap:
            if self._tree is None:
                raise ConflictError("the view is not loaded yet", code="view_closed")
            with transaction(self.engine) as connection:
                yield ViewSnapshot(connection, self._tree)

    def close(self) -> None:
        """Close the files and let other processes have the folder."""
        self._put_tree(None)
        self.engine.dispose()
        os.close(self._lock_file)


def _entry(row: RowMapping, payload: bytes | None) -> EntryInfo:
    return EntryInfo(payload=payload, **{field: row[field] for field in _ENTRY_FIELDS})


def _store_block(connection: Connection, item: Applied) -> None:
    extended = item.extended
    row = block_row(extended, item.kafka_offset) | {"header": extended.block.header_bytes}
    connection.execute(view_blocks.insert(), row)
    packets: dict[str, dict[str, Any]] = {}
    controls: list[dict[str, Any]] = []
    for index, admitted in enumerate(extended.admitted):
        if isinstance(admitted, Packet):
            key = site_key(admitted.site)
            packets[key] = _place(extended, index) | {
                "site": key,
                "sequence": admitted.sequence,
                "packet_id": admitted.packet_id,
            }
        elif isinstance(admitted.body, SiteBody | Registrars | Nodes | NewContract):
            controls.append(_control_row(extended, index, admitted.body, admitted.raw))
    upsert(connection, view_packets, list(packets.values()))
    if controls:
        connection.execute(view_controls.insert(), controls)
    changed = extended.changes.tables.sites.values()
    upsert(connection, view_sites, [{"site": site_key(s.name), "active": s.active} for s in changed])
    save_changes(connection, extended.changes)


def _place(extended: Extended, index: int) -> dict[str, Any]:
    block = extended.block
    entry = block.entries[index]
    values = (
        block.header.height,
        index,
        block.header.first_index + index,
        entry.offset,
        entry.time_ms,
    )
    return dict(zip(_ENTRY_FIELDS, values, strict=True))


def _control_row(
    extended: Extended, index: int, body: SiteBody | AuthorityBody, payload: bytes
) -> dict[str, Any]:
    return _place(extended, index) | {
        "site": site_key(body.site) if isinstance(body, SiteBody) else _OF_ALL_SITES,
        "action": int(action_of(body)),
        "payload": payload,
    }
