"""Engines and statements that SQLite and PostgreSQL share. Owns no table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from pipeline.core.errors import ConfigError, IntegrityError, TransientError

BUSY_TIMEOUT_MS: Final = 10_000
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def open_sqlite(path: Path, durable: bool = True) -> Engine:
    """Open or create a SQLite file of mode 0600; ``durable`` makes each commit survive power loss.

    Raises:
        TransientError: folder or file can't be made (code ``disk``).
    """
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        path.touch(mode=_FILE_MODE)
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"check_same_thread": False}
    )
    synchronous = "FULL" if durable else "NORMAL"

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        # The driver's own transaction control would leave reads and DDL outside of transactions.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            "foreign_keys = ON",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def open_engine(url: str, durable: bool = True) -> Engine:
    """Open the database of a SQLAlchemy URL; a SQLite file is made where it is missing.

    Raises:
        ConfigError: the URL is none, or of a database that is not installed (code ``database_url``).
        TransientError: a SQLite file can't be made (code ``disk``).
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return open_sqlite(Path(parsed.database), durable)
        return create_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"setting store.url: {error}; write sqlite:////path/of/store.sqlite", code="database_url"
        ) from None


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block of statements in one transaction.

    Raises:
        TransientError: the database is away, locked or full (code ``database``).
        IntegrityError: the database file is damaged or rows contradict what is being stored
            (code ``database_rows``).
    """
    with database_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the database raises into our errors, as ``transaction`` says."""
    try:
        yield
    except OperationalError as error:
        raise TransientError(f"the database refuses: {error.orig}", code="database") from error
    except DBAPIError as error:
        raise IntegrityError(
            f"the database contradicts the ledger: {error.orig}", code="database_rows"
        ) from error


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace all other columns where the primary key is there already."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    if connection.dialect.name == "postgresql":
        insert: Any = postgresql.insert(table)
    else:
        insert = sqlite.insert(table)
    others = {
        column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys
    }
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=others), list(rows))
