"""The platform's store in PostgreSQL, built anew in a schema of its own and then put into the place of the old one.

All readers see the old tables until one transaction replaces them; rights go with the new tables.
"""

from typing import Final

from sqlalchemy import Connection, text

from pipeline.adapters.sql.assessment_tables import ASSESSMENTS
from pipeline.adapters.sql.engine import open_postgres, store_address, transaction
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.schema import VERSION_TABLE, VIEWS
from pipeline.adapters.sql.state_rows import STATE
from pipeline.adapters.sql.store_lock import hold_store_lock
from pipeline.core.errors import IntegrityError, TransientError

DRAFT: Final = "bkdms_rebuilt"
_TABLES: Final = (*PLATFORM.tables, *STATE.tables, *ASSESSMENTS.tables, VERSION_TABLE)
# Each waits as long as a statement waits for a lock.
_ATTEMPTS: Final = 6


class RebuiltSchema:
    """The draft of a store beside the live one; has the lock of the live one until ``close``.

    ``engine`` is the draft's, empty at first.

    Raises:
        ConfigError: another program has the store (code ``store_in_use``), the user may not do this (code
            ``database_url``), or others' objects depend on the tables (code ``store_depended_on``).
        TransientError: the database is away.
    """

    def __init__(self, url: str) -> None:
        address = store_address(url)
        self._live = open_postgres(address)
        # What is lost with the machine is built again; the replacement at the end waits for the disk.
        self.engine = open_postgres(address, f"-c search_path={DRAFT} -c synchronous_commit=off")
        try:
            hold_store_lock(self._live, "the platform worker")
            self._require_free()
            with transaction(self._live) as connection:
                self._schema = connection.execute(text("SELECT current_schema()")).scalar_one()
                connection.execute(text(f"DROP SCHEMA IF EXISTS {DRAFT} CASCADE"))
                connection.execute(text(f"CREATE SCHEMA {DRAFT}"))
        except BaseException:
            self._dispose()
            raise

    def published(self) -> tuple[int, int]:
        """Return height and entry of the last packet that the live store knows as published; zeros for none."""
        query = f"SELECT published_height, published_entry FROM {self._live_name('platform_position')}"
        try:
            with transaction(self._live) as connection:
                row = connection.execute(text(query)).first()
        except IntegrityError:
            return 0, 0
        return (row[0], row[1]) if row is not None else (0, 0)

    def lost(self) -> int:
        """Return how many packets are open in the live store and not in the draft."""
        query = (
            f"SELECT count(*) FROM {DRAFT}.kpi_records AS new JOIN {self._live_name('kpi_records')} AS old"
            " USING (tracing_code) WHERE new.status = 'unopened' AND old.status <> 'unopened'"
        )
        try:
            with transaction(self._live) as connection:
                return int(connection.execute(text(query)).scalar_one())
        except IntegrityError:
            return 0

    def finish(self) -> None:
        """Put the draft, which nothing has open, into the place of the live tables, in one transaction.

        Raises:
            TransientError: somebody reads the old tables for too long, or the database is away.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with transaction(self._live) as connection:
                    self._replace(connection)
                return
            except TransientError:
                if attempt == _ATTEMPTS:
                    raise

    def close(self) -> None:
        """Drop what is left of the draft, and let the store go."""
        try:
            self.engine.dispose()
            with transaction(self._live) as connection:
                connection.execute(text(f"DROP SCHEMA IF EXISTS {DRAFT} CASCADE"))
        finally:
            self._dispose()

    def _dispose(self) -> None:
        self.engine.dispose()
        self._live.dispose()

    def _live_name(self, table: str) -> str:
        return f'"{self._schema}"."{table}"'

    def _require_free(self) -> None:
        """See before the work that the tables can be replaced after it."""
        with transaction(self._live) as connection:
            _drop(connection)
            connection.rollback()

    def _replace(self, connection: Connection) -> None:
        _drop(connection)
        for kind, names in (("TABLE", _TABLES), ("VIEW", VIEWS)):
            for name in names:
                connection.execute(text(f'ALTER {kind} {DRAFT}."{name}" SET SCHEMA "{self._schema}"'))
        connection.execute(text(f"DROP SCHEMA {DRAFT}"))


def _drop(connection: Connection) -> None:
    connection.execute(text(f"DROP VIEW IF EXISTS {', '.join(VIEWS)}"))
    connection.execute(text(f"DROP TABLE IF EXISTS {', '.join(_TABLES)}"))
