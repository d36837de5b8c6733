"""Rows of the platform's store: what each verified block puts into which table, and the registry's rows.

The worker writes them and an audit compares with them. Owns no statement and no connection.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pipeline.adapters.sql.block_rows import block_row
from pipeline.adapters.sql.platform_tables import blocks, kpi_records, observations, openings
from pipeline.core.names import site_id_text
from pipeline.core.state import Site
from pipeline.core.storage import KpiRecord, Observation, StoredBlock
from pipeline.core.storage import observations as observations_of

Row = dict[str, Any]
_OBSERVATION_COLUMNS: Final = tuple(column.name for column in observations.columns)


def rows_of(stored: StoredBlock) -> dict[str, list[Row]]:
    """Return the rows of a block by the name of their table, in order."""
    records = stored.records
    return {
        blocks.name: [block_row(stored.extended, stored.kafka_offset)],
        kpi_records.name: [record_row(record) for record in records],
        observations.name: [
            dict(zip(_OBSERVATION_COLUMNS, row, strict=True))
            for record in records
            for row in observation_values(record, observations_of(record.content.records))
        ],
        openings.name: opening_rows(records),
    }


def opening_rows(records: Iterable[KpiRecord]) -> list[Row]:
    """Return the rows of packets that were opened."""
    return [
        {"tracing_code": record.tracing_code, "seed": record.content.seed}
        for record in records
        if record.content.seed
    ]


def record_row(record: KpiRecord) -> Row:
    """Return the row of one packet (Y.4907 Table 10-3)."""
    packet = record.packet
    return {
        "tracing_code": record.tracing_code,
        "height": record.height,
        "entry": record.entry,
        "data_offset": record.data_recorder.offset,
        "data_length": record.data_recorder.length,
        "block_offset": record.block_recorder.offset,
        "block_length": record.block_recorder.length,
        "city_data": record.city_data,
        "chain_id": record.chain_id,
        "check_code": record.check_code,
        "country": packet.site.country,
        "city": packet.site.city,
        "site_id": site_id_text(packet.site.site_id),
        "module_id": packet.module_id,
        "sequence": packet.sequence,
        "packet_id": packet.packet_id,
        "collected_from": packet.collected_from,
        "collected_to": packet.collected_to,
        "record_count": packet.record_count,
        "log_offset": record.log_offset,
        "admitted": record.admitted_ms,
        "status": record.content.status.value,
        "reason": record.content.reason,
    }


def observation_values(record: KpiRecord, found: Iterable[Observation]) -> Iterator[tuple[Any, ...]]:
    """Yield a packet's observations as rows, values in the order of the table's columns."""
    code = record.tracing_code
    for item in found:
        site = item.site
        yield (code, *item[:-1], site.country, site.city, site_id_text(site.site_id))


def site_row(site: Site, height: int) -> Row:
    """Return a site's row after the block of this height, which changed it."""
    return {
        "country": site.name.country,
        "city": site.name.city,
        "site_id": site_id_text(site.name.site_id),
        "active": site.active,
        "site_key": site.key.fingerprint,
        "indicators": json.dumps(site.indicators),
        "equipment": json.dumps([site_id_text(item) for item in site.equipment]),
        "height": height,
    }
