"""How fast the ledger grows, by the platform's store. Reads only."""

from typing import Final

from sqlalchemy import Connection, func, select

from pipeline.adapters.sql.database_errors import database_errors
from pipeline.adapters.sql.engine import open_existing
from pipeline.adapters.sql.platform_tables import blocks, sites
from pipeline.core.disk_forecast import DAY_MS, Growth

_LOOKED_BACK_MS: Final = 7 * DAY_MS


def read_growth(url: str, now_ms: int) -> Growth:
    """Return what was added in the last week, or since the first block.

    Raises:
        ConfigError: there is no store under this address (code ``no_store``).
        IntegrityError: a table is missing (code ``database_rows``).
        TransientError: the database is away (code ``database``).
    """
    engine = open_existing(url)
    try:
        with database_errors(), engine.connect() as connection:
            return _growth(connection, now_ms)
    finally:
        engine.dispose()


def _growth(connection: Connection, now_ms: int) -> Growth:
    size, begin = func.coalesce(func.sum(blocks.c.block_length), 0), func.min(blocks.c.period_start)
    total, first = connection.execute(select(size, begin)).one()
    start = max(now_ms - _LOOKED_BACK_MS, first if first is not None else now_ms)
    added = connection.execute(select(size).where(blocks.c.period_start >= start)).scalar_one()
    active = connection.execute(select(func.count()).select_from(sites).where(sites.c.active)).scalar_one()
    return Growth(start, now_ms, int(added), int(total), active)
