"""The platform's store as it stands at one moment, row by row and as held, for an audit. Writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, Table, func, select, type_coerce
from sqlalchemy.types import NullType

from pipeline.adapters.sql.database_errors import database_errors
from pipeline.adapters.sql.engine import open_existing
from pipeline.adapters.sql.platform_rows import rows_of, site_row
from pipeline.adapters.sql.platform_tables import (
    PLATFORM,
    blocks,
    kpi_records,
    observations,
    openings,
    platform_position,
    sites,
)
from pipeline.adapters.sql.schema import require_current
from pipeline.adapters.sql.state_rows import (
    STATE,
    chain_head,
    chain_identity,
    chain_state,
    head_row,
    identity_row,
    table_rows,
)
from pipeline.core.names import SiteName
from pipeline.core.row_audit import Row, TableForm
from pipeline.core.state import ChainState
from pipeline.core.storage import StoredBlock

_CODES_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 1000
_TABLES: Final = {**PLATFORM.tables, **STATE.tables}
_PLAIN: Final = (observations.name, openings.name)
_STATE: Final = (sites, chain_state, chain_head, chain_identity, platform_position)


class SqlStoreSnapshot:
    """One transaction on a store that only reads, until it is closed.

    Raises:
        ConfigError: there is no store under this address (code ``no_store``), or one of another release (code
            ``store_schema``).
        IntegrityError: a table is missing (code ``database_rows``).
        TransientError: the database is away (code ``database``).
    """

    forms: Mapping[str, TableForm]

    def __init__(self, url: str) -> None:
        self.forms = {
            name: TableForm(name, tuple(column.name for column in table.primary_key), name in _PLAIN)
            for name, table in _TABLES.items()
        }
        self._engine = open_existing(url)
        try:
            with database_errors():
                self._connection = _begun(self._engine)
                require_current(self._connection)
        except BaseException:
            self._engine.dispose()
            raise

    def last_height(self) -> int:
        """Return the greatest height in ``blocks``; 0 for none."""
        with database_errors():
            height = self._connection.execute(select(func.max(_raw(blocks)["height"]))).scalar()
        return height if isinstance(height, int) else 0

    def block_rows(self, height: int, codes: Sequence[str]) -> dict[str, list[Row]]:
        """Return what is held of a block: its own row and all rows of its packets' tracing codes, by table."""
        found = {blocks.name: self._select(blocks, blocks.c.height == height)}
        for table in (kpi_records, observations, openings):
            rows = found[table.name] = []
            for at in range(0, len(codes), _CODES_AT_ONCE):
                some = codes[at : at + _CODES_AT_ONCE]
                rows += self._select(table, table.c.tracing_code.in_(some))
        return found

    def expected(self, stored: StoredBlock) -> dict[str, list[Row]]:
        """Return the rows that a block gives, by table."""
        return {name: list(rows) for name, rows in rows_of(stored).items()}

    def count(self, table: str) -> int:
        """Return how many rows a table holds."""
        with database_errors():
            query = select(func.count()).select_from(_TABLES[table])
            return self._connection.execute(query).scalar_one()

    def keys(self, table: str) -> Iterator[Row]:
        """Yield the keys of a table's rows."""
        columns = _raw(_TABLES[table])
        query = select(*(columns[name] for name in self.forms[table].key))
        with database_errors():
            for row in self._connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)).mappings():
                yield _row(row)

    def row(self, table: str, key: Row) -> Row:
        """Return the row with a key that ``keys`` gave."""
        found = _TABLES[table]
        return self._select(
            found, *(type_coerce(found.c[name], NullType()) == value for name, value in key.items())
        )[0]

    def state_rows(self) -> dict[str, list[Row]]:
        """Return the rows of registry, chain state, head, identity and position, by table."""
        return {table.name: self._select(table) for table in _STATE}

    def expected_state(self, state: ChainState, changed: Mapping[SiteName, int]) -> dict[str, list[Row]]:
        """Return the rows that a state gives, without the position; ``changed``: heights of sites' changes."""
        tables = state.tables
        return {
            sites.name: [site_row(site, changed[name]) for name, site in tables.sites.items()],
            chain_state.name: list(table_rows(tables)),
            chain_head.name: [head_row(state.head)] if state.head.height else [],
            chain_identity.name: [identity_row(state.genesis)],
        }

    def close(self) -> None:
        """End the transaction and close the database."""
        self._connection.close()
        self._engine.dispose()

    def _select(self, table: Table, *conditions: Any) -> list[Row]:
        query = select(*_raw(table).values()).where(*conditions)
        with database_errors():
            return [_row(row) for row in self._connection.execute(query).mappings()]


def _begun(engine: Engine) -> Connection:
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    connection.begin()
    return connection


def _raw(table: Table) -> dict[str, Any]:
    """Return the columns without the conversions of their types, so that nothing held can pass for something else."""
    return {column.name: type_coerce(column, NullType()).label(column.name) for column in table.columns}


def _row(row: RowMapping) -> Row:
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}
