"""The assessments in the platform's store: rows, position and what is still to be sent, in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.adapters.sql.assess_rows import KEY, assessment_of, assessment_row, key_row
from pipeline.adapters.sql.assessment_tables import assess_position, assessments, assessments_unsent
from pipeline.adapters.sql.database_errors import database_errors
from pipeline.adapters.sql.engine import transaction, upsert
from pipeline.adapters.sql.platform_tables import blocks, kpi_records, observations
from pipeline.core.assess.changes import Found, Position, Replaced, Unsent
from pipeline.core.assess.model import Cell, Observed, Period, Window
from pipeline.core.errors import ConflictError

_ONE: Final = 1
_ROWS_AT_ONCE: Final = 2_000
_SERIES: Final = attrgetter("site_id", "indicator", "data_point")
_OBSERVED: Final = (
    observations.c.tracing_code,
    observations.c.record,
    observations.c.number,
    observations.c.time,
    kpi_records.c.admitted,
    observations.c.country,
    observations.c.city,
    observations.c.site_id,
    observations.c.indicator,
    observations.c.data_point,
    observations.c.exact,
    observations.c.unit,
    observations.c.quality,
)


class SqlAssessStore:
    """The assessments over any engine; the platform worker makes the tables.

    ``make_engine`` is called when the database is first wanted, and again if it raised.
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self._make_engine = make_engine
        self._opened: Engine | None = None

    @property
    def _engine(self) -> Engine:
        if self._opened is None:
            self._opened = self._make_engine()
        return self._opened

    def load(self) -> Position:
        """Return the stored position; height 0 without a plan at first."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(assess_position)).first()
            if row is None:
                connection.execute(assess_position.insert(), {"one": _ONE, "height": 0, "plan": b""})
                return Position(0, b"")
            return Position(row.height, row.plan)

    def head(self) -> int:
        """Return the height of the last block stored; 0 for none."""
        with transaction(self._engine) as connection:
            return int(connection.execute(select(func.coalesce(func.max(blocks.c.height), 0))).scalar_one())

    def times(self, after: int, to: int) -> Iterator[tuple[str, str, int]]:
        """Yield country, city and time (GMT ms) of the values in blocks above ``after`` up to ``to``, each once."""
        query = (
            select(observations.c.country, observations.c.city, observations.c.time)
            .join_from(kpi_records, observations, kpi_records.c.tracing_code == observations.c.tracing_code)
            .where(kpi_records.c.height > after, kpi_records.c.height <= to)
            .distinct()
        )
        with transaction(self._engine) as connection:
            for row in _streamed(connection, query):
                yield row.country, row.city, row.time

    def groups(self, cell: Cell) -> Iterator[Iterable[Observed]]:
        """Yield all values of a cell, series by series; each group is read before the next one."""
        query = (
            select(*_OBSERVED)
            .join_from(observations, kpi_records, kpi_records.c.tracing_code == observations.c.tracing_code)
            .where(
                observations.c.country == cell.country,
                observations.c.city == cell.city,
                observations.c.time >= cell.window.start,
                observations.c.time < cell.window.end,
            )
            .order_by(observations.c.site_id, observations.c.indicator, observations.c.data_point)
        )
        with transaction(self._engine) as connection:
            rows = (Observed(*row) for row in _streamed(connection, query))
            for _, group in groupby(rows, _SERIES):
                yield group

    def cells(self) -> set[Cell]:
        """Return the cells that have assessments."""
        columns = [
            assessments.c[name] for name in ("country", "city", "window", "window_start", "window_end")
        ]
        with transaction(self._engine) as connection:
            rows = connection.execute(select(*columns).distinct()).all()
        return {
            Cell(row.country, row.city, Window(Period(row.window), row.window_start, row.window_end))
            for row in rows
        }

    def replace(self, found: Sequence[Found], before: Position, after: Position) -> Replaced:
        """Replace the assessments of cells, note what changed as unsent, and move the position, all or nothing.

        Raises:
            ConflictError: the position is not ``before`` (code ``assessed_by_another``).
        """
        with transaction(self._engine) as connection:
            # First of all a write, which keeps other writers out: SQLite gives no lock to who has only read.
            moved = connection.execute(
                assess_position.update().where(
                    assess_position.c.height == before.height, assess_position.c.plan == before.plan
                ),
                {"height": after.height, "plan": after.plan},
            )
            if moved.rowcount != 1:
                raise ConflictError(
                    "another worker assesses this store, or it was rebuilt", code="assessed_by_another"
                )
            counts = [_replace(connection, item) for item in found]
        return Replaced(*(sum(column) for column in zip(*counts, strict=True))) if counts else Replaced()

    def unsent(self, limit: int) -> list[Unsent]:
        """Return the next assessments whose change was not sent yet."""
        same = and_(*(assessments_unsent.c[name] == assessments.c[name] for name in KEY))
        keys = [assessments_unsent.c[name].label(f"key_{name}") for name in KEY]
        query = (
            select(*keys, assessments)
            .join_from(assessments_unsent, assessments, same, isouter=True)
            .order_by(*keys)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Unsent(
                tuple(row[f"key_{name}"] for name in KEY),
                None if row["chain_id"] is None else assessment_of(row),
            )
            for row in rows
        ]

    def mark_sent(self, sent: Sequence[Unsent]) -> None:
        """Note that these were sent."""
        with transaction(self._engine) as connection:
            _delete(connection, assessments_unsent, [item.key for item in sent])

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened.dispose()


def _streamed(connection: Connection, query: Any) -> Iterator[Any]:
    """Yield the rows of a query; its errors are ours, since who reads them may stand outside of the transaction."""
    with database_errors():
        yield from connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE).execute(query)


def _replace(connection: Connection, found: Found) -> tuple[int, int, int, int]:
    """Make the rows of a cell those of ``found``; return how many are new, changed, unchanged and gone."""
    cell = found.cell
    stored = connection.execute(
        select(assessments).where(
            assessments.c.country == cell.country,
            assessments.c.city == cell.city,
            assessments.c.window_start == cell.window.start,
            assessments.c.window_end == cell.window.end,
            assessments.c.window == cell.window.period.value,
        )
    ).mappings()
    old = {tuple(row[name] for name in KEY): dict(row) for row in stored}
    now = {item.key: assessment_row(item) for item in found.assessments}
    fresh = [key for key, row in now.items() if old.get(key) != row]
    gone = [key for key in old if key not in now]
    _delete(connection, assessments, gone)
    upsert(connection, assessments, [now[key] for key in fresh])
    _note_unsent(connection, [*fresh, *gone])
    new = sum(key not in old for key in fresh)
    return new, len(fresh) - new, len(now) - len(fresh), len(gone)


def _delete(connection: Connection, table: Any, keys: Sequence[tuple[Any, ...]]) -> None:
    if keys:
        # Bound under names of their own: a column's name would be taken for a value to set.
        same = and_(*(table.c[name] == bindparam(f"of_{name}") for name in KEY))
        connection.execute(
            table.delete().where(same),
            [{f"of_{name}": value for name, value in key_row(key).items()} for key in keys],
        )


def _note_unsent(connection: Connection, keys: Sequence[tuple[Any, ...]]) -> None:
    if not keys:
        return
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        dialect.insert(assessments_unsent).on_conflict_do_nothing(), [key_row(key) for key in keys]
    )
