"""Rows of the platform's store: what each verified block puts into which table, and the registry's rows.

The worker writes them and an audit compares with them. Owns no statement and no connection.
"""

import json
from collections.abc import Iterator
from typing import Any

from pipeline.adapters.sql.block_rows import block_row
from pipeline.adapters.sql.platform_tables import blocks, kpi_records, observations, openings
from pipeline.core.names import site_id_text
from pipeline.core.state import Site
from pipeline.core.storage import KpiRecord, StoredBlock
from pipeline.core.storage import observations as observations_of

Row = dict[str, Any]


def rows_of(stored: StoredBlock) -> dict[str, list[Row]]:
    """Return the rows of a block by the name of their table, in order."""
    records = stored.records
    return {
        blocks.name: [block_row(stored.extended, stored.kafka_offset)],
        kpi_records.name: [_record_row(record) for record in records],
        observations.name: [row for record in records for row in _observation_rows(record)],
        openings.name: [
            {"tracing_code": record.tracing_code, "seed": record.content.seed}
            for record in records
            if record.content.seed
        ],
    }


def _record_row(record: KpiRecord) -> Row:
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


def _observation_rows(record: KpiRecord) -> Iterator[Row]:
    for value in observations_of(record.content.records):
        yield {
            "tracing_code": record.tracing_code,
            "record": value.record,
            "number": value.number,
            "time": value.time_ms,
            "indicator": value.indicator,
            "data_point": value.data_point,
            "exact": value.exact,
            "value": value.value,
            "unit": value.unit,
            "sensor": value.sensor,
            "quality": value.quality,
            "source": value.source,
            "country": value.site.country,
            "city": value.site.city,
            "site_id": site_id_text(value.site.site_id),
        }


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
