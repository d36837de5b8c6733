"""Faults in a database: the n-th statement or commit from now on fails, with or without having been made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, event, select
from sqlalchemy.sql.schema import MetaData

from pipeline.adapters.sql import bulk


class CrashError(Exception):
    """The process died here."""


@contextmanager
def crash_at(engine: Engine, step: int) -> Iterator[None]:
    """Raise ``CrashError`` in front of the ``step``-th statement, COPY or commit, counted from 0."""
    left = step

    def count(*_: Any, **__: Any) -> None:
        nonlocal left
        if left == 0:
            raise CrashError
        left -= 1

    event.listen(engine, "before_cursor_execute", count)
    event.listen(engine, "commit", count)
    copy = bulk._copy

    def counted_copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        count()
        copy(connection, table, rows)

    bulk._copy = counted_copy
    try:
        yield
    finally:
        bulk._copy = copy
        event.remove(engine, "before_cursor_execute", count)
        event.remove(engine, "commit", count)


def all_rows(engine: Engine, metadata: MetaData) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, ordered by primary key."""
    with engine.connect() as connection:
        return {table.name: _rows(connection, table) for table in metadata.sorted_tables}


def _rows(connection: Connection, table: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
