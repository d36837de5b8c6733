"""Readings: observed rows of one series, each once, in the catalogue's unit, judged by its definition (Y.4907 10.1)."""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from pipeline.core.assess.model import NOT_STATED, NOT_TRACEABLE, Observed, Series
from pipeline.core.assess.nano import NANO, nano_of, nano_of_text
from schemas.catalogue import Limits, catalogue


class Reading(NamedTuple):
    """One valid value: when it holds, its order among those of one time, and the value in 10^-9 of its unit.

    Of values with the same time the one admitted last is the last; its place breaks ties.
    """

    time_ms: int
    admitted_ms: int
    tracing_code: str
    record: int
    number: int
    nano: int
    quality: int


def distinct(rows: Iterable[Observed]) -> list[Observed]:
    """Return every row once, whatever their order and repeats."""
    found: dict[tuple[str, int, int], Observed] = {}
    for row in rows:
        place = row[:3]
        known = found.get(place)
        if known is None or row < known:  # rows that contradict each other: the choice depends on no order
            found[place] = row
    return list(found.values())


def limits_of(series: Series) -> Limits | None:
    """Return unit and range that the catalogue gives a series, or None where it doesn't know it."""
    indicator = catalogue().find(series.indicator)
    return None if indicator is None else indicator.limits_of(series.data_point)


def unit_of(series: Series) -> str:
    """Return the unit of a series' valid values (UNECE code), empty where the catalogue doesn't know it."""
    limits = limits_of(series)
    return "" if limits is None else limits.unece_unit


def readings(series: Series, rows: Iterable[Observed]) -> list[Reading]:
    """Return the valid values among rows of one series, in order of time.

    Valid: the catalogue has indicator and data point, the unit is its own or converts to it exactly, and the value is
    a number in the range of the definition.
    """
    limits = limits_of(series)
    if limits is None:
        return []
    low, high = (None if end is None else nano_of(end) for end in (limits.low, limits.high))
    found = []
    for row in rows:
        nano = nano_of_text(row.exact)
        if nano is not None and row.unit != limits.unece_unit:
            nano = _converted(series, nano, row.unit, limits.unece_unit)
        if nano is None or (low is not None and nano < low) or (high is not None and nano > high):
            continue
        if limits.whole and nano % NANO:
            continue
        found.append(
            Reading(row.time_ms, row.admitted_ms, row.tracing_code, row.record, row.number, nano, row.quality)
        )
    found.sort()
    return found


def is_traceable(quality: int) -> bool:
    """Tell whether a quality code is stated and says where the value comes from."""
    return NOT_STATED < quality < NOT_TRACEABLE


def worst_quality(codes: Iterable[int]) -> int:
    """Return the worst of quality codes: the highest, but one that is not stated is worse than any."""
    found = set(codes)
    return NOT_STATED if NOT_STATED in found else max(found, default=NOT_STATED)


def _converted(series: Series, nano: int, unit: str, target: str) -> int | None:
    known = catalogue()
    value = Fraction(nano, NANO)
    special = known.special_factor(series.indicator, series.data_point, unit)
    if special is not None:
        return nano_of(value * Fraction(special))
    if not known.units.is_convertible(unit, target):
        return None
    return nano_of(known.units.convert(value, unit, target))
