"""The store's tables are made by migrations: the tables that the program means, from any state, all or nothing."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, RowMapping, text

from pipeline.adapters.sql import schema
from pipeline.adapters.sql.assessment_tables import ASSESSMENTS
from pipeline.adapters.sql.engine import open_sqlite, transaction
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.schema import LATEST, VERSION_TABLE, VERSIONS, VIEWS, SchemaState
from pipeline.adapters.sql.state_rows import STATE
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.core.errors import ConfigError, IntegrityError
from tests.support.sql_faults import CrashError, crash_at
from tests.support.store_shape import OURS, indexes, meant_indexes, shape
from tests.unit.test_platform import Case, drain
from tests.vectors.core_world import FOLDER

OLD_TABLES = FOLDER / "store_0_1_0_sqlite.sql"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Engine]:
    return lambda name: open_sqlite(tmp_path / name, durable=False)


def as_meant(engine: Engine) -> Engine:
    """Make the tables that the program means, without migrations."""
    with engine.begin() as connection:
        for metadata in OURS:
            metadata.create_all(connection)
    return engine


def everything(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        return [(name, " ".join(sql.split())) for name, sql in connection.execute(text(query))]


def read(engine: Engine) -> schema.Schema:
    with engine.connect() as connection:
        return schema.read_schema(connection)


def test_migrations_make_the_tables_that_the_program_means(opened: Callable[[str], Engine]) -> None:
    """Columns, types, keys, indexes, and tables without rowid."""
    made, meant = opened("made"), as_meant(opened("meant"))
    assert schema.upgrade(made).state is SchemaState.EMPTY
    assert shape(made) == shape(meant)
    assert indexes(made) == indexes(meant) == meant_indexes()
    with made.connect() as connection:
        query = "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"
        assert connection.execute(text(query)).scalars().all() == ["observations"]


def test_the_program_knows_all_versions_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", "pipeline.adapters.sql:migrations")
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == VERSIONS


def test_doing_it_again_changes_nothing(opened: Callable[[str], Engine]) -> None:
    engine = opened("store")
    schema.upgrade(engine)
    before = everything(engine)
    assert schema.upgrade(engine) == schema.Schema(SchemaState.CURRENT, LATEST)
    assert everything(engine) == before


def test_the_statements_written_out_make_the_same_schema(
    tmp_path: Path, opened: Callable[[str], Engine]
) -> None:
    engine = opened("store")
    schema.upgrade(engine)
    for start in ("", SchemaState.UNVERSIONED.value, "0001"):
        by_hand = sqlite3.connect(tmp_path / f"by-hand-{start}")
        if start == SchemaState.UNVERSIONED:
            by_hand.executescript(OLD_TABLES.read_text("utf-8"))
        elif start:
            by_hand.executescript(_up_to_first(schema.migration_sql("sqlite")))
        by_hand.executescript(schema.migration_sql("sqlite", start))
        by_hand.close()
        made = opened(f"by-hand-{start}")
        assert read(made).state is SchemaState.CURRENT
        assert (shape(made), indexes(made)) == (shape(engine), indexes(engine))


def _up_to_first(statements: str) -> str:
    return statements.partition("-- Running upgrade 0001")[0] + "COMMIT;"


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="known are unversioned, 0001"):
        schema.migration_sql("sqlite", "0815")


async def old_store(folder: Path) -> tuple[Case, Path]:
    """Return a filled case, and its rows in tables as release 0.1.0 made them."""
    case = Case(folder / "new")
    case.publish()
    await drain(case.worker())
    path = folder / "old.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(OLD_TABLES.read_text("utf-8"))
    old.execute("ATTACH ? AS new", (str(case.path),))
    for table in (*PLATFORM.tables, *STATE.tables):
        old.execute(f"INSERT INTO main.{table} SELECT * FROM new.{table}")
    old.close()
    return case, path


async def test_a_store_of_release_0_1_0_is_taken_over_with_its_rows(tmp_path: Path) -> None:
    """And the worker goes on with it."""
    case, path = await old_store(tmp_path)
    rows, meant = case.rows(), (shape(case.engine), indexes(case.engine))
    case.engine = open_sqlite(path, durable=False)
    assert read(case.engine) == schema.Schema(SchemaState.UNVERSIONED, "")
    worker = case.worker()
    assert case.rows() == rows
    assert (shape(case.engine), indexes(case.engine)) == meant
    case.chain.packets(case.sites[0].packet([5]))
    case.topic.publish(case.chain.certified[-1:])
    await drain(worker)
    assert len(case.table("kpi_records")) == 7


async def test_a_crash_at_any_statement_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    _, path = await old_store(tmp_path)
    engine = open_sqlite(path, durable=False)
    before, step, crashed = everything(engine), 0, True
    while crashed:
        crashed = False
        with crash_at(engine, step):
            try:
                schema.upgrade(engine)
            except CrashError:
                crashed = True
        if crashed:
            assert everything(engine) == before, f"crash at step {step}"
        step += 1
    assert step > 15
    assert read(engine).state is SchemaState.CURRENT


def test_a_newer_schema_is_refused_and_left_alone(opened: Callable[[str], Engine]) -> None:
    engine = opened("store")
    schema.upgrade(engine)
    with transaction(engine) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    before = everything(engine)
    with pytest.raises(ConfigError, match="schema 9999 of a newer release") as raised:
        schema.upgrade(engine)
    assert raised.value.code == "store_schema"
    with pytest.raises(ConfigError, match="newer"), transaction(engine) as connection:
        schema.require_current(connection)
    assert everything(engine) == before


def test_who_only_reads_an_older_store_is_told_what_to_run(opened: Callable[[str], Engine]) -> None:
    engine = opened("store")
    with engine.begin() as connection:
        connection.connection.driver_connection.executescript(OLD_TABLES.read_text("utf-8"))  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="bkdms store migrate"), transaction(engine) as connection:
        schema.require_current(connection)
    with pytest.raises(ConfigError, match="no platform store"), transaction(opened("none")) as connection:
        schema.require_current(connection)


@pytest.mark.parametrize("is_versioned", [True, False])
def test_a_missing_table_is_not_made_empty_without_a_word(
    opened: Callable[[str], Engine], tmp_path: Path, is_versioned: bool
) -> None:
    engine = opened("store")
    schema.upgrade(engine)
    with transaction(engine) as connection:
        for view in VIEWS:
            connection.execute(text(f"DROP VIEW {view}"))
        connection.execute(text("DROP TABLE openings"))
        if not is_versioned:
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with pytest.raises(IntegrityError, match="no table openings"):
        SqlPlatformStore(engine, Case(tmp_path).chain.world.genesis)


def test_the_ledger_and_the_assessments_are_told_apart() -> None:
    """An audit compares all tables of the ledger; assessments do not follow from it alone."""
    names: Callable[[MetaData], set[str]] = lambda metadata: set(metadata.tables)  # noqa: E731
    assert not names(ASSESSMENTS) & (names(PLATFORM) | names(STATE))


def as_time(time_ms: int) -> str:
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


async def test_views_show_what_the_tables_hold(tmp_path: Path) -> None:
    found = await viewed(Case(tmp_path), as_time)
    assert json.loads(found["v_sites"][0]["indicators"]) == ["LOCAL:TRAFFIC_SPEED"]


async def viewed(case: Case, as_time: Callable[[int], object]) -> dict[str, list[RowMapping]]:
    """Fill the store of a case and compare its views with its tables; return the rows of all views."""
    case.publish()
    await drain(case.worker())
    with case.engine.begin() as connection:
        connection.execute(text("UPDATE observations SET time = time + 123"))
        found = {name: list(connection.execute(text(f"SELECT * FROM {name}")).mappings()) for name in VIEWS}
    values, records, blocks, sites, assessments = (found[name] for name in VIEWS)
    row = case.table("observations")[0]
    (shown,) = (v for v in values if all(v[n] == row[n] for n in ("tracing_code", "record", "number")))
    assert (shown["exact"], shown["value"], shown["time_ms"]) == (row["exact"], row["value"], row["time"])
    assert shown["observed_at"] == as_time(row["time"])
    assert {v["height"] for v in values} == {2, 3, 4}
    assert "city_data" not in records[0]
    assert len(bytes.fromhex(records[0]["check_code"])) == 32
    assert {r["admitted"] for r in records} == {as_time(r["admitted"]) for r in case.table("kpi_records")}
    blocks = sorted(blocks, key=lambda block: block["height"])
    hashes = [case.chain.world.genesis.chain.hex(), *(block["hash"] for block in blocks)]
    assert [block["previous_hash"] for block in blocks] == hashes[:-1]
    assert [(b["entries"], b["packets"]) for b in blocks][1:] == [(2, 2)] * 3
    assert {site["active"] for site in sites} == {True}
    assert assessments == []
    return found
