"""Which cells a row lies in: what has to be assessed again when it comes."""

from collections.abc import Iterable
from itertools import groupby

from pipeline.core.assess.model import Cell, Observed
from pipeline.core.assess.plan import Plan
from pipeline.core.assess.windows import is_datable, window_of


def touched_at(plan: Plan, country: str, city: str, time_ms: int) -> tuple[Cell, ...]:
    """Return the cells of a city that a time lies in, one per window of its plan; none for a time not datable."""
    if not is_datable(time_ms):
        return ()
    part = plan.of_city(country, city)
    return tuple(Cell(country, city, window_of(period, time_ms, part.zone)) for period in part.windows)


def touched(plan: Plan, rows: Iterable[Observed]) -> set[Cell]:
    """Return the cells that rows lie in."""
    return set(by_cell(plan, rows))


def by_cell(plan: Plan, rows: Iterable[Observed]) -> dict[Cell, list[Observed]]:
    """Return the rows of each cell that rows lie in, in order of time. A row lies in a cell per window of the plan."""
    found: dict[Cell, list[Observed]] = {}
    ordered = sorted(rows, key=lambda row: (row.country, row.city, row.time_ms))
    for (country, city), of_city in groupby(ordered, key=lambda row: (row.country, row.city)):
        part = plan.of_city(country, city)
        datable = [row for row in of_city if is_datable(row.time_ms)]
        for period in part.windows:
            end, held = 0, list[Observed]()
            for row in datable:
                if row.time_ms >= end:
                    cell = Cell(country, city, window_of(period, row.time_ms, part.zone))
                    end, held = cell.window.end, found.setdefault(cell, [])
                held.append(row)
    return found
