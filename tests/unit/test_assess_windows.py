"""Windows and slots: time is cut without gap or overlap, whatever the clocks of a zone do."""

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.assess.model import Period, Window
from pipeline.core.assess.windows import MAX_DATABLE_MS, Interval, Slots, is_datable, next_window, window_of
from tests.support.assess_rows import DAY, HOUR, MINUTE, at

ROME, CHICAGO, UTC = ZoneInfo("Europe/Rome"), ZoneInfo("America/Chicago"), ZoneInfo("UTC")
# Clocks that changed at 00:01, skipped a whole date, change by half an hour, or change at midnight.
STRANGE = ("America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "America/Sao_Paulo", "America/Toronto")
ZONES = st.sampled_from(("UTC", "Europe/Rome", "America/Chicago", "Asia/Kathmandu", *STRANGE)).map(ZoneInfo)
TIMES = st.integers(0, at("2040-01-01"))


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.HOUR, "2022-03-20T10:00:00Z", "2022-03-20T11:00:00Z"),
        (Period.DAY, "2022-03-19T23:00:00Z", "2022-03-20T23:00:00Z"),
        (Period.MONTH, "2022-02-28T23:00:00Z", "2022-03-31T22:00:00Z"),
        (Period.YEAR, "2021-12-31T23:00:00Z", "2022-12-31T23:00:00Z"),
    ],
)
def test_windows_follow_the_local_calendar_and_hours_those_of_gmt(
    period: Period, start: str, end: str
) -> None:
    assert window_of(period, at("2022-03-20T10:30:00Z"), ROME) == Window(period, at(start), at(end))


@pytest.mark.parametrize(("date", "hours"), [("2022-03-27", 23), ("2022-10-30", 25), ("2022-05-01", 24)])
def test_a_day_has_as_many_hours_as_its_clocks_give_it(date: str, hours: int) -> None:
    window = window_of(Period.DAY, at(date + "T12:00:00Z"), ROME)
    assert window.end - window.start == hours * HOUR


@given(st.sampled_from(Period), TIMES, ZONES)
def test_a_time_lies_in_its_window_and_the_next_begins_where_it_ends(
    period: Period, time_ms: int, zone: ZoneInfo
) -> None:
    window = window_of(period, time_ms, zone)
    following = next_window(window, zone)
    assert window.start <= time_ms < window.end == following.start < following.end


@given(st.sampled_from(Period), TIMES, ZONES, st.floats(0, 1, exclude_max=True))
def test_all_times_of_a_window_have_the_same_window(
    period: Period, time_ms: int, zone: ZoneInfo, share: float
) -> None:
    window = window_of(period, time_ms, zone)
    other = window.start + int(share * (window.end - window.start))
    assert window_of(period, max(other, 0), zone) == window == window_of(period, window.end - 1, zone)


@pytest.mark.parametrize("day", ["1990-04-01", "1990-10-28", "2011-12-29", "2011-12-31", "2018-11-04"])
@pytest.mark.parametrize("name", STRANGE)
def test_days_join_around_strange_changes_of_clocks(name: str, day: str) -> None:
    zone = ZoneInfo(name)
    for minute in range(-36 * 60, 36 * 60):
        time_ms = at(day) + minute * MINUTE
        window = window_of(Period.DAY, time_ms, zone)
        assert window.start <= time_ms < window.end
        assert next_window(window, zone).start == window.end


class JumpOverMidnight(tzinfo):
    """A zone whose clocks jumped from 23:30 on 2022-03-26 to 00:30, so that the 27th has no midnight."""

    _before = datetime(2022, 3, 26, 23, 30)  # noqa: DTZ001 - local
    _after = datetime(2022, 3, 27, 0, 30)  # noqa: DTZ001 - local

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        local = dt.replace(tzinfo=None, fold=0)
        jumped = local >= self._after or (local >= self._before and dt.fold == 1)
        return timedelta(hours=1) if jumped else timedelta(0)

    def fromutc(self, dt: datetime) -> datetime:
        return dt + timedelta(hours=1) if dt.replace(tzinfo=None) >= self._before else dt

    def dst(self, _dt: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _dt: datetime | None) -> str | None:
        return None


