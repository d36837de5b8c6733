"""What a database raises becomes the error of who has to act, and its text shows no value."""

from types import SimpleNamespace

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import OperationalError, PendingRollbackError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.adapters.sql.database_errors import as_our_error, database_errors
from pipeline.adapters.sql.engine import open_engine, open_existing, store_address
from pipeline.core.errors import BkdmsError, ConfigError, IntegrityError, TransientError


def raised(error: Exception) -> BkdmsError:
    return as_our_error(error, is_operational=isinstance(error, psycopg.OperationalError))


@pytest.mark.parametrize(
    "error",
    [
        errors.AdminShutdown(),
        errors.CannotConnectNow(),
        errors.TooManyConnections(),
        errors.DiskFull(),
        errors.IoError(),
        errors.ReadOnlySqlTransaction(),
        errors.DeadlockDetected(),
        errors.LockNotAvailable(),
        errors.QueryCanceled(),
        errors.IdleInTransactionSessionTimeout(),
        psycopg.InterfaceError("cannot execute operations: the connection is in status 9"),
        psycopg.InternalError("got no result from the query"),
        psycopg.OperationalError("the connection is lost"),
        psycopg.OperationalError('connection to server at "127.0.0.1" failed: Connection refused'),
        psycopg.OperationalError("connection failed: FATAL: the database system is starting up"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    found = raised(error)
    assert isinstance(found, TransientError)
    assert found.code == "database"


@pytest.mark.parametrize(
    "error",
    [
        errors.InsufficientPrivilege(),
        errors.InvalidCatalogName(),
        errors.InvalidAuthorizationSpecification(),
        psycopg.OperationalError('connection failed: FATAL: database "x" does not exist'),
        psycopg.OperationalError('connection failed: FATAL: certificate authentication failed for user "x"'),
        psycopg.OperationalError("connection failed: SSL error: certificate verify failed"),
        psycopg.OperationalError("connection failed: FATAL: no pg_hba.conf entry for host"),
    ],
    ids=str,
)
def test_what_the_settings_say_wrong_is_said_to_the_user(error: Exception) -> None:
    found = raised(error)
    assert isinstance(found, ConfigError)
    assert (found.code, "store.url" in str(found)) == ("database_url", True)


@pytest.mark.parametrize(
    "error",
    [errors.UniqueViolation(), errors.NotNullViolation(), errors.UndefinedTable(), errors.DataCorrupted()],
)
def test_what_contradicts_halts(error: Exception) -> None:
    found = raised(error)
    assert isinstance(found, IntegrityError)
    assert found.code == "database_rows"


def test_who_depends_on_our_tables_is_named() -> None:
    found = raised(errors.DependentObjectsStillExist())
    assert (type(found), found.code) == (ConfigError, "store_depended_on")


class Violation(Exception):  # noqa: N818  stands for a driver's class
    """An error of a driver, with the details that PostgreSQL sends along."""

    sqlstate = "23505"
    diag = SimpleNamespace(
        message_primary="duplicate key (value)=(42.42)",
        message_detail="Key (value)=(42.42) already exists.",
        table_name="observations",
        column_name=None,
        constraint_name="observations_pkey",
    )


def test_messages_about_rows_name_the_constraint_and_no_value() -> None:
    text = str(raised(Violation("42.42")))
    assert text == "the database contradicts the ledger: Violation observations observations_pkey"


def test_what_sqlalchemy_wraps_is_looked_at_inside() -> None:
    with pytest.raises(TransientError), database_errors():
        raise OperationalError("SELECT 1", None, errors.AdminShutdown())
    with pytest.raises(ConfigError), database_errors():
        raise ProgrammingError("SELECT 1", None, errors.InsufficientPrivilege())


@pytest.mark.parametrize("error", [PendingRollbackError("invalidated"), PoolTimeoutError("no connection")])
def test_what_sqlalchemy_says_of_lost_connections_is_tried_again(error: Exception) -> None:
    with pytest.raises(TransientError, match="the database is lost"), database_errors():
        raise error


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://host/x", "postgresql+psycopg2://u@h/x", "sqlite://", "oracle://u:secret@h/x"],
)
def test_other_addresses_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(ConfigError, match=r"setting store\.url") as error:
        open_engine(url)
    assert "secret" not in str(error.value)


def test_a_plain_postgresql_address_means_our_driver() -> None:
    assert store_address("postgresql://u@h/x").get_driver_name() == "psycopg"


def test_a_file_that_is_not_there_is_not_made(tmp_path: object) -> None:
    with pytest.raises(ConfigError) as error:
        open_existing(f"sqlite:///{tmp_path}/none.sqlite")
    assert error.value.code == "no_store"
