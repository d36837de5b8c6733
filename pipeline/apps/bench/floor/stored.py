"""Primitives of the store: the rows of our tables, with all indexes, by the database's own driver and cheapest way.

A round is a transaction of a full block's packets, committed through to the disk, in tables that grow.
"""

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import BigInteger, Double, Integer, LargeBinary, SmallInteger, Table, Text

from pipeline.adapters.sql.engine import open_engine, open_sqlite
from pipeline.adapters.sql.platform_tables import kpi_records, observations
from pipeline.adapters.sql.schema import upgrade
from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.lists import Database
from pipeline.apps.bench.floor.servers import POSTGRES, FloorServers
from pipeline.apps.bench.floor.shape import Shape
from pipeline.apps.bench.floor.timing import Primitive
from pipeline.apps.bench.plan import START_MS, secret
from pipeline.core.names import site_id_text
from pipeline.core.tracing import TracingCode

Row = tuple[Any, ...]
_TYPES: Final = {
    BigInteger: "int8",
    Integer: "int4",
    SmallInteger: "int2",
    Double: "float8",
    Text: "text",
    LargeBinary: "bytea",
}
_SEED_BYTES: Final = 5


class Store(ABC):
    """A database with our tables; rounds are numbered, so that no row comes twice."""

    name: Database

    def __init__(self, shape: Shape, spent_s: Callable[[], float]) -> None:
        self._shape, self._spent_s = shape, spent_s
        self._height = 0
        self._costs: dict[str, Cost] = {}

    def primitives(self) -> Iterator[Primitive]:
        """Yield inserting a value's row, a packet's row, and the commit; measured together, told one by one."""
        for what in ("insert observation", "insert record", "commit"):
            yield Primitive(f"{self.name} {what}", lambda what=what: self._cost(what))  # type: ignore[misc]

    def _cost(self, what: str) -> Cost:
        if what not in self._costs:
            self._costs = self._round()
        return self._costs.pop(what)

    def _round(self) -> dict[str, Cost]:
        self._height += 1
        codes = [
            str(TracingCode(secret("chain", _SEED_BYTES), self._height, entry))
            for entry in range(self._shape.packets_per_block)
        ]
        values, records = (
            _observation_rows(self._shape, codes),
            _record_rows(self._shape, codes, self._height),
        )
        self.begin()
        return {
            "insert observation": self._timed(lambda: self.insert(observations, values), len(values)),
            "insert record": self._timed(lambda: self.insert(kpi_records, records), len(records)),
            "commit": self._timed(self.commit, 1),
        }

    def _timed(self, step: Callable[[], object], count: int) -> Cost:
        served, begun = self._spent_s(), time.thread_time_ns()
        step()
        own = time.thread_time_ns() - begun
        return Cost(own / count / 1e3, (self._spent_s() - served) * 1e6 / count)

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows, whose values are in the order of the columns."""

    @abstractmethod
    def commit(self) -> None:
        """Commit, through to the disk."""


class SqliteStore(Store):
    """A file with the settings of ours."""

    name = Database.SQLITE

    def __init__(self, shape: Shape, database: sqlite3.Connection) -> None:
        super().__init__(shape, lambda: 0.0)
        self._database = database

    def begin(self) -> None:
        """Begin a transaction."""
        self._database.execute("BEGIN")

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert by one prepared statement."""
        places = ", ".join("?" * len(table.columns))
        self._database.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)  # noqa: S608

    def commit(self) -> None:
        """Commit."""
        self._database.execute("COMMIT")


class PostgresStore(Store):
    """A session of the platform's role, over TLS."""

    name = Database.POSTGRESQL

    def __init__(self, shape: Shape, servers: FloorServers, connection: Any) -> None:
        super().__init__(shape, servers.cpu(POSTGRES).spent_s)
        self._connection = connection

    def begin(self) -> None:
        """The driver begins transactions by itself."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert by COPY in its binary form."""
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        statement = f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT BINARY)'
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([_TYPES[type(column.type)] for column in table.columns])
            for row in rows:
                copy.write_row(row)

    def commit(self) -> None:
        """Commit."""
        self._connection.commit()


@contextmanager
def floor_sqlite(folder: Path, shape: Shape) -> Iterator[Store]:
    """Make a store in a file of ``folder``."""
    path = folder / "floor.sqlite"
    engine = open_sqlite(path)
    upgrade(engine)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        yield SqliteStore(shape, database)


@contextmanager
def floor_postgres(servers: FloorServers, shape: Shape) -> Iterator[Store]:
    """Make our tables in the PostgreSQL of servers that are for measuring alone."""
    engine = open_engine(str(servers.database_url))
    try:
        upgrade(engine)
        with closing(engine.raw_connection()) as connection:
            yield PostgresStore(shape, servers, connection.driver_connection)
    finally:
        engine.dispose()


def _observation_rows(shape: Shape, codes: Sequence[str]) -> list[Row]:
    found = shape.observations
    return [
        (
            code,
            each.record,
            each.number,
            each.time_ms,
            each.indicator,
            each.data_point,
            each.exact,
            each.value,
            each.unit,
            each.sensor,
            each.quality,
            each.source,
            each.site.country,
            each.site.city,
            site_id_text(each.site.site_id),
        )
        for code in codes
        for each in found
    ]


def _record_rows(shape: Shape, codes: Sequence[str], height: int) -> list[Row]:
    packet, length = shape.packet, len(shape.packet.raw)
    site = packet.site
    place = (site.country, site.city, site_id_text(site.site_id), packet.module_id)
    return [
        (
            code,
            height,
            entry,
            entry * length,
            length,
            height * len(shape.block),
            len(shape.block),
            packet.raw,
            "https://bench.bkdms.local/chain",
            secret("check code"),
            *place,
            height * len(codes) + entry,
            packet.packet_id,
            packet.collected_from,
            packet.collected_to,
            packet.record_count,
            entry,
            START_MS,
            "ok",
            "",
        )
        for entry, code in enumerate(codes)
    ]
