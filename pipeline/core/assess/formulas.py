"""The formulas: each figure's name, its text for people, and those that turn readings of one series into a value.

A formula never changes under its name and version: raise ``FORMULAS_VERSION`` with any change of results, so that
everything is reckoned again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from fractions import Fraction
from typing import Final

from pipeline.core.assess.model import ONE, PERCENT
from pipeline.core.assess.nano import NANO
from pipeline.core.assess.readings import Reading
from pipeline.core.assess.windows import local_time

FORMULAS_VERSION: Final = 1
SATURDAY: Final = 5
PEAK_HOURS: Final = (7, 8, 16, 17)
"""Local hours of weekdays that count as peak: 7 to 9 and 16 to 18 o'clock, the end excluded."""
FREE_FLOW_PERCENT: Final = 15
"""The percentile of travel times that stands for free flow."""
Reckoning = Callable[[Sequence[Reading], tzinfo], Fraction | None]
"""Turns readings in order of time, at least one, into a value; None where they do not give one."""


@dataclass(frozen=True, slots=True)
class Formula:
    """One way to make a figure: its name, what it does, and the unit of results (empty: that of what it reads)."""

    name: str
    text: str
    unit: str = ""


def percentile(values: Sequence[int], percent: int) -> Fraction:
    """Return a percentile of at least one value, linear between neighbours: rank = percent / 100 * (n - 1)."""
    ordered = sorted(values)
    rank = Fraction(percent * (len(ordered) - 1), 100)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


def _mean(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return Fraction(sum(reading.nano for reading in found), len(found) * NANO)


def _sum(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return Fraction(sum(reading.nano for reading in found), NANO)


def _minimum(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return Fraction(min(reading.nano for reading in found), NANO)


def _maximum(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return Fraction(max(reading.nano for reading in found), NANO)


def _median(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return percentile([reading.nano for reading in found], 50) / NANO


def _last(found: Sequence[Reading], _zone: tzinfo) -> Fraction:
    return Fraction(found[-1].nano, NANO)


def _travel_time_index(found: Sequence[Reading], zone: tzinfo) -> Fraction | None:
    peak = [reading.nano for reading in found if _is_peak(reading.time_ms, zone)]
    free = percentile([reading.nano for reading in found], FREE_FLOW_PERCENT)
    return Fraction(sum(peak), len(peak)) / free if peak and free > 0 else None


def _is_peak(time_ms: int, zone: tzinfo) -> bool:
    local = local_time(time_ms, zone)
    return local.hour in PEAK_HOURS and local.weekday() < SATURDAY


RECKONINGS: Final[Mapping[str, Reckoning]] = {
    "mean": _mean,
    "sum": _sum,
    "minimum": _minimum,
    "maximum": _maximum,
    "median": _median,
    "last": _last,
    "travel_time_index": _travel_time_index,
}
"""Formulas of a series' own value."""
MEAN_OF_SITES: Final = "mean_of_sites"
SUM_OF_SITES: Final = "sum_of_sites"
SHARE: Final = "share"
CITY_FORMULAS: Final = (MEAN_OF_SITES, SUM_OF_SITES, SHARE)
"""Formulas of a city's value out of its sites' values."""

_ALL: Final = (
    Formula("filled_slots", "slots with at least one value / slots in which one was expected", PERCENT),
    Formula("in_time", "values admitted at most the allowed lateness after their time / values", PERCENT),
    Formula("meets_definition", "values in the catalogue's unit and range / values", PERCENT),
    Formula("stated_source", "values with a quality code of 1 to 5 / values", PERCENT),
    Formula("plausible_range", "valid values in the plausible range / valid values", PERCENT),
    Formula(
        "plausible_step", "steps to the next valid value within the plausible step / steps judged", PERCENT
    ),
    Formula("shares_add_up", "all shares of an indicator add up to 100, give or take 2", PERCENT),
    Formula("part_of_whole", "a part is not more than what it is part of", PERCENT),
    Formula("usable_slots", "slots with at least one valid value / slots in which one was expected", PERCENT),
    Formula("mean", "sum of the valid values / their number"),
    Formula("sum", "sum of the valid values"),
    Formula("minimum", "least valid value"),
    Formula("maximum", "greatest valid value"),
    Formula("median", "50th percentile of the valid values, linear between neighbours"),
    Formula("last", "valid value of the latest time; of several, the one admitted last"),
    Formula(
        "travel_time_index",
        "mean of the values of weekdays from 7 to 9 and 16 to 18 o'clock / 15th percentile of all values",
        ONE,
    ),
    Formula(MEAN_OF_SITES, "sum of the sites' values / number of sites with a value"),
    Formula(SUM_OF_SITES, "sum of the sites' values"),
    Formula(SHARE, "100 * sum of the parts' values / sum of the whole's values", PERCENT),
    Formula("reported", "indicators with a value / indicators to be reported", PERCENT),
    Formula("percent_of_target", "100 * (value - start) / (target - start)", PERCENT),
    Formula("points_of_maximum", "100 * points / (4 * number of indicators with points)", PERCENT),
)
FORMULAS: Final[Mapping[str, Formula]] = {formula.name: formula for formula in _ALL}
"""All formulas by name."""
