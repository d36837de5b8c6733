"""Assessing a store without a worker: everything is computed and nothing is written."""

from collections.abc import Iterator

from pipeline.core.assess.assess import assess_cell
from pipeline.core.assess.cells import touched_at
from pipeline.core.assess.model import Assessment, Cell
from pipeline.core.assess.plan import Plan
from pipeline.core.assess.query import Wanted
from pipeline.services.assess.store import AssessStore


def assess_once(store: AssessStore, plan: Plan, chain_id: str, wanted: Wanted) -> Iterator[Assessment]:
    """Yield the wanted assessments of all values in the store, cell by cell in order of time; one cell is held."""
    cells = {
        cell
        for country, city, time_ms in store.times(0, store.head())
        for cell in touched_at(plan, country, city, time_ms)
        if wanted.may_include(cell)
    }
    for cell in sorted(cells, key=_by_time):
        for found in assess_cell(plan, chain_id, cell, store.groups(cell)):
            if wanted.includes(found):
                yield found


def _by_time(cell: Cell) -> tuple[int, int, str, str]:
    return cell.window.start, cell.window.end, cell.country, cell.city
