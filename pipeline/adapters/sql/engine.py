"""Engines and statements that SQLite and PostgreSQL share. Owns no table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from pipeline.adapters.sql.database_errors import database_errors
from pipeline.core.errors import ConfigError, TransientError

BUSY_TIMEOUT_MS: Final = 10_000
_POSTGRESQL: Final[Mapping[str, Any]] = {
    "application_name": "bkdms",
    "connect_timeout": 5,  # seconds
    # A server that is gone without a word is noticed by this, and not waited for by hours.
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 30,
    # A URL that allows less is refused where settings are read, unless one says insecure.
    "ssl_min_protocol_version": "TLSv1.3",
    "gssencmode": "disable",
}
_BLOCK_PAGE_BYTES: Final = 32_768
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def open_sqlite(path: Path, durable: bool = True, *, holds_blocks: bool = False) -> Engine:
    """Open or create a SQLite file of mode 0600; ``durable`` makes each commit survive power loss.

    ``holds_blocks`` suits rows of hundreds of kilobytes without secrets: pages are large in a new file, and what is
    deleted is not overwritten.

    Raises:
        TransientError: folder or file can't be made (code ``disk``).
    """
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        path.touch(mode=_FILE_MODE)
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False},
        hide_parameters=True,
    )
    synchronous = "FULL" if durable else "NORMAL"
    bulky = (f"page_size = {_BLOCK_PAGE_BYTES}", "secure_delete = OFF") if holds_blocks else ()

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        # The driver's own transaction control would leave reads and DDL outside of transactions.
        connection.isolation_level = None
        for pragma in (
            *bulky,
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
        ConfigError: the URL is none, or of another kind of database (code ``database_url``).
        TransientError: a SQLite file can't be made (code ``disk``).
    """
    parsed = store_address(url)
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(Path(str(parsed.database)), durable)
    return open_postgres(parsed)


def open_postgres(url: URL, options: str = "") -> Engine:
    """Return an engine on PostgreSQL whose sessions have further ``options``, as of its command line."""
    given = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    ours = f"-c lock_timeout={BUSY_TIMEOUT_MS} -c timezone=UTC"
    given["options"] = f"{ours} {url.query.get('options', '')} {options}".strip()
    # Plain values are parameters; texts of errors go to logs.
    return create_engine(url, connect_args=given, hide_parameters=True)


def open_existing(url: str) -> Engine:
    """Open a database that is there already; no SQLite file is made.

    Raises:
        ConfigError: there is no such file (code ``no_store``); see ``open_engine``.
    """
    parsed = store_address(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise ConfigError(f"there is no store {parsed.database}; name the one of store.url", code="no_store")
    return open_engine(url)


def store_address(url: str) -> URL:
    """Return the address that setting ``store.url`` gives: a SQLite file, or PostgreSQL through psycopg.

    Raises:
        ConfigError: it is none of these (code ``database_url``).
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return parsed
        if parsed.get_backend_name() == "postgresql" and parsed.get_driver_name() == "psycopg":
            return parsed
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
        pass
    raise ConfigError(
        "setting store.url is no address of a store; write sqlite:////path/of/store.sqlite, or"
        " postgresql+psycopg://ROLE@HOST:PORT/DATABASE?sslmode=verify-full&… as docs/store.md says",
        code="database_url",
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block of statements in one transaction; errors are those of ``database_errors``."""
    with database_errors(), engine.begin() as connection:
        yield connection


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
