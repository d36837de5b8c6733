"""What each role may do in the platform's store, tried statement by statement."""

from collections.abc import Iterator
from itertools import product

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine

from ops.postgres.role_table import LOCKING_ROLES, TABLE_RIGHTS, DatabaseRole
from ops.postgres.roles import apply_roles
from pipeline.adapters.sql.schema import upgrade
from tests.support.postgres import Database, RunningPostgres

pytestmark = pytest.mark.stack

PLATFORM, ASSESS, READER, API = DatabaseRole
GUESTS = (ASSESS, READER, API)
LEDGER = ("observations", "kpi_records", "blocks", "sites", "platform_position", "bkdms_store_version")
FIGURES = ("assessments", "assessments_unsent", "assess_position")
VIEWS = ("v_observations", "v_kpi_records", "v_blocks", "v_sites", "v_assessments")
# With these one could test guesses of values that were destroyed, or would read bytes that are of no use to them.
OWNERS_ONLY = ("openings", "chain_head", "chain_identity", "chain_state")
READABLE = {
    ASSESS: {*LEDGER, *FIGURES},
    READER: {*LEDGER, "assessments", *VIEWS},
    API: {"bkdms_store_version", "assessments", "v_assessments"},
}
WRITABLE = {ASSESS: set(FIGURES), READER: set[str](), API: set[str]()}
STATEMENTS = {
    "SELECT": "SELECT count(*) FROM {}",
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {} SET {} = NULL WHERE false",
    "DELETE": "DELETE FROM {} WHERE false",
    "TRUNCATE": "TRUNCATE {}",
    "DROP": "DROP TABLE {}",
    "ALTER": "ALTER TABLE {} ADD COLUMN extra int",
}
# The servers' doors to files, programs and other roles.
FORBIDDEN = (
    "CREATE TABLE mine (a int)",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE EXTENSION dblink",
    "ALTER ROLE bkdms_platform SUPERUSER",
    "SET ROLE bkdms_platform",
    "SET SESSION AUTHORIZATION bkdms_admin",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT pg_reload_conf()",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SET log_statement = 'all'",
    "DO LANGUAGE plpgsql $$BEGIN CREATE TABLE mine (a int); END$$",
)
# These run outside of transactions only.
SERVER_WIDE = ("CREATE DATABASE mine", "ALTER SYSTEM SET fsync = off")
# No right to it, or a view of the kind that nobody can write or drop so.
REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.WrongObjectType,
    psycopg.errors.FeatureNotSupported,
)
LOCKS = (
    *("pg_advisory_lock", "pg_advisory_xact_lock_shared"),
    *("pg_try_advisory_lock", "pg_try_advisory_xact_lock"),
)


@pytest.fixture(scope="module")
def store(postgres: RunningPostgres) -> Iterator[Database]:
    """A store with its tables, views and rights."""
    with postgres.database() as made:
        engine = create_engine(made.url())
        upgrade(engine)
        engine.dispose()
        made.grant()
        yield made


@pytest.fixture(scope="module")
def sessions(store: Database) -> Iterator[dict[DatabaseRole, psycopg.Connection]]:
    """One session a role, which has given up its own default of only reading."""
    opened = {role: psycopg.connect(store.conninfo(role)) for role in DatabaseRole}
    for session in opened.values():
        session.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        session.commit()
    yield opened
    for session in opened.values():
        session.close()


def relations(session: psycopg.Connection) -> dict[str, str]:
    """Every table and view of the store, with the name of a column."""
    found = session.execute(
        "SELECT c.relname, min(a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm') GROUP BY 1"
    ).fetchall()
    session.rollback()
    return dict(found)


def is_refused(session: psycopg.Connection, statement: str | sql.Composed) -> bool:
    """Whether the role may not; an error about what the statement says counts as allowed. Changes nothing."""
    try:
        session.execute(sql.SQL(statement) if isinstance(statement, str) else statement)
    except REFUSALS:
        return True
    except psycopg.Error:
        return False
    finally:
        session.rollback()
    return False


@pytest.mark.parametrize("role", GUESTS)
def test_a_role_has_the_rights_of_the_table_and_no_other(
    sessions: dict[DatabaseRole, psycopg.Connection], role: DatabaseRole
) -> None:
    """Each statement on each table and view is tried: allowed where the role may read or write, else refused."""
    session, found = sessions[role], {}
    for (table, column), (name, statement) in product(
        relations(sessions[PLATFORM]).items(), STATEMENTS.items()
    ):
        names = (sql.Identifier(table), sql.Identifier(column))
        found[table, name] = not is_refused(session, sql.SQL(statement).format(*names))
    wanted = {
        (table, name): (name == "SELECT" and table in READABLE[role])
        or (name in ("INSERT", "UPDATE", "DELETE") and table in WRITABLE[role])
        for table, name in found
    }
    assert found == wanted


