"""Looking up stored packets and their values, for programs that only read the platform's store."""

from typing import Any, Final

from sqlalchemy import Connection, Engine, select

from pipeline.adapters.sql.engine import transaction
from pipeline.adapters.sql.platform_tables import blocks, kpi_records, observations
from pipeline.adapters.sql.schema import require_current
from pipeline.adapters.sql.state_rows import chain_identity
from pipeline.core.errors import ConfigError
from pipeline.core.followed import StoredPacket
from pipeline.core.genesis import Genesis

_FOUND_FIELDS: Final = (
    "chain_id",
    "tracing_code",
    "height",
    "admitted",
    "country",
    "city",
    "site_id",
    "module_id",
    "sequence",
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


class SqlPackets:
    """The packets of a store that is there already; nothing is written.

    Raises:
        ConfigError: there is no store (code ``no_store``), of another release (code ``store_schema``) or of another
            chain (code ``other_chain``).
        TransientError: the database is away (code ``database``).
    """

    def __init__(self, engine: Engine, genesis: Genesis) -> None:
        self._engine = engine
        with transaction(engine) as connection:
            require_current(connection)
            bound = connection.execute(select(chain_identity.c.chain)).scalar()
        if bound is not None and bytes(bound) != genesis.chain:
            raise ConfigError(
                "the store is of another chain than the genesis file; check store.url and genesis",
                code="other_chain",
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
            values = values_by_code(connection, [tracing_code])[tracing_code]
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


def values_by_code(connection: Connection, codes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the values of packets by tracing code, in their order; an empty list where there are none."""
    columns = [observations.c[name] for name in _VALUE_FIELDS]
    found: dict[str, list[dict[str, Any]]] = {code: [] for code in codes}
    for code, *values in connection.execute(
        select(observations.c.tracing_code, *columns)
        .where(observations.c.tracing_code.in_(codes))
        .order_by(observations.c.tracing_code, observations.c.record, observations.c.number)
    ):
        found[code].append(dict(zip(_VALUE_FIELDS, values, strict=True)))
    return found
