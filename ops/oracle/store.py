"""The platform's SQLite store as the oracle reads it, by its documented table and column names."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from ops.oracle.avro_files import Schemas
from ops.oracle.input_error import InputError

Row = dict[str, Any]
_QUERIES: Final = {
    "blocks": "SELECT * FROM blocks ORDER BY height",
    "kpi_records": "SELECT * FROM kpi_records ORDER BY height, entry",
    "openings": "SELECT * FROM openings",
    "observations": "SELECT * FROM observations ORDER BY tracing_code, record, number",
}
_NOT_STATED: Final = 0
_EXTENDING: Final = ("sensor", "quality", "source")
_SHARED: Final = ("country", "city", "site_id", "time", *_EXTENDING)


@dataclass(frozen=True, slots=True)
class Store:
    """All rows: blocks and Table 10-3 rows in order, values and salt seeds by tracing code."""

    blocks: list[Row]
    packets: list[Row]
    values: dict[str, list[Row]]
    seeds: dict[str, bytes]


def read_store(path: Path) -> Store:
    """Read a store without changing it; its program may be running.

    Raises:
        InputError: there is no such store.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; name the platform's SQLite store")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")  # all tables as of one moment
            tables = {name: list(map(dict, connection.execute(sql))) for name, sql in _QUERIES.items()}
    except sqlite3.Error as error:
        raise InputError(f"{path} is no platform store: {error}") from None
    values: dict[str, list[Row]] = defaultdict(list)
    for row in tables["observations"]:
        values[row["tracing_code"]].append(row)
    seeds = {row["tracing_code"]: row["seed"] for row in tables["openings"]}
    return Store(tables["blocks"], tables["kpi_records"], dict(values), seeds)


def rebuild_records(rows: list[Row], count: int, schemas: Schemas) -> list[bytes] | None:
    """Return the encoded unified KPI records that a packet's values came from; None where rows make no whole records.

    Rows are ordered by record and number; ``count`` is how many records the packet has.

    Raises:
        ValueError: a row holds no number or no address.
    """
    records: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        records[row["record"]].append(row)
    if sorted(records) != list(range(count)) or not all(map(_is_whole, records.values())):
        return None
    return [_encode(records[index], schemas) for index in range(count)]


def _is_whole(rows: list[Row]) -> bool:
    """Tell whether a record's rows are numbered without gap, agree on what they share, and hold one extending part."""
    numbered = [row["number"] for row in rows] == list(range(len(rows)))
    agree = len({tuple(row[name] for name in _SHARED) for row in rows}) == 1
    bare = rows[0]["sensor"] == rows[0]["source"] == ""
    return numbered and agree and (bare or rows[0]["quality"] != _NOT_STATED)


def _encode(rows: list[Row], schemas: Schemas) -> bytes:
    first = rows[0]
    extending = {name: first[name] for name in _EXTENDING}
    return schemas.encode(
        "UnifiedRecord",
        {
            "country": first["country"],
            "city": first["city"],
            "site_id": _sixteen_bytes(first["site_id"]),
            "time": first["time"],
            "kpi_data": [
                {
                    "indicator": row["indicator"],
                    "data_point": row["data_point"],
                    "unscaled": int(row["exact"].replace(".", "", 1)),
                    "scale": len(row["exact"].partition(".")[2]),
                    "unit": row["unit"],
                }
                for row in rows
            ],
            "extending": b"" if first["quality"] == _NOT_STATED else schemas.encode("Extending", extending),
        },
    )


def _sixteen_bytes(address: str) -> bytes:
    packed = ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
