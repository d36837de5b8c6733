"""Inserting many rows at once: COPY on PostgreSQL, one prepared statement on SQLite."""

from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.exc import DBAPIError

_TYPES: Final = {
    BigInteger: "int8",
    Integer: "int4",
    SmallInteger: "int2",
    Double: "float8",
    Boolean: "bool",
    Text: "text",
    LargeBinary: "bytea",
}


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have all columns of the table, in the transaction of the connection.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    values = itemgetter(*(column.name for column in table.columns))
    insert_values(connection, table, list(map(values, rows)))


def insert_values(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows given as plain values in the order of the table's columns, in the transaction of the connection.

    Raises:
        DBAPIError: as a statement of the connection would.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
    else:
        # As text, which spares the conversions of each value: what we store is stored as it is.
        connection.exec_driver_sql(_insertion(table), list(rows))


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    import psycopg  # noqa: PLC0415  a store in SQLite does without it

    statement, types = _plan(table)
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # As SQLAlchemy does it, so that it notices a connection that is lost and all see the same errors.
        raise _as_of_sqlalchemy(connection, statement, error) from error


@cache
def _insertion(table: Table) -> str:
    marks = ", ".join("?" for _ in table.columns)
    return f'INSERT INTO "{table.name}" ({_listed(table)}) VALUES ({marks})'


@cache
def _plan(table: Table) -> tuple[str, list[str]]:
    types = [_TYPES[type(column.type)] for column in table.columns]
    return f'COPY "{table.name}" ({_listed(table)}) FROM STDIN (FORMAT BINARY)', types


def _listed(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _as_of_sqlalchemy(connection: Connection, statement: str, error: Exception) -> BaseException:
    driver: Any = connection.connection.driver_connection
    is_lost = bool(driver.closed)
    if is_lost:
        connection.invalidate(error)
    dbapi = connection.dialect.dbapi
    return DBAPIError.instance(
        statement, None, error, dbapi.Error if dbapi else Exception, connection_invalidated=is_lost
    )
