"""Rows of topics on the screen: one line a record, the fields that tell most, bytes shortened."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.core.topic_rows import PROBLEM_FIELD, SCHEMA_FIELD
from pipeline.core.where import field

KAFKA_FIELD: Final = "kafka"
_LONG_TEXT: Final = 64
_SHOWN_TEXT: Final = 16
_TIMES: Final = frozenset(
    [
        "time",
        "admitted",
        "collected_from",
        "collected_to",
        "period_start",
        "period_end",
        "window_start",
        "window_end",
    ]
)
_LAST_TIME_MS: Final = 253_402_300_799_999
# What stands in the line; --json has every field. Schemas that are not here show all.
_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "Packet": (
        "country",
        "city",
        "site_id",
        "module_id",
        "sequence",
        "record_count",
        "collected_from",
        "collected_to",
        "suite",
        "encrypted_kpi_data",
    ),
    "CertifiedBlock": (
        "block.header.height",
        "block.header.period_start",
        "block.header.part",
        "block.header.entry_count",
        "block.header.first_index",
        "block.header.previous_hash",
        "block.header.source.next",
        "certificate",
    ),
    "Observations": (
        "time",
        "country",
        "city",
        "site_id",
        "indicator",
        "data_point",
        "exact",
        "unit",
        "quality",
        "sensor",
        "tracing_code",
        "record",
    ),
}


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(row, separators=(",", ":"))


def pretty_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line for people: broker time, partition:offset, schema, fields."""
    kafka = row[KAFKA_FIELD]
    name = row[SCHEMA_FIELD]
    shown = _SHOWN.get(name, tuple(key for key in row if key not in (KAFKA_FIELD, SCHEMA_FIELD)))
    fields = ((path, field(row, tuple(path.split(".")))) for path in shown)
    words = [
        f"{path.rpartition('.')[2]}={text(path, value)}" for path, value in fields if value not in ("", None)
    ]
    place = f"{kafka['partition']}:{kafka['offset']}"
    return " ".join([moment(kafka["time"]), place, name or f"!! {row[PROBLEM_FIELD]}", *words])


def text(path: str, value: Any) -> str:
    """Return a value in a form that fits a line and can't disturb a terminal."""
    if isinstance(value, int) and path.rpartition(".")[2] in _TIMES:
        return moment(value)
    if isinstance(value, list):
        return f"[{len(value)}]"
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={text(key, item)}" for key, item in value.items()) + "}"
    shown = str(value)
    if len(shown) > _LONG_TEXT:
        return f"{_plain(shown[:_SHOWN_TEXT])}…({len(shown)} characters)"
    return _plain(shown)


def moment(time_ms: int) -> str:
    """Return a time in GMT; what is no time of a calendar as the number that it is."""
    if not 0 <= time_ms <= _LAST_TIME_MS:
        return str(time_ms)
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _plain(shown: str) -> str:
    return shown if shown.isprintable() else ascii(shown)
