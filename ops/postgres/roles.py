"""Applies the role table to a server and its databases. Each call brings any earlier state to the same end."""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from ops.postgres.role_table import CONNECTION_LIMITS, LOCKING_ROLES, TABLE_RIGHTS, DatabaseRole, TableRight
from pipeline.core.errors import TransientError

DATABASE = "bkdms"
SCHEMA = "public"
# Everybody may call these unless told otherwise: writing outside of tables, and taking locks by number.
_OPEN_FUNCTIONS = ("lo_", "lowrite", "pg_advisory", "pg_try_advisory")
_LOCK_FUNCTIONS = ("pg_advisory", "pg_try_advisory")


def apply_roles(admin: str, database: str = DATABASE) -> None:
    """Make the roles and an empty database that ``bkdms_platform`` owns, and take every right from everybody else.

    ``admin`` is the connection string of a superuser to the server's first database.

    Raises:
        TransientError: the server refuses or is away (code ``database``).
    """
    try:
        with psycopg.connect(admin, autocommit=True) as connection:
            for role in DatabaseRole:
                _make_role(connection, role)
            _make_database(connection, database)
        with psycopg.connect(admin, dbname=database) as connection:
            _close_schema(connection)
            _close_functions(connection)
    except psycopg.Error as error:
        raise TransientError(f"PostgreSQL refuses to set up its roles: {error}", code="database") from error


def grant_tables(owner: psycopg.Connection, schema: str = SCHEMA) -> None:
    """Give every role exactly its rights on the tables and views that are there, within the caller's transaction.

    ``owner`` is connected as ``bkdms_platform``; call this after the tables were made or changed.
    """
    columns: dict[str, list[str]] = {}
    for table, column in owner.execute(_COLUMNS, (schema,)).fetchall():
        columns.setdefault(table, []).append(column)
    for statement in grant_statements(columns, schema):
        owner.execute(sql.SQL(statement))


def grant_statements(columns: Mapping[str, Sequence[str]], schema: str | None = None) -> list[str]:
    """Statements that take all rights on tables and views and give those of the role table.

    ``columns`` holds the columns of each table and view that is there; without ``schema`` names are not qualified.
    """
    statements = []
    for table, names in columns.items():
        what = sql.Identifier(schema, table) if schema is not None else sql.Identifier(table)
        for role, rights in TABLE_RIGHTS.items():
            who = sql.Identifier(role)
            statements.append(sql.SQL("REVOKE ALL ON {} FROM {}, PUBLIC").format(what, who))
            if table in rights:
                privileges = _privileges(rights[table], names)
                statements.append(sql.SQL("GRANT {} ON {} TO {}").format(privileges, what, who))
    return [statement.as_string() for statement in statements]


def _privileges(access: TableRight, columns: Sequence[str]) -> sql.Composed:
    shown = sql.SQL(", ").join(sql.Identifier(name) for name in columns if name not in access.hidden)
    scope = sql.SQL(" ({})").format(shown) if access.hidden else sql.SQL("")
    return sql.SQL(", ").join(sql.SQL(name) + scope for name in access.privileges)


# From the catalogue: the information schema hides what one has no right on.
_COLUMNS = """
SELECT c.relname, a.attname FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY c.relname, a.attnum
"""


def _make_role(connection: psycopg.Connection, role: DatabaseRole) -> None:
    name = sql.Identifier(role)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.value,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    connection.execute(
        sql.SQL(
            "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD NULL "
            "CONNECTION LIMIT {}"
        ).format(name, sql.Literal(CONNECTION_LIMITS[role]))
    )
    connection.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
    held = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole"
    for (group,) in connection.execute(held, (role.value,)).fetchall():
        connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), name))
    if role is not DatabaseRole.PLATFORM and role is not DatabaseRole.ASSESS:
        connection.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))


def _make_database(connection: psycopg.Connection, database: str) -> None:
    name, owner = sql.Identifier(database), sql.Identifier(DatabaseRole.PLATFORM)
    found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
    if found is None:
        connection.execute(
            sql.SQL(
                "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            ).format(name, owner)
        )
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
    for each in connection.execute("SELECT datname FROM pg_database").fetchall():
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(each[0])))
    for role in DatabaseRole:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(role)))


def _close_schema(connection: psycopg.Connection) -> None:
    schema = sql.Identifier(SCHEMA)
    connection.execute(
        sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, sql.Identifier(DatabaseRole.PLATFORM))
    )
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(schema))
    for role in TABLE_RIGHTS:
        who = sql.Identifier(role)
        connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(schema, who))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, who))


def _close_functions(connection: psycopg.Connection) -> None:
    found = connection.execute(
        "SELECT proname, oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
    ).fetchall()
    for name, signature in found:
        if not name.startswith(_OPEN_FUNCTIONS):
            continue
        function = sql.SQL(signature)
        connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(function))
        if name.startswith(_LOCK_FUNCTIONS):
            for role in LOCKING_ROLES:
                connection.execute(
                    sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, sql.Identifier(role))
                )
