"""The platform's store: Table 10-3 rows, observations, registry and position, one transaction per batch of blocks.

Written by one process at a time; ``store_lock`` and the lock beside a SQLite file see to that.
"""

from collections import deque
from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

from sqlalchemy import Engine, select, tuple_

from pipeline.adapters.sql.block_rows import block_row
from pipeline.adapters.sql.bulk import insert_rows, insert_values
from pipeline.adapters.sql.engine import transaction, upsert
from pipeline.adapters.sql.packets import values_by_code
from pipeline.adapters.sql.platform_rows import (
    observation_values,
    opening_rows,
    record_row,
    site_row,
)
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
    publication,
)
from pipeline.core.storage import observations as observations_of

_ONE: Final = 1
_MOST_WAITING: Final = 1024
"""Packets kept in memory between storing and publishing before a batch; with more, the database tells them."""
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
        # What is stored and not yet marked, all of it; None where only the database knows.
        self._waiting: deque[Publication] | None = None
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
        waiting, self._waiting = self._waiting, None  # a failure may come after the commit
        records = [record for block in stored for record in block.records]
        values = [(record, observations_of(record.content.records)) for record in records]
        with transaction(self._engine) as connection:
            rows = [block_row(block.extended, block.kafka_offset) for block in stored]
            insert_rows(connection, blocks, rows)
            insert_rows(connection, kpi_records, [record_row(record) for record in records])
            found = chain.from_iterable(observation_values(record, items) for record, items in values)
            insert_values(connection, observations, list(found))
            insert_rows(connection, openings, opening_rows(records))
            for block in stored:
                changes = block.extended.changes
                save_changes(connection, changes)
                upsert(
                    connection,
                    sites,
                    [site_row(site, changes.head.height) for site in changes.tables.sites.values()],
                )
            connection.execute(platform_position.update(), {"next_offset": next_offset})
        if waiting is not None and len(waiting) <= _MOST_WAITING:
            waiting.extend(publication(record, items) for record, items in values if items)
            self._waiting = waiting

    def unpublished(self, limit: int) -> list[Publication]:
        """Return the observations of the next packets that were not yet marked as published, in order."""
        if self._waiting is None:
            found = self._stored_unpublished(limit)
            if len(found) < limit:
                self._waiting = deque(found)
            return found
        return list(islice(self._waiting, limit))

    def _stored_unpublished(self, limit: int) -> list[Publication]:
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
        waiting = self._waiting
        while waiting and (waiting[0].height, waiting[0].entry) <= (height, entry):
            waiting.popleft()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()