def test_days_join_where_clocks_jump_over_midnight() -> None:
    zone, start = JumpOverMidnight(), at("2022-03-26T00:00")
    windows = {window_of(Period.DAY, start + minute * MINUTE, zone) for minute in range(3 * 24 * 60)}
    ordered = sorted(windows)
    assert [window.end for window in ordered[:-1]] == [window.start for window in ordered[1:]]
    assert window_of(Period.DAY, at("2022-03-26T23:45"), zone) == ordered[0]


def test_times_before_1970_and_after_8999_lie_in_no_window() -> None:
    assert [is_datable(time) for time in (-1, 0, MAX_DATABLE_MS - 1, MAX_DATABLE_MS)] == [
        False,
        True,
        True,
        False,
    ]
    for time_ms in (-1, MAX_DATABLE_MS):
        with pytest.raises(ValueError, match="1970"):
            window_of(Period.DAY, time_ms, UTC)


@given(st.sampled_from(Period), st.integers(MAX_DATABLE_MS - 400 * DAY, MAX_DATABLE_MS - 1), ZONES)
def test_the_last_times_have_windows_too(period: Period, time_ms: int, zone: ZoneInfo) -> None:
    assert window_of(period, time_ms, zone).start <= time_ms


@pytest.mark.parametrize("time_ms", [0, MAX_DATABLE_MS - 1])
def test_the_first_and_the_last_windows_have_slots(time_ms: int) -> None:
    window = window_of(Period.YEAR, time_ms, ROME)
    assert len(Slots(window, Interval(0, Period.DAY), window.start, window.end, ROME)) == 365


def slots(interval: Interval, since: str = "1970-01-01", until: str = "2100-01-01") -> Slots:
    """Return the slots of the March of 2022 in Rome."""
    window = window_of(Period.MONTH, at("2022-03-15"), ROME)
    return Slots(window, interval, at(since), at(until), ROME)


def test_a_month_with_a_lost_hour_has_743_hourly_slots() -> None:
    assert len(slots(Interval(HOUR))) == 743


def test_a_month_has_a_daily_slot_for_each_date() -> None:
    assert len(slots(Interval(0, Period.DAY))) == 31


def test_a_month_that_is_not_january_has_no_yearly_slot() -> None:
    assert len(slots(Interval(0, Period.YEAR))) == 0


def test_slots_outside_since_and_until_are_not_expected() -> None:
    some = slots(Interval(HOUR), "2022-03-20T10:00:00Z", "2022-03-20T13:00:00Z")
    times = ("2022-03-20T09:59:59Z", "2022-03-20T10:00:00Z", "2022-03-20T12:59:59Z", "2022-03-20T13:00:00Z")
    found = [some.index_of(at(time)) for time in times]
    assert (len(some), found[0], found[3]) == (3, None, None)
    assert found[1] is not None and found[2] == found[1] + 2


def test_a_slot_that_began_before_since_is_not_expected() -> None:
    assert len(slots(Interval(HOUR), "2022-03-20T10:00:01Z", "2022-03-20T12:00:00Z")) == 1


def test_daily_slots_begin_at_local_midnight() -> None:
    some = slots(Interval(0, Period.DAY))
    evening, midnight = some.index_of(at("2022-03-26T22:59:59Z")), some.index_of(at("2022-03-26T23:00:00Z"))
    assert (evening, midnight) == (25, 26)


@given(st.integers(1, 50 * HOUR), TIMES, TIMES)
def test_there_are_as_many_slots_as_times_find(every: int, since: int, until: int) -> None:
    window = window_of(Period.DAY, at("2022-03-27T12:00:00Z"), ROME)
    some = Slots(window, Interval(max(every, HOUR // 4)), since, until, ROME)
    step = max(every, HOUR // 4)
    found = {some.index_of(time) for time in range(window.start, window.end, step)} - {None}
    assert len(found) == len(some)
