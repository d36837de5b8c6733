"""How fast values go into the store, and what they cost: ``python -m tests.support.store_speed``; figures in the docs.

Starts a PostgreSQL of its own, ``fsync`` on. The rows are made up; what is written is what the platform worker writes.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Engine, Table, text

from pipeline.adapters.sql import bulk
from pipeline.adapters.sql.engine import open_engine, open_sqlite, transaction
from pipeline.adapters.sql.platform_tables import observations
from pipeline.adapters.sql.schema import upgrade
from pipeline.apps.cli.context import say
from tests.support.postgres import running_postgres

VALUES = 100_000
A_PACKET = 20
A_TRANSACTION = 2_000
Row = dict[str, Any]
Insert = Callable[[Connection, Table, list[Row]], object]


def made_up() -> list[Row]:
    """Return rows of packets of twenty values from a thousand sites of four cities."""
    fixed = {"data_point": "", "exact": "12.34", "value": 12.34, "unit": "HM", "sensor": "sensor-1"}
    fixed |= {"quality": 1, "source": "traffic.csv:17", "country": "US"}
    return [
        fixed
        | {
            "tracing_code": f"5K2V0Q8D-{packet // 500:X}-{packet:X}-7",
            "record": number // 2,
            "number": number % 2,
            "time": 1_760_000_000_000 + packet * 60_000 + number * 1_000,
            "indicator": f"LOCAL:TRAFFIC_{number % 5}",
            "city": f"unlocode:US{packet % 4}",
            "site_id": f"10.0.{packet % 4}.{packet % 250}",
        }
        for packet in range(VALUES // A_PACKET)
        for number in range(A_PACKET)
    ]


def executemany(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert as SQLAlchemy does it by itself."""
    connection.execute(table.insert(), rows)


def measure(name: str, engine: Engine, insert: Insert, server: psutil.Process | None) -> None:
    """Insert all rows into an empty table and print what it took."""
    rows, own = made_up(), psutil.Process()
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM observations"))
    before, began = (_cpu_s(own), _tree_s(server)), time.monotonic()
    for start in range(0, len(rows), A_TRANSACTION):
        with transaction(engine) as connection:
            insert(connection, observations, rows[start : start + A_TRANSACTION])
    took = time.monotonic() - began
    ours, theirs = (
        1e6 * (after - was) / len(rows)
        for after, was in zip((_cpu_s(own), _tree_s(server)), before, strict=True)
    )
    say(f"{name:<26}{len(rows) / took:>9,.0f} values/s{ours:>8.1f} µs CPU{theirs:>8.1f} µs of the server")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _tree_s(process: psutil.Process | None) -> float:
    """Return the processor time of a server with its children, of whom none ends meanwhile; 0 for none."""
    return (
        0.0 if process is None else sum(_cpu_s(one) for one in (process, *process.children(recursive=True)))
    )


def main() -> None:
    """Measure all ways in all databases."""
    with tempfile.TemporaryDirectory(prefix="bkdms-speed-") as folder:
        Path(folder).chmod(0o755)
        file = open_sqlite(Path(folder) / "store.sqlite")
        upgrade(file)
        measure("SQLite", file, bulk.insert_rows, None)
        with running_postgres(Path(folder) / "pg") as running, running.database() as database:
            engine = open_engine(database.url())
            upgrade(engine)
            server = psutil.Process(running.status().pid)
            measure("PostgreSQL, executemany", engine, executemany, server)
            measure("PostgreSQL, COPY", engine, bulk.insert_rows, server)
            engine.dispose()
    say(f"load {psutil.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
