"""The platform's store, opened by who assesses it: waited for until the platform has made it, never made here."""

from pathlib import Path

from sqlalchemy import Engine

from pipeline.adapters.folder_lock import lock_beside
from pipeline.adapters.sql.engine import open_existing, store_address, transaction
from pipeline.adapters.sql.schema import SchemaState, read_schema, require_current
from pipeline.core.errors import ConfigError, TransientError

_WAITED_FOR = (SchemaState.EMPTY, SchemaState.UNVERSIONED, SchemaState.OLDER)


def lock_assessments(url: str) -> None:
    """Lock the assessments of a SQLite store by a file beside it; elsewhere a second worker waits by itself.

    Raises:
        ConfigError: another assessment worker has them (code ``folder_in_use``), or the address is none.
    """
    address = store_address(url)
    if address.get_backend_name() == "sqlite":
        file = Path(str(address.database)).absolute()
        lock_beside(file.with_name(f"{file.name}.assess"), "another assessment worker")


def open_when_made(url: str) -> Engine:
    """Open the store.

    Raises:
        ConfigError: it is of a newer release, or the address is wrong.
        TransientError: the platform worker has not made it, or not brought it to this release, yet (code
            ``no_store``), or the database is away (code ``database``).
    """
    try:
        engine = open_existing(url)
    except ConfigError as error:
        if error.code == "no_store":
            raise TransientError(f"{error}; waiting for the platform worker", code=error.code) from error
        raise
    try:
        with transaction(engine) as connection:
            if read_schema(connection).state in _WAITED_FOR:
                raise TransientError(
                    "the store has not this release's tables yet; waiting for the platform worker",
                    code="no_store",
                )
            require_current(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine
