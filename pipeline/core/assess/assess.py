"""Assessing cells: rows of the platform's store in, all figures about their cities and windows out (Y.4907 8.3)."""

from collections.abc import Iterable

from pipeline.core.assess.cells import by_cell
from pipeline.core.assess.city import checks, city_figures, city_values, judged
from pipeline.core.assess.figures import Maker, availability_figures, series_figures
from pipeline.core.assess.model import Assessment, Cell, Observed, Series
from pipeline.core.assess.plan import CityPlan, Plan
from pipeline.core.assess.scoring import score_figures
from pipeline.core.assess.summary import SeriesSummary, summarise


def summarise_rows(plan: Plan, cell: Cell, rows: Iterable[Observed]) -> SeriesSummary | None:
    """Return what all rows of one series in a cell say, None where there are none.

    Raises:
        ValueError: the rows are of several series, or not all of this cell.
    """
    held = list(rows)
    if not held:
        return None
    if (held[0].country, held[0].city) != (cell.country, cell.city):
        raise ValueError(f"a row of {held[0].series} is not of {cell}")
    return summarise(plan.of_city(cell.country, cell.city), cell, held[0].series, held)


def assess_summaries(
    plan: Plan, chain_id: str, cell: Cell, summaries: Iterable[SeriesSummary]
) -> tuple[Assessment, ...]:
    """Return all figures of a cell out of its series' summaries, sorted by key.

    Series that the plan names and that are silent are assessed, too.

    Raises:
        ValueError: a series has two summaries.
    """
    part = plan.of_city(cell.country, cell.city)
    known = {}
    for summary in summaries:
        if summary.series in known:
            raise ValueError(f"two summaries of {summary.series} in {cell}")
        known[summary.series] = summary
    for series in _expected(part):
        if series not in known:
            known[series] = summarise(part, cell, series, ())
    ordered = [known[series] for series in sorted(known)]
    make = Maker(part, chain_id, cell)
    figures = [figure for summary in ordered for figure in series_figures(make, summary)]
    figures += availability_figures(make, ordered)
    values = city_values(part, ordered)
    applied = checks(values)
    values = judged(values, applied)
    figures += city_figures(make, values, applied)
    if cell.window.period is part.scored:
        figures += score_figures(make, values)
    return tuple(sorted(figures, key=lambda figure: figure.key))


def assess_cell(
    plan: Plan, chain_id: str, cell: Cell, groups: Iterable[Iterable[Observed]]
) -> tuple[Assessment, ...]:
    """Return all figures of a cell, sorted by key; each group has all rows of one series of the cell, in any order.

    Only one group's rows are held at a time.

    Raises:
        ValueError: a group mixes series, a series comes in two groups, or a row is not of the cell.
    """
    summaries = (summarise_rows(plan, cell, group) for group in groups)
    return assess_summaries(plan, chain_id, cell, (item for item in summaries if item is not None))


def assess_rows(plan: Plan, chain_id: str, rows: Iterable[Observed]) -> tuple[Assessment, ...]:
    """Return all figures of all cells that rows lie in, sorted by key. Holds all rows.

    The figures are right where the rows are all rows of those cells.
    """
    figures: list[Assessment] = []
    for cell, held in by_cell(plan, rows).items():
        groups: dict[Series, list[Observed]] = {}
        for row in held:
            groups.setdefault(row.series, []).append(row)
        figures += assess_cell(plan, chain_id, cell, groups.values())
    return tuple(sorted(figures, key=lambda figure: figure.key))


def _expected(part: CityPlan) -> list[Series]:
    named = [
        Series(part.country, part.city, rule.site_id, rule.indicator, rule.data_point)
        for rule in part.series
        if rule.is_of_one_series
    ]
    return list(dict.fromkeys(named))
