"""The platform's store as its settings name it, opened for the one program that writes it: locked, rights given."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine

from ops.postgres.role_table import TABLE_RIGHTS
from ops.postgres.roles import grant_tables
from pipeline.adapters.folder_lock import lock_beside
from pipeline.adapters.sql.database_errors import as_our_error
from pipeline.adapters.sql.engine import open_engine, store_address
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.sql.store_lock import hold_store_lock
from pipeline.core.genesis import Genesis
from pipeline.telemetry.logs import logger

_log = logger(__name__)


def store_file(url: str) -> Path | None:
    """Return the file of a SQLite store; None for another database.

    Raises:
        ConfigError: the address is none (code ``database_url``).
    """
    address = store_address(url)
    return Path(str(address.database)).absolute() if address.get_backend_name() == "sqlite" else None


@contextmanager
def locked_store_file(url: str) -> Iterator[None]:
    """Keep others from writing a store in a SQLite file; in other databases ``open_to_write`` does that.

    Raises:
        ConfigError: another process has it (code ``folder_in_use``).
    """
    file = store_file(url)
    lock = None if file is None else lock_beside(file, "another platform worker or a rebuild")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def open_store(url: str, genesis: Genesis) -> SqlPlatformStore:
    """Open a store for its one writer, with its tables as of this release and rights given.

    Raises:
        ConfigError: another program writes it (code ``store_in_use``), or it is not for us; see ``SqlPlatformStore``.
        TransientError: the database is away.
    """
    engine = open_to_write(url)
    try:
        return SqlPlatformStore(engine, genesis, grant_rights)
    except BaseException:
        engine.dispose()
        raise


def open_to_write(url: str) -> Engine:
    """Open a store for its one writer; on PostgreSQL all connections of the engine hold the store's lock.

    Raises:
        ConfigError: another program writes it (code ``store_in_use``), or the address is wrong.
        TransientError: the database is away.
    """
    engine = open_engine(url)
    if engine.dialect.name == "postgresql":
        try:
            hold_store_lock(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine


def grant_rights(connection: Connection) -> None:
    """Give our other database roles their rights on the store's tables, where PostgreSQL has these roles.

    Raises:
        ConfigError: the user is not the owner of the tables (code ``database_url``).
    """
    if connection.dialect.name != "postgresql":
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  addresses name this driver
    try:
        there = {row[0] for row in driver.execute("SELECT rolname FROM pg_roles").fetchall()}
        missing = sorted(role.value for role in TABLE_RIGHTS if role not in there)
        if missing:
            _log.warning("no_rights_given", missing_roles=missing)
            return
        schema = driver.execute("SELECT current_schema()").fetchone()
        grant_tables(driver, schema[0] if schema else "public")
    except psycopg.Error as error:
        raise as_our_error(error, is_operational=isinstance(error, psycopg.OperationalError)) from error
