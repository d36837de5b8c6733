"""The state of a chain as a store in use has it. Reads only."""

from pipeline.adapters.sql.database_errors import database_errors
from pipeline.adapters.sql.engine import open_existing
from pipeline.adapters.sql.state_rows import load_state
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState


def read_state(url: str, genesis: Genesis) -> ChainState | None:
    """Return the state after the last stored block, or None where no block was stored yet.

    Raises:
        ConfigError: there is no store under this address (code ``no_store``).
        IntegrityError: a table is missing (code ``database_rows``), or a row can't be read (``state_rows``).
        TransientError: the database is away (code ``database``).
    """
    engine = open_existing(url)
    try:
        with database_errors(), engine.connect() as connection:
            return load_state(connection, genesis)
    finally:
        engine.dispose()
