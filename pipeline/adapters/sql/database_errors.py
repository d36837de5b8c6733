"""What databases raise, as our errors: away, contradicting, or not what the settings say.

SQLSTATEs are those of PostgreSQL (appendix A of its manual); SQLite's errors have none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.core.errors import BkdmsError, ConfigError, IntegrityError, TransientError

_AWAY: Final = ("08", "25006", "25P03", "25P04", "40", "53", "55", "57", "58")
"""Connection, read-only (a standby), time limits of a session, serialisation, resources, object in use, operator
intervention, system."""
_OF_A_LOST_CONNECTION: Final = ("InterfaceError", "InternalError")
"""What psycopg says by itself, without a SQLSTATE, of a connection that broke between two of its calls."""
_OF_ROWS: Final = ("22", "23")
"""Data and constraints: their messages may show values."""
_SETTINGS: Final = {
    "28": "this user or its certificate is not accepted",
    "3D": "there is no such database",
    "3F": "there is no such schema",
    "42501": "this user has no right to do that",
    "0A000": "this server can't do that",
}
_DEPENDENT: Final = "2BP01"
_REFUSED: Final = (
    "does not exist",
    "authentication failed",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied",
    "certificate",
    "unknown ca",
    "private key file",
    "invalid connection option",
    "invalid sslmode",
    "could not translate host name",
    "does not support SSL",
)
"""What libpq says of a connection where waiting does not help; such errors have no SQLSTATE."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what SQLAlchemy raises into our errors; their texts hold no values.

    Raises:
        TransientError: the database is away, locked or full (code ``database``).
        ConfigError: address, user or rights are not those of a store (code ``database_url``), or objects of others
            depend on ours (code ``store_depended_on``).
        IntegrityError: the database is damaged or rows contradict what is being stored (code ``database_rows``).
    """
    try:
        yield
    except (PendingRollbackError, PoolTimeoutError) as error:
        raise TransientError(f"the database is lost: {error.args[0]}", code="database") from error
    except DBAPIError as error:
        raise as_our_error(error.orig, is_operational=isinstance(error, OperationalError)) from error


def as_our_error(error: BaseException | None, *, is_operational: bool) -> BkdmsError:
    """Return our error for a driver's; ``is_operational`` where its class blames no statement and no row."""
    state = getattr(error, "sqlstate", None) or ""
    text = _text(error, state)
    if state.startswith(_AWAY):
        return TransientError(f"the database refuses: {text}", code="database")
    for start, meaning in _SETTINGS.items():
        if state.startswith(start):
            return _of_settings(meaning, text)
    if state == _DEPENDENT:
        return ConfigError(
            f"what others made depends on the store's tables ({text}); drop it, and make it again afterwards",
            code="store_depended_on",
        )
    if not state and (is_operational or _is_of_a_lost_connection(error)):
        if _is_of_a_connection(error) and any(phrase in text for phrase in _REFUSED):
            return _of_settings("the connection is refused", text)
        return TransientError(f"the database refuses: {text}", code="database")
    return IntegrityError(f"the database contradicts the ledger: {text}", code="database_rows")


def _text(error: BaseException | None, state: str) -> str:
    """Return what happened in one line, without details, which show rows."""
    diagnostics: Any = getattr(error, "diag", None)
    if not state or diagnostics is None:
        return " ".join(str(error).split())
    if state.startswith(_OF_ROWS):
        where = filter(None, (diagnostics.table_name, diagnostics.column_name, diagnostics.constraint_name))
        return f"{type(error).__name__} {' '.join(where)}".rstrip()
    if state == _DEPENDENT:
        return " ".join(str(diagnostics.message_detail or diagnostics.message_primary).split())
    return str(diagnostics.message_primary or type(error).__name__)


def _is_of_a_connection(error: BaseException | None) -> bool:
    return type(error).__module__.startswith("psycopg") and "connection" in str(error)


def _is_of_a_lost_connection(error: BaseException | None) -> bool:
    kind = type(error)
    return kind.__module__.startswith("psycopg") and kind.__name__ in _OF_A_LOST_CONNECTION


def _of_settings(meaning: str, text: str) -> ConfigError:
    return ConfigError(
        f"{meaning} ({text}); check user, database and certificate files in setting store.url",
        code="database_url",
    )
