"""The platform's store: Table 10-3 rows, observations, registry and position, one transaction per batch of blocks."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, select, tuple_

from pipeline.adapters.sql.engine import transaction, upsert
from pipeline.adapters.sql.platform_rows import rows_of, site_row
from pipeline.adapters.sql.platform_tables import (
    PLATFORM,
    blocks,
    kpi_records,
    observations,
    openings,
    platform_position,
    sites,
)
from pipeline.adapters.sql.state_rows import create_state_tables, load_state, save_changes
from pipeline.core.followed import StoredPacket
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
_FOUND_FIELDS: Final = (
    *_MESSAGE_FIELDS,
    "entry",
    "log_offset",
    "collected_from",
    "collected_to",
    "status",
    "reason",
)
_VALUE_FIELDS: Final = (
    "record",
    "time",
    "indicator",
    "data_point",
    "value",
    "exact",
    "unit",
    "sensor",
    "quality",
    "source",
)


class SqlPlatformStore:
    """The store over any engine; creates its tables where they are missing.

    Raises:
        ConfigError: the database holds another chain (code ``other_chain``).
        TransientError: the database is away (code ``database``).
    """

    def __init__(self, engine: Engine, genesis: Genesis) -> None:
        self._engine = engine
        self._genesis = genesis
        with transaction(engine) as connection:
            PLATFORM.create_all(connection)
            create_state_tables(connection, genesis)
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
                _insert(connection, table, [row for found in rows for row in found[table.name]])
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
            rows = _values_by_code(connection, [packet.tracing_code for packet in packets])
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

    def find(self, tracing_code: str) -> StoredPacket | None:
        """Return a stored packet with its values, or None."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                select(kpi_records, blocks.c.hash, blocks.c.kafka_offset)
                .join_from(kpi_records, blocks, kpi_records.c.height == blocks.c.height)
                .where(kpi_records.c.tracing_code == tracing_code)
            ).one_or_none()
            if row is None:
                return None
            values = _values_by_code(connection, [tracing_code])[tracing_code]
        document = {name: getattr(row, name) for name in _FOUND_FIELDS} | {
            "packet_id": row.packet_id.hex(),
            "records": row.record_count,
            "data_recorder": {"offset": row.data_offset, "length": row.data_length},
            "block_recorder": {"offset": row.block_offset, "length": row.block_length},
            "check_code": row.check_code.hex(),
            "block_hash": row.hash.hex(),
            "values": values,
        }
        return StoredPacket(document, row.city_data, row.hash, row.kafka_offset)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(table.insert(), rows)


def _values_by_code(connection: Connection, codes: list[str]) -> dict[str, list[dict[str, Any]]]:
    columns = [observations.c[name] for name in _VALUE_FIELDS]
    found: dict[str, list[dict[str, Any]]] = {code: [] for code in codes}
    for code, *values in connection.execute(
        select(observations.c.tracing_code, *columns)
        .where(observations.c.tracing_code.in_(codes))
        .order_by(observations.c.tracing_code, observations.c.record, observations.c.number)
    ):
        found[code].append(dict(zip(_VALUE_FIELDS, values, strict=True)))
    return found
