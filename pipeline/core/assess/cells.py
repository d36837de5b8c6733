"""Which cells a row lies in: what has to be assessed again when it comes."""

from collections.abc import Iterable

from pipeline.core.assess.model import Cell, Observed
from pipeline.core.assess.plan import CityPlan, Plan
from pipeline.core.assess.windows import is_datable, window_of


def touched_at(plan: Plan, country: str, city: str, time_ms: int) -> tuple[Cell, ...]:
    """Return the cells of a city that a time lies in, one per window of its plan; none for a time not datable."""
    return _cells(plan.of_city(country, city), country, city, time_ms)


def touched(plan: Plan, rows: Iterable[Observed]) -> set[Cell]:
    """Return the cells that rows lie in."""
    moments: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        moments.setdefault((row.country, row.city), set()).add(row.time_ms)
    found: set[Cell] = set()
    for (country, city), times in moments.items():
        part = plan.of_city(country, city)
        for time_ms in times:
            found.update(_cells(part, country, city, time_ms))
    return found


def _cells(part: CityPlan, country: str, city: str, time_ms: int) -> tuple[Cell, ...]:
    if not is_datable(time_ms):
        return ()
    return tuple(Cell(country, city, window_of(period, time_ms, part.zone)) for period in part.windows)
