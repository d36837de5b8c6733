"""The schema of the platform's store: which version a database has, bringing it to ours, and the SQL of that.

Versions are the revisions in ``migrations/versions``. A store that release 0.1.0 made knows no versions; it is taken
for the first one when all of its tables are there.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn

from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, inspect, select

from pipeline.adapters.sql.engine import transaction
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.state_rows import STATE
from pipeline.core.errors import ConfigError, IntegrityError

VERSIONS: Final = ("0001", "0002")
LATEST: Final = VERSIONS[-1]
VERSION_TABLE: Final = "bkdms_store_version"
VIEWS: Final = ("v_observations", "v_kpi_records", "v_blocks", "v_sites", "v_assessments")
Grant = Callable[[Connection], None]
"""Gives other users of the database their rights on the tables, in the caller's transaction."""
_SCRIPTS: Final = "pipeline.adapters.sql:migrations"
_version = Table(VERSION_TABLE, MetaData(), Column("version_num", Text))


class SchemaState(StrEnum):
    """How a database's schema stands to ours."""

    EMPTY = "empty"
    UNVERSIONED = "unversioned"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database holds: ``version`` as noted there, empty for none, and how that stands to ours."""

    state: SchemaState
    version: str


def read_schema(connection: Connection) -> Schema:
    """Return the version of a database's schema.

    Raises:
        IntegrityError: some of the ledger's tables are not there (code ``database_rows``).
    """
    there = set(inspect(connection).get_table_names())
    ours = PLATFORM.tables.keys() | STATE.tables.keys()
    version = ""
    if VERSION_TABLE in there:
        version = connection.execute(select(_version.c.version_num)).scalar() or ""
    if version and version not in VERSIONS:
        return Schema(SchemaState.NEWER, version)
    if not version and not ours & there:
        return Schema(SchemaState.EMPTY, "")
    missing = sorted(ours - there)
    if missing:
        raise IntegrityError(
            f"the store has no table {', '.join(missing)}: run 'bkdms ledger rebuild store'",
            code="database_rows",
        )
    if not version:
        return Schema(SchemaState.UNVERSIONED, "")
    return Schema(SchemaState.CURRENT if version == LATEST else SchemaState.OLDER, version)


def no_grants(_connection: Connection) -> None:
    """Leave rights as they are: SQLite has none."""


def upgrade(engine: Engine, grant: Grant = no_grants) -> Schema:
    """Bring a database to our schema and give rights, in one transaction; return what it was before.

    Raises:
        ConfigError: the schema is of a newer release (code ``store_schema``).
        IntegrityError: see ``read_schema``; errors of ``transaction``.
    """
    with transaction(engine) as connection:
        found = read_schema(connection)
        if found.state is SchemaState.NEWER:
            _refuse_newer(found)
        if found.state is not SchemaState.CURRENT:
            _run_migrations(connection, is_adopted=found.state is SchemaState.UNVERSIONED)
        grant(connection)
    return found


def require_current(connection: Connection) -> None:
    """Refuse a store whose schema is not ours, for programs that only use it.

    Raises:
        ConfigError: it is another (code ``store_schema``), or there is none (code ``no_store``).
        IntegrityError: see ``read_schema``.
    """
    found = read_schema(connection)
    if found.state is SchemaState.NEWER:
        _refuse_newer(found)
    if found.state is SchemaState.EMPTY:
        raise ConfigError("there is no platform store in this database; check store.url", code="no_store")
    if found.state is not SchemaState.CURRENT:
        raise ConfigError(
            f"the store has schema {found.version or 'of release 0.1.0'}, this release needs {LATEST}: "
            "run `bkdms store migrate` with the platform's settings, or start its worker",
            code="store_schema",
        )


def migration_sql(dialect: str, start: str = "") -> str:
    """Return the statements that bring a database to our schema.

    ``start`` is what it has: a version, ``unversioned`` as release 0.1.0 made it, or empty for nothing.

    Raises:
        ConfigError: there is no such version (code ``store_schema``).
    """
    if start not in ("", SchemaState.UNVERSIONED, *VERSIONS):
        known = ", ".join((SchemaState.UNVERSIONED, *VERSIONS))
        raise ConfigError(f"there is no schema {start}; known are {known}", code="store_schema")
    from alembic import command  # noqa: PLC0415  only those who migrate wait for its import

    output = io.StringIO()
    config = _configuration(dialect=dialect, output=output)
    if start == SchemaState.UNVERSIONED:
        command.stamp(config, VERSIONS[0], sql=True)
        start = VERSIONS[0]
    command.upgrade(config, f"{start or 'base'}:{LATEST}", sql=True)
    return output.getvalue()


def _run_migrations(connection: Connection, *, is_adopted: bool) -> None:
    from alembic import command  # noqa: PLC0415  only those who migrate wait for its import

    config = _configuration(connection=connection)
    if is_adopted:
        command.stamp(config, VERSIONS[0])
    command.upgrade(config, LATEST)


def _configuration(**attributes: Any) -> Any:
    from alembic.config import Config  # noqa: PLC0415  only those who migrate wait for its import

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes.update(attributes, version_table=VERSION_TABLE)
    return config


def _refuse_newer(found: Schema) -> NoReturn:
    raise ConfigError(
        f"the store has schema {found.version} of a newer release, this one knows {LATEST}: "
        "install that release, or name another store in store.url",
        code="store_schema",
    )
