"""Windows and slots: how time is cut, in the zone of a city's plan.

Days, months and years are those of the local calendar; hours are those of GMT, since local ones may come twice.
The windows of one period follow each other without gap or overlap, whatever the clocks do.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from pipeline.core.assess.model import Period, Window

HOUR_MS: Final = 3_600_000
MAX_DATABLE_MS: Final = 221_845_392_000_000  # 9000-01-01: beyond, calendars of some zones would overflow
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_CACHED_WINDOWS: Final = 4096
_LONGEST_HOURS: Final = {
    Period.HOUR: 1,
    Period.DAY: 25,
    Period.MONTH: 31 * 24 + 1,
    Period.YEAR: 366 * 24 + 1,
}


def is_datable(time_ms: int) -> bool:
    """Tell whether a time lies in any window: from 1970 to the year 9000."""
    return 0 <= time_ms < MAX_DATABLE_MS


def local_time(time_ms: int, zone: tzinfo) -> datetime:
    """Return the local date and time of a datable time."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone)


def window_of(period: Period, time_ms: int, zone: tzinfo) -> Window:
    """Return the window of that period that a datable time lies in.

    Raises:
        ValueError: the time is not datable.
    """
    if not is_datable(time_ms):
        raise ValueError(f"{time_ms} ms is before 1970 or after the year 8999")
    return _window_of(period, time_ms, zone)


def next_window(window: Window, zone: tzinfo) -> Window:
    """Return the window that follows, of the same period; a date that a zone left out has none."""
    return _window_of(window.period, window.end, zone)


def _window_of(period: Period, time_ms: int, zone: tzinfo) -> Window:
    if period is Period.HOUR:
        start = time_ms - time_ms % HOUR_MS
        return Window(period, start, start + HOUR_MS)
    first = _first_day(period, local_time(time_ms, zone).date())
    window = _calendar_window(period, first, zone)
    # Clocks that jump over midnight, or back over it, leave a date's first or last minutes in a neighbour's window.
    if time_ms < window.start:
        return _calendar_window(period, _first_day(period, first - timedelta(days=1)), zone)
    return next_window(window, zone) if time_ms >= window.end else window


@lru_cache(maxsize=_CACHED_WINDOWS)
def _calendar_window(period: Period, first: date, zone: tzinfo) -> Window:
    return Window(period, _midnight(first, zone), _midnight(_following(period, first), zone))


def _first_day(period: Period, day: date) -> date:
    if period is Period.YEAR:
        return day.replace(month=1, day=1)
    return day.replace(day=1) if period is Period.MONTH else day


def _following(period: Period, first: date) -> date:
    if period is Period.YEAR:
        return first.replace(year=first.year + 1)
    if period is Period.MONTH:
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=1)


def _midnight(day: date, zone: tzinfo) -> int:
    """Return the GMT time of a day's first midnight; where clocks jump over it, of the jump's end."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (local - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True)
class Interval:
    """How often values are expected: every ``every_ms`` from a window's start, or once per calendar ``period``."""

    every_ms: int
    period: Period | None = None

    @property
    def longest_ms(self) -> int:
        """How long it may last: a period's days may have an hour more than others."""
        return self.every_ms if self.period is None else _LONGEST_HOURS[self.period] * HOUR_MS


class Slots:
    """The stretches of a window in each of which a value is expected: those that begin in ``since`` to ``until``."""

    def __init__(self, window: Window, interval: Interval, since: int, until: int, zone: tzinfo) -> None:
        low, high = max(window.start, since), min(window.end, until)
        self._window, self._every = window, interval.every_ms
        self._starts: list[int] | None = None
        if interval.period is None:
            self._first = -((window.start - low) // self._every)
            self._end = max(self._first, -((window.start - high) // self._every))
        else:
            self._starts = list(_starts(interval.period, window, zone))
            self._first = sum(start < low for start in self._starts)
            self._end = max(self._first, sum(start < high for start in self._starts))

    def __len__(self) -> int:
        return self._end - self._first

    def index_of(self, time_ms: int) -> int | None:
        """Return which slot a time of the window lies in, or None where no value was expected."""
        if self._starts is None:
            index = (time_ms - self._window.start) // self._every
        else:
            index = bisect_right(self._starts, time_ms) - 1
        return index if self._first <= index < self._end else None


def _starts(period: Period, window: Window, zone: tzinfo) -> Iterator[int]:
    step = _window_of(period, window.start, zone)
    while step.start < window.end:
        if step.start >= window.start:
            yield step.start
        step = next_window(step, zone)