def test_every_table_and_view_is_decided_on(sessions: dict[DatabaseRole, psycopg.Connection]) -> None:
    """A new one is named in the role table, or here as the owner's."""
    granted = {name for rights in TABLE_RIGHTS.values() for name in rights}
    assert set(relations(sessions[PLATFORM])) == granted | set(OWNERS_ONLY)


@pytest.mark.parametrize("role", (ASSESS, READER))
def test_packets_stay_with_the_platform(
    sessions: dict[DatabaseRole, psycopg.Connection], role: DatabaseRole
) -> None:
    """Analysts see a record's rows and not the bytes of its packet."""
    assert is_refused(sessions[role], "SELECT city_data FROM kpi_records")
    assert is_refused(sessions[role], "SELECT * FROM kpi_records")
    assert not is_refused(sessions[role], "SELECT tracing_code, check_code FROM kpi_records")


@pytest.mark.parametrize("role", GUESTS)
def test_a_guest_stays_in_its_tables(
    sessions: dict[DatabaseRole, psycopg.Connection], role: DatabaseRole
) -> None:
    """Objects, roles, files, programs, settings and large objects are not for guests."""
    allowed = [statement for statement in FORBIDDEN if not is_refused(sessions[role], statement)]
    assert allowed == []


def test_the_platform_is_no_superuser(sessions: dict[DatabaseRole, psycopg.Connection]) -> None:
    """Owning the database gives tables and schemas, and nothing of the server."""
    own = [statement for statement in FORBIDDEN if not is_refused(sessions[PLATFORM], statement)]
    assert own == [
        *("CREATE TABLE mine (a int)", "CREATE TEMPORARY TABLE mine (a int)", "CREATE VIEW mine AS SELECT 1"),
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        *("CREATE SCHEMA mine", "SET ROLE bkdms_platform"),
        "DO LANGUAGE plpgsql $$BEGIN CREATE TABLE mine (a int); END$$",
    ]


@pytest.mark.parametrize("role", DatabaseRole)
@pytest.mark.parametrize("statement", SERVER_WIDE)
def test_nobody_changes_the_server(store: Database, role: DatabaseRole, statement: str) -> None:
    """Not even the owner of a database makes another or changes settings of the server."""
    with psycopg.connect(store.conninfo(role), autocommit=True) as session:
        session.execute("SET default_transaction_read_only = off")
        assert is_refused(session, statement)


@pytest.mark.parametrize("role", DatabaseRole)
def test_only_workers_lock_by_number(
    sessions: dict[DatabaseRole, psycopg.Connection], role: DatabaseRole
) -> None:
    """An analyst can't hold the lock that keeps a second worker off the store."""
    number = list(DatabaseRole).index(role)
    for function in LOCKS:
        # Each role another number: those who may would wait for each other.
        statement = f"SELECT {function}({number})"
        assert is_refused(sessions[role], statement) == (role not in LOCKING_ROLES)


def test_rights_are_put_right_again(postgres: RunningPostgres, store: Database) -> None:
    """What somebody granted by hand is gone after the next start."""
    with psycopg.connect(postgres.admin, dbname=store.name, autocommit=True) as admin:
        for statement in (
            "ALTER ROLE bkdms_api CREATEROLE CONNECTION LIMIT 1",
            "GRANT ALL ON SCHEMA public TO PUBLIC",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO bkdms_api, PUBLIC",
            "GRANT bkdms_platform TO bkdms_api",
        ):
            admin.execute(statement)
    apply_roles(postgres.admin, store.name)
    store.grant()
    with psycopg.connect(store.conninfo(API)) as api, psycopg.connect(store.conninfo(READER)) as reader:
        for statement in (
            "SELECT count(*) FROM openings",
            "SET ROLE bkdms_platform",
            "SELECT count(*) FROM observations",
        ):
            assert is_refused(api, statement)
        api.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        api.commit()
        assert is_refused(api, "CREATE TABLE mine (a int)")
        assert is_refused(api, "CREATE ROLE mine")
        assert is_refused(reader, "SELECT count(*) FROM openings")
