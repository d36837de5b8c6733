"""Reading stored assessments page by page, for the API; it changes nothing."""

from typing import Final

from sqlalchemy import Engine, inspect, select, tuple_

from pipeline.adapters.sql.assess_rows import assessment_of
from pipeline.adapters.sql.assessment_tables import assessments
from pipeline.adapters.sql.engine import open_existing, store_address, transaction
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import ORDER, Place, Wanted
from pipeline.core.errors import ConfigError, TransientError

_PLACE: Final = tuple_(*(assessments.c[name] for name in ORDER))


class AssessmentReader:
    """Assessments of the store at a URL; the store may come and go, and need not be there at first."""

    def __init__(self, url: str) -> None:
        self._url = url
        # A SQLite file that somebody has open can't be rebuilt: it is opened for each page.
        self._is_file = store_address(url).get_backend_name() == "sqlite"
        self._engine: Engine | None = None

    def page(self, wanted: Wanted, after: Place | None, limit: int) -> list[Assessment]:
        """Return the next wanted assessments after a place, in order.

        Raises:
            TransientError: the store is not there (code ``no_store``) or away (code ``database``).
        """
        try:
            engine = self._engine or open_existing(self._url)
        except ConfigError as error:
            raise TransientError(str(error), code=error.code) from error
        self._engine = None if self._is_file else engine
        try:
            return _page(engine, wanted, after, limit)
        finally:
            if self._is_file:
                engine.dispose()


def _page(engine: Engine, wanted: Wanted, after: Place | None, limit: int) -> list[Assessment]:
    query = select(assessments).filter_by(**wanted.equal())
    if wanted.from_ms is not None:
        query = query.where(assessments.c.window_start >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(assessments.c.window_start < wanted.to_ms)
    if after is not None:
        query = query.where(after < _PLACE)
    query = query.order_by(*(assessments.c[name] for name in ORDER)).limit(limit)
    with transaction(engine) as connection:
        if not inspect(connection).has_table(assessments.name):
            raise TransientError("the store has no assessments yet", code="no_store")
        return [assessment_of(row) for row in connection.execute(query).mappings()]
