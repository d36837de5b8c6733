"""Observation messages as columns of Parquet files, by city and day (GMT) of the measurement.

Pure: bytes in, columns out. A file's city and day are in its folder's name only, as Hive-style readers expect; they
join them to the rows again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from pipeline.core import avro
from pipeline.core.names import is_time
from pipeline.core.storage import OBSERVATIONS
from pipeline.core.tracing import TracingCode, parse_tracing_code

_TEXT: Final = pa.string()
_TIME: Final = pa.timestamp("ms", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        ("time", _TIME),
        ("country", _TEXT),
        ("site_id", _TEXT),
        ("indicator", _TEXT),
        ("data_point", _TEXT),
        ("value", pa.float64()),
        ("exact", _TEXT),
        ("unit", _TEXT),
        ("quality", pa.int8()),
        ("sensor", _TEXT),
        ("source", _TEXT),
        ("module_id", _TEXT),
        ("tracing_code", _TEXT),
        ("record", pa.int32()),
        ("number", pa.int32()),
        ("height", pa.int64()),
        ("sequence", pa.int64()),
        ("admitted", _TIME),
        ("chain_id", _TEXT),
    ]
)
"""The columns; ``tracing_code``, ``record`` and ``number`` together are a value's key, as in the platform's store."""
_PACKET_FIELDS: Final = (
    "tracing_code",
    "chain_id",
    "height",
    "admitted",
    "country",
    "site_id",
    "module_id",
    "sequence",
)


@dataclass(frozen=True, slots=True, order=True)
class PartKey:
    """Which files a row belongs to."""

    city: str
    day: str

    @property
    def folder(self) -> str:
        """The folder of these files, relative to the sink's."""
        return f"city={quote(self.city, safe='')}/day={self.day}"


@dataclass(frozen=True, slots=True)
class PacketValues:
    """The values of one packet: its tracing code, where that is, and its rows by the files they belong to."""

    code: str
    place: TracingCode
    rows: dict[PartKey, list[dict[str, Any]]]


@dataclass(slots=True)
class Columns:
    """Rows of one part, column by column."""

    values: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})

    def extend(self, rows: list[dict[str, Any]]) -> None:
        """Add rows at the end."""
        for name, column in self.values.items():
            column += [row[name] for row in rows]

    def __len__(self) -> int:
        return len(self.values["time"])

    def table(self) -> pa.Table:
        """Return them in the order of time, so that readers can leave out what they do not need."""
        table = pa.table(self.values, schema=SCHEMA)
        return table.sort_by([(name, "ascending") for name in ("time", "tracing_code", "record", "number")])


def read_message(value: bytes | None) -> PacketValues | None:
    """Return the values of an observations message; None for anything else. Total."""
    packet = None if value is None else avro.unframe(OBSERVATIONS, value)
    place = None if packet is None else parse_tracing_code(packet["tracing_code"])
    if packet is None or place is None or not _is_sound(packet):
        return None
    rows: dict[PartKey, list[dict[str, Any]]] = {}
    for row in _rows(packet):
        day = f"{datetime.fromtimestamp(row['time'] / 1000, UTC):%Y-%m-%d}"
        rows.setdefault(PartKey(packet["city"], day), []).append(row)
    return PacketValues(packet["tracing_code"], place, rows)


def _is_sound(packet: dict[str, Any]) -> bool:
    """Tell whether its numbers fit the columns and its city a folder's name; the platform sends nothing else."""
    times = [packet["admitted"], *(item["time"] for item in packet["observations"])]
    small = all(
        -1 < item["quality"] < 100 and -1 < item["record"] < 1 << 16 for item in packet["observations"]
    )
    return 0 < len(packet["city"]) <= 64 and small and all(is_time(time) for time in times)


def _rows(packet: dict[str, Any]) -> Iterator[dict[str, Any]]:
    shared = {name: packet[name] for name in _PACKET_FIELDS}
    numbers: dict[int, int] = {}
    for item in packet["observations"]:
        number = numbers.get(item["record"], 0)
        numbers[item["record"]] = number + 1
        yield {**shared, **item, "number": number}
