"""The store in PostgreSQL is audited row by row, and rebuilt beside the old one; no Kafka needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from ops.postgres.role_table import DatabaseRole
from pipeline.adapters.sql import rebuilt_schema, store_lock
from pipeline.adapters.sql.engine import open_engine, open_sqlite, transaction
from pipeline.adapters.sql.rebuilt_schema import DRAFT, RebuiltSchema
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.sql.store_snapshot import SqlStoreSnapshot
from pipeline.apps.store_database import grant_rights, open_store, open_to_write
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.row_audit import RowChange
from tests.support.postgres import Database
from tests.support.sql_faults import all_rows
from tests.support.store_schemas import StoreSchemas
from tests.support.store_shape import OURS
from tests.support.stored_chain import StoredChain
from tests.unit.test_store_audit import COLUMNS, KEYS, TABLES, middle, no_key, other
from tests.vectors.core_world import FOLDER

pytestmark = pytest.mark.stack
OLD_TABLES = FOLDER / "store_0_1_0_postgresql.sql"
Row = dict[str, Any]


def rows(engine: Engine) -> list[dict[str, Any]]:
    return [all_rows(engine, metadata) for metadata in OURS]


def test_an_edited_value_and_a_removed_packet_are_named(
    schemas: StoreSchemas, stored: StoredChain, filled: str
) -> None:
    engine, url = schemas.at(filled), schemas.url(filled)
    value, packet = middle(table_rows(engine, "observations")), middle(table_rows(engine, "openings"))
    update = f"UPDATE observations SET exact = :exact WHERE {same_row('observations')}"
    with edited(engine, update, old(value) | {"exact": "7"}, update, old(value) | {"exact": value["exact"]}):
        (finding,) = stored.audit(url).findings
    assert (finding.table, finding.columns) == ("observations", ("exact",))
    delete = f"DELETE FROM openings WHERE {same_row('openings')}"
    insert = "INSERT INTO openings (tracing_code, seed) VALUES (:old_tracing_code, :old_seed)"
    with edited(engine, delete, old(packet), insert, old(packet)):
        (finding,) = stored.audit(url).findings
    assert (finding.table, finding.change) == ("openings", RowChange.REMOVED)


@contextmanager
def edited(engine: Engine, statement: str, values: Row, undo: str, undo_values: Row) -> Iterator[None]:
    with transaction(engine) as connection:
        assert connection.execute(text(statement), values).rowcount == 1
    yield
    with transaction(engine) as connection:
        assert connection.execute(text(undo), undo_values).rowcount == 1


def table_rows(engine: Engine, table: str) -> list[Row]:
    order = ", ".join(f'"{name}"' for name in KEYS[table])
    with transaction(engine) as connection:
        return [
            dict(row)
            for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY {order}")).mappings()
        ]


def same_row(table: str) -> str:
    return " AND ".join(f'"{name}" = :old_{name}' for name in KEYS[table])


def old(row: Row) -> Row:
    return {f"old_{name}": value for name, value in row.items()}


def test_the_store_that_the_worker_filled_is_good(
    schemas: StoreSchemas, stored: StoredChain, filled: str
) -> None:
    for keys, unverified in ((None, 1), (no_key, 2)):
        report = stored.audit(schemas.url(filled), keys=keys)
        assert report.findings == []
        assert (report.height, report.packets, report.values, report.unverified) == (6, 8, 9, unverified)


@pytest.mark.faults
def test_each_edited_column_is_named(schemas: StoreSchemas, stored: StoredChain, filled: str) -> None:
    engine, url = schemas.at(filled), schemas.url(filled)
    for table, column in COLUMNS:
        row = middle(table_rows(engine, table))
        changed = not row[column] if isinstance(row[column], bool) else other(row[column])
        key = row | {column: changed}
        update = f'UPDATE {table} SET "{column}" = :value WHERE {same_row(table)}'
        with edited(engine, update, old(row) | {"value": changed}, update, old(key) | {"value": row[column]}):
            (finding,) = stored.audit(url).findings
        assert (finding.table, finding.change) == (table, RowChange.EDITED), (table, column)
        assert column in finding.columns
    assert stored.audit(url).is_good


@pytest.mark.faults
def test_each_removed_and_added_row_is_named(schemas: StoreSchemas, stored: StoredChain, filled: str) -> None:
    engine, url = schemas.at(filled), schemas.url(filled)
    for table in TABLES:
        row = middle(table_rows(engine, table))
        columns = ", ".join(f'"{name}"' for name in row)
        insert = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f':old_{name}' for name in row)})"
        delete = f"DELETE FROM {table} WHERE {same_row(table)}"
        with edited(engine, delete, old(row), insert, old(row)):
            (finding,) = stored.audit(url).findings
        assert (finding.table, finding.change) == (table, RowChange.REMOVED)
        added = row | {name: other(row[name]) for name in ("entry", "sequence", "tree_size") if name in row}
        added |= {KEYS[table][-1]: other(row[KEYS[table][-1]]), list(row)[-1]: other(list(row.values())[-1])}
        with edited(engine, insert, old(added), delete, old(added)):
            (finding,) = stored.audit(url).findings
        assert (finding.table, finding.change) == (table, RowChange.ADDED)
    assert stored.audit(url).is_good


async def test_an_audit_sees_one_moment_though_the_worker_goes_on(
    schemas: StoreSchemas, stored: StoredChain
) -> None:
    name = schemas.name()
    await stored.fill_into(schemas.at(name), 3)
    snapshot = SqlStoreSnapshot(schemas.url(name))
    await stored.fill_into(schemas.at(name), 6)
    assert snapshot.last_height() == 3
    snapshot.close()


async def rebuilt(url: str, stored: StoredChain) -> None:
    draft = RebuiltSchema(url)
    try:
        await stored.fill_into(draft.engine)
        draft.finish()
    finally:
        draft.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("UPDATE observations SET value = 99", marks=pytest.mark.faults),
        pytest.param("DELETE FROM kpi_records", marks=pytest.mark.faults),
        "DROP TABLE openings",
        pytest.param("ALTER TABLE blocks DROP COLUMN root CASCADE", marks=pytest.mark.faults),
        pytest.param("UPDATE bkdms_store_version SET version_num = '9999'", marks=pytest.mark.faults),
    ],
)
async def test_a_rebuilt_store_has_the_same_rows_and_rights(
    database: Database, stored: StoredChain, damage: str
) -> None:
    """Those of a file, too; nothing of the draft is left."""
    await stored.fill_into(open_to_write(database.url()))
    open_store(database.url(), stored.genesis).close()
    engine = open_engine(database.url())
    with transaction(engine) as connection:
        connection.execute(text(damage))
    await rebuilt_with_rights(database.url(), stored)
    await stored.fill_into(open_sqlite(stored.folder / f"same-{hash(damage)}"))
    assert rows(engine) == rows(open_sqlite(stored.folder / f"same-{hash(damage)}"))
    assert stored.audit(database.url()).is_good
    with transaction(engine) as connection:
        left = "SELECT count(*) FROM pg_namespace WHERE nspname = :draft"
        assert connection.execute(text(left), {"draft": DRAFT}).scalar() == 0
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        assert reader.execute("SELECT count(*) FROM v_observations").fetchone() == (9,)
    engine.dispose()


async def rebuilt_with_rights(url: str, stored: StoredChain) -> None:
    draft = RebuiltSchema(url)
    try:
        SqlPlatformStore(draft.engine, stored.genesis, grant_rights).close()
        await stored.fill_into(draft.engine)
        draft.finish()
    finally:
        draft.close()


async def test_what_was_published_and_opened_is_known_to_the_rebuild(
    schemas: StoreSchemas, stored: StoredChain, filled: str
) -> None:
    draft = RebuiltSchema(schemas.url(filled))
    try:
        with transaction(schemas.at(filled)) as connection:
            position = connection.execute(
                text("SELECT published_height, published_entry FROM platform_position")
            )
            assert draft.published() == tuple(position.one())
        keys, stored.keys = stored.keys, {}
        await stored.fill_into(draft.engine)
        stored.keys = keys
        assert draft.lost() == 7
    finally:
        draft.close()
    assert stored.audit(schemas.url(filled)).is_good


async def test_a_rebuild_that_is_cut_short_leaves_the_old_store(
    schemas: StoreSchemas, stored: StoredChain, filled: str
) -> None:
    """And the next one begins anew."""
    draft = RebuiltSchema(schemas.url(filled))
    await stored.fill_into(draft.engine, 3)
    draft._dispose()  # as if the process had been killed
    assert stored.audit(schemas.url(filled)).is_good
    before = rows(schemas.at(filled))
    await rebuilt(schemas.url(filled), stored)
    assert rows(schemas.at(filled)) == before


def test_a_store_with_a_writer_is_not_rebuilt(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock, "GRACE_S", 0.3)
    writer = open_to_write(database.url())
    with pytest.raises(ConfigError, match="in use by the platform worker"):
        RebuiltSchema(database.url())
    writer.dispose()


def test_views_of_others_are_named_before_the_work(schemas: StoreSchemas, filled: str) -> None:
    with transaction(schemas.at(filled)) as connection:
        connection.execute(text("CREATE VIEW my_view AS SELECT * FROM observations"))
    with pytest.raises(ConfigError, match="my_view") as raised:
        RebuiltSchema(schemas.url(filled))
    assert raised.value.code == "store_depended_on"
    with transaction(schemas.at(filled)) as connection:
        connection.execute(text("DROP VIEW my_view"))


async def test_readers_are_waited_for_and_not_broken(
    schemas: StoreSchemas, stored: StoredChain, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads while the tables are to be replaced: all or nothing, and the old ones stay readable."""
    monkeypatch.setattr(rebuilt_schema, "_ATTEMPTS", 1)
    draft = RebuiltSchema(f"{schemas.url(filled)}%20-clock_timeout%3D200")
    try:
        await stored.fill_into(draft.engine)
        with schemas.at(filled).connect() as reader:
            reader.execute(text("SELECT count(*) FROM observations"))
            with pytest.raises(TransientError):
                draft.finish()
        draft.finish()
    finally:
        draft.close()
    assert stored.audit(schemas.url(filled)).is_good
