"""The platform's store: Table 10-3 rows, observations, registry and position, one transaction per batch of blocks.

Written by one process at a time; ``store_lock`` and the lock beside a SQLite file see to that.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, select, tuple_

from pipeline.adapters.sql.bulk import insert_rows
from pipeline.adapters.sql.engine import transaction, upsert
from pipeline.adapters.sql.packets import values_by_code
from pipeline.adapters.sql.platform_rows import rows_of, site_row
from pipeline.adapters.sql.platform_tables import (
    blocks,
    kpi_records,
    observations,
    openings,
    platform_position,
    sites,
)
from pipeline.adapters.sql.schema import Grant, no_grants, upgrade
from pipeline.adapters.sql.state_rows import bind_chain, load_state, save_changes
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState
from pipeline.core.storage import (
    Publication,
    Status,
    StoredBlock,
    observations_key,
    observations_value,
)

_ONE: Final = 1
_MESSAGE_FIELDS: Final = (
    "chain_id",
    "tracing_code",
    "height",
    "admitted",
    "country",
    "city",
    "site_id",
    "module_id",
    "sequence",
)


class SqlPlatformStore:
    """The store over any engine; makes its tables, or brings them to this release, and gives rights.

    Raises:
        ConfigError: the database holds another chain (code ``other_chain``), a newer release's tables (code
            ``store_schema``), or is not for us (code ``database_url``).
        TransientError: the database is away (code ``database``).
    """

    def __init__(self, engine: Engine, genesis: Genesis, grant: Grant = no_grants) -> None:
        self._engine = engine
        self._genesis = genesis
        upgrade(engine, grant)
        with transaction(engine) as connection:
            bind_chain(connection, genesis)
            if connection.execute(select(platform_position.c.one)).first() is None:
                start = {"one": _ONE, "next_offset": 0, "published_height": 0, "published_entry": 0}
                connection.execute(platform_position.insert(), start)

    def load(self) -> tuple[ChainState, int]:
        """Return state and next offset of the blocks topic; genesis and 0 at first."""
        with transaction(self._engine) as connection:
            state = load_state(connection, self._genesis) or ChainState(self._genesis)
            return state, connection.execute(select(platform_position.c.next_offset)).scalar_one()

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        with transaction(self._engine) as connection:
            return connection.execute(select(blocks.c.root).where(blocks.c.tree_size == size)).scalar()

    def save(self, stored: Sequence[StoredBlock], next_offset: int) -> None:
        """Store blocks with everything that follows from them, and the position, all or nothing."""
        with transaction(self._engine) as connection:
            rows = [rows_of(block) for block in stored]
            for table in (blocks, kpi_records, observations, openings):
                insert_rows(connection, table, [row for found in rows for row in found[table.name]])
            for block in stored:
                changes = block.extended.changes
                save_changes(connection, changes)
                upsert(
                    connection,
                    sites,
                    [site_row(site, changes.head.height) for site in changes.tables.sites.values()],
                )
            connection.execute(platform_position.update(), {"next_offset": next_offset})

    def unpublished(self, limit: int) -> list[Publication]:
        """Return the observations of the next packets that were not yet marked as published, in order."""
        with transaction(self._engine) as connection:
            position = connection.execute(select(platform_position)).one()
            after = tuple_(kpi_records.c.height, kpi_records.c.entry) > (
                position.published_height,
                position.published_entry,
            )
            packets = connection.execute(
                select(kpi_records.c.entry, *(kpi_records.c[name] for name in _MESSAGE_FIELDS))
                .where(after, kpi_records.c.status == Status.OK)
                .order_by(kpi_records.c.height, kpi_records.c.entry)
                .limit(limit)
            ).all()
            rows = values_by_code(connection, [packet.tracing_code for packet in packets])
        return [
            Publication(
                observations_key(packet.country, packet.city, packet.site_id),
                observations_value(
                    {name: getattr(packet, name) for name in _MESSAGE_FIELDS}, rows[packet.tracing_code]
                ),
                packet.height,
                packet.entry,
            )
            for packet in packets
        ]

    def mark_published(self, height: int, entry: int) -> None:
        """Record that the observations of all packets up to this one were sent."""
        with transaction(self._engine) as connection:
            connection.execute(
                platform_position.update(), {"published_height": height, "published_entry": entry}
            )

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()
