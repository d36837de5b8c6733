"""What is known of one series in one window: counts, values and tracing codes, out of its rows.

Small beside the rows: the figures of sites and cities are made of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from pipeline.core.assess.formulas import RECKONINGS
from pipeline.core.assess.model import Cell, Observed, Series
from pipeline.core.assess.plan import CityPlan, SeriesRule
from pipeline.core.assess.readings import Reading, distinct, is_traceable, readings, worst_quality
from pipeline.core.assess.windows import Slots
from schemas.catalogue import catalogue

STEP_INTERVALS = 2
"""A step is judged between values that are at most so many intervals apart: after a gap much may have changed."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    achieved: int
    possible: int


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series in one window.

    ``shares`` holds, by the name of their formula, the counts that quality is made of (only what the plan lets be
    judged); ``values`` the series' own figures. ``codes`` are the tracing codes of all its rows and ``valid_codes``
    those of its valid ones, with the worst quality code of either. ``sound``: every valid value is traceable and
    plausible; ``all_valid``: and there is no other value.
    """

    series: Series
    shares: Mapping[str, Share]
    values: Mapping[str, Fraction]
    codes: frozenset[str]
    valid_codes: frozenset[str]
    quality: int
    valid_quality: int
    sound: bool
    all_valid: bool


def summarise(plan: CityPlan, cell: Cell, series: Series, rows: Iterable[Observed]) -> SeriesSummary:
    """Return what the rows of one series say in a cell; no rows at all is silence.

    Raises:
        ValueError: a row is of another series, or not of this window.
    """
    once = distinct(rows)
    for row in once:
        if row.series != series or not cell.window.start <= row.time_ms < cell.window.end:
            raise ValueError(f"a row of {row.series} at {row.time_ms} is not of {series} in {cell.window}")
    rule = plan.rule_of(series)
    found = readings(series, once)
    shares = _slot_shares(plan, cell, rule, once, found) | _row_shares(rule, once, found)
    checks = _plausibility(rule, found, cell.window.end - cell.window.start)
    sound = all(map(is_traceable, {reading.quality for reading in found}))
    return SeriesSummary(
        series,
        shares | checks,
        _values(plan, rule, series, found),
        frozenset(row.tracing_code for row in once),
        frozenset(reading.tracing_code for reading in found),
        worst_quality(row.quality for row in once),
        worst_quality(reading.quality for reading in found),
        bool(found) and sound and all(check.achieved == check.possible for check in checks.values()),
        len(found) == len(once),
    )


def _slot_shares(
    plan: CityPlan, cell: Cell, rule: SeriesRule, rows: Sequence[Observed], found: Sequence[Reading]
) -> dict[str, Share]:
    if rule.interval is None:
        return {}
    slots = Slots(cell.window, rule.interval, rule.since, rule.until, plan.zone)
    if not slots:
        return {}
    filled = {slots.index_of(row.time_ms) for row in rows} - {None}
    usable = {slots.index_of(reading.time_ms) for reading in found} - {None}
    return {
        "filled_slots": Share(len(filled), len(slots)),
        "usable_slots": Share(len(usable), len(slots)),
    }


def _row_shares(rule: SeriesRule, rows: Sequence[Observed], found: Sequence[Reading]) -> dict[str, Share]:
    if not rows:
        return {}
    shares = {
        "meets_definition": Share(len(found), len(rows)),
        "stated_source": Share(sum(is_traceable(row.quality) for row in rows), len(rows)),
    }
    if rule.lateness_ms is not None:
        late = rule.lateness_ms
        shares["in_time"] = Share(sum(row.admitted_ms - row.time_ms <= late for row in rows), len(rows))
    return shares


def _plausibility(rule: SeriesRule, found: Sequence[Reading], cell_ms: int) -> dict[str, Share]:
    checks: dict[str, Share] = {}
    if found and (rule.low is not None or rule.high is not None):
        low, high = rule.low, rule.high
        good = sum(
            (low is None or item.nano >= low) and (high is None or item.nano <= high) for item in found
        )
        checks["plausible_range"] = Share(good, len(found))
    if rule.step is not None:
        reach = STEP_INTERVALS * rule.interval.longest_ms if rule.interval else cell_ms
        steps = [
            abs(after.nano - before.nano)
            for before, after in pairwise(found)
            if after.time_ms - before.time_ms <= reach
        ]
        if steps:
            checks["plausible_step"] = Share(sum(step <= rule.step for step in steps), len(steps))
    return checks


def _values(
    plan: CityPlan, rule: SeriesRule, series: Series, found: Sequence[Reading]
) -> dict[str, Fraction]:
    if not found:
        return {}
    values = {}
    for name in value_names(rule, series):
        value = RECKONINGS[name](found, plan.zone)
        if value is not None:
            values[name] = value
    return values


def value_names(rule: SeriesRule, series: Series) -> tuple[str, ...]:
    """Return the formulas of a series' own figures: the plan's; else the last value, or the mean of ``LOCAL:`` ones."""
    if rule.values is not None:
        return rule.values
    indicator = catalogue().find(series.indicator)
    return ("mean",) if indicator is not None and indicator.is_local else ("last",)
