"""The store in PostgreSQL: its schema, its one writer, its rights and addresses; no Kafka needed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from ops.postgres.role_table import DatabaseRole
from ops.tls.principal import Principal, Role
from pipeline.adapters.sql import schema, store_lock
from pipeline.adapters.sql.engine import open_engine, transaction
from pipeline.adapters.sql.schema import SchemaState
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.apps.store_database import open_store, open_to_write
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from tests.support.postgres import Database
from tests.support.sql_faults import all_rows
from tests.support.store_schemas import StoreSchemas
from tests.support.store_shape import OURS, indexes, meant_indexes, shape
from tests.support.stored_chain import StoredChain
from tests.unit.test_platform import Case
from tests.unit.test_store_audit import TABLES
from tests.unit.test_store_schema import viewed
from tests.vectors.core_world import FOLDER

pytestmark = pytest.mark.stack
OLD_TABLES = FOLDER / "store_0_1_0_postgresql.sql"
Row = dict[str, Any]


def rows(engine: Engine) -> list[dict[str, Any]]:
    return [all_rows(engine, metadata) for metadata in OURS]


# schema


def test_migrations_make_the_tables_that_the_program_means(schemas: StoreSchemas) -> None:
    """Columns, types, keys, comments, and indexes but those on times as they are shown."""
    made, meant = schemas.engine(), schemas.engine()
    schema.upgrade(made)
    with meant.begin() as connection:
        for metadata in OURS:
            metadata.create_all(connection)
    assert shape(made) == shape(meant)
    of_times = {"observations_indicator", "observations_observed_at"}
    assert {name: found for name, found in indexes(made).items() if name not in of_times} == meant_indexes()
    assert of_times <= indexes(made).keys()


async def test_a_store_of_release_0_1_0_is_taken_over_with_its_rows(
    schemas: StoreSchemas, stored: StoredChain, filled: str
) -> None:
    old, new = schemas.engine(), schemas.at(filled)
    with transaction(old) as connection:
        connection.exec_driver_sql(OLD_TABLES.read_text("utf-8"))
        for table in TABLES:
            connection.execute(text(f'INSERT INTO {table} SELECT * FROM "{filled}".{table}'))
    assert schema.upgrade(old).state is SchemaState.UNVERSIONED
    assert (rows(old), shape(old), indexes(old)) == (rows(new), shape(new), indexes(new))


def test_a_failing_migration_leaves_nothing(schemas: StoreSchemas) -> None:
    engine = schemas.engine()
    with transaction(engine) as connection:
        connection.execute(text("CREATE TABLE v_blocks (is_in_the_way int)"))
    with pytest.raises(IntegrityError):
        schema.upgrade(engine)
    with transaction(engine) as connection:
        assert schema.read_schema(connection).state is SchemaState.EMPTY


async def test_views_show_what_the_tables_hold(schemas: StoreSchemas, tmp_path: Path) -> None:
    found = await viewed(
        Case(tmp_path, schemas.engine()), lambda time_ms: datetime.fromtimestamp(time_ms / 1000, UTC)
    )
    assert found["v_sites"][0]["indicators"] == ["LOCAL:TRAFFIC_SPEED"]


@pytest.mark.parametrize(
    ("index", "condition"),
    [
        ("observations_indicator", "indicator = 'A' AND city = 'B' AND observed_at >= '2026-01-01Z'"),
        ("observations_city_time", "country = 'A' AND city = 'B' AND time_ms BETWEEN 5 AND 7"),
    ],
)
def test_what_analysts_ask_has_an_index(
    schemas: StoreSchemas, filled: str, index: str, condition: str
) -> None:
    with transaction(schemas.at(filled)) as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        query = f"EXPLAIN SELECT value FROM v_observations WHERE {condition}"
        plan = "\n".join(connection.execute(text(query)).scalars())
    assert index in plan
    assert "kpi_records" not in plan


# one writer


def test_a_second_writer_is_refused_and_the_next_one_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "GRACE_S", 0.3)
    first = open_to_write(database.url())
    with pytest.raises(ConfigError, match="in use by another platform worker") as raised:
        open_to_write(database.url())
    assert raised.value.code == "store_in_use"
    first.dispose()
    open_to_write(database.url()).dispose()


def test_a_writer_that_lost_its_connection_does_nothing_without_the_lock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server ended the connection, and another writer came first; once that is gone, it goes on."""
    monkeypatch.setattr(store_lock, "GRACE_S", 0.3)
    first = open_to_write(database.url())
    with first.connect() as connection:
        process = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(database.running.admin, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
    second = open_to_write(database.url())
    for _ in range(2):
        with pytest.raises(TransientError), transaction(first) as connection:
            connection.execute(text("CREATE TABLE must_not_be (n int)"))
    second.dispose()
    with transaction(first) as connection:
        assert connection.execute(text("SELECT to_regclass('must_not_be')")).scalar() is None
    first.dispose()


# rights and addresses


async def test_the_writer_gives_the_other_roles_their_rights(database: Database, stored: StoredChain) -> None:
    await stored.fill_into(open_to_write(database.url()))
    open_store(database.url(), stored.genesis).close()
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        assert reader.execute("SELECT count(*) FROM v_observations").fetchone() == (9,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM openings")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace("bkdms_platform@", "bkdms_reader@"), "connection is refused"),
        (lambda url: url.replace("/test_", "/no_test_"), "does not exist"),
        (lambda url: url.replace("bkdms_platform@", "nobody@"), "connection is refused"),
        (lambda url: url.replace("sslrootcert=", "sslrootcert=/nowhere"), "certificate"),
    ],
)
def test_an_address_that_is_wrong_is_said_to_the_user(database: Database, change: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        open_to_write(change(database.url()))
    assert "store.url" in str(raised.value)


def test_a_role_that_owns_nothing_is_told_that_it_may_not_migrate(
    database: Database, stored: StoredChain
) -> None:
    with pytest.raises(ConfigError, match="no right"):
        SqlPlatformStore(open_engine(database.url(DatabaseRole.ASSESS)), stored.genesis)


def test_a_server_that_is_away_is_waited_for(database: Database) -> None:
    port = database.running.place.port
    with pytest.raises(TransientError):
        open_to_write(database.url().replace(f":{port}/", ":1/"))


def test_a_certificate_of_another_principal_is_refused(database: Database) -> None:
    files = database.running.certificate(Principal(Role.ANALYST, "other"))
    own = database.running.files(DatabaseRole.PLATFORM)
    url = (
        database.url()
        .replace(str(own.certificate), str(files.certificate))
        .replace(str(own.key), str(files.key))
    )
    with pytest.raises(ConfigError, match="refused"):
        open_to_write(url)
