"""The normaliser: text to exact decimals, GMT and catalogue units; refusals are values."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mapping import read_mapping
from connectors.normalise import Normaliser, Outcome
from connectors.parsing import (
    DstRule,
    Exact,
    Instant,
    as_written,
    parse_number,
    parse_plain,
    parse_time,
    rounded,
)
from connectors.records import KpiValue, QualityCode, Rejected, RejectReason
from pipeline.core.errors import ConfigError
from pipeline.core.names import MAX_LONG, MAX_TIME_MS

ROME = ZoneInfo("Europe/Rome")
EPOCH, DAY_ONE, LAST_DAY = (datetime.fromisoformat(day) for day in ("1970-01-01", "1970-01-02", "9999-12-30"))
SPEED: dict[str, Any] = {
    "sensor": "s1",
    "source": "test",
    "quality": "accurate_measurement",
    "time": {"column": "t", "format": "iso8601", "zone": "Europe/Rome"},
    "values": [{"column": "v", "indicator": "LOCAL:TRAFFIC_SPEED", "unit": "HM"}],
}
ANY_NUMBER = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="0123456789.,eE+-_ ", max_size=80),
    st.decimals().map(str),
    st.floats().map(repr),
    st.integers().map(str),
)
ANY_TIME = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789-:T+Z /.W", max_size=40),
    st.datetimes().map(lambda when: when.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat()),
)


def mapping_with(path: str = "", value: Any = None) -> dict[str, Any]:
    """The speed mapping with one key set, or removed where ``value`` is None; ``path`` is dotted."""
    settings = deepcopy(SPEED)
    node: Any = settings
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
    return settings


def normalise(settings: dict[str, Any], **cells: str) -> Outcome:
    return Normaliser(read_mapping(settings)).normalise(7, {"t": "2022-01-01T00:00:00Z", "v": "1"} | cells)


def only_value(outcome: Outcome) -> KpiValue:
    assert outcome.record is not None
    assert outcome.rejected == ()
    (value,) = outcome.record.values
    return value


def only_reason(outcome: Outcome) -> RejectReason:
    assert outcome.record is None
    (rejected,) = outcome.rejected
    return rejected.reason


def gmt(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


# Numbers


@given(ANY_NUMBER, st.sampled_from([".", ","]))
def test_any_text_is_a_finite_number_or_a_reason(text: str, mark: str) -> None:
    number = parse_number(text, mark)
    assert isinstance(number, RejectReason) or number.is_finite()


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_exact_value_or_is_refused(number: Decimal) -> None:
    exact = as_written(number)
    if isinstance(exact, Exact):
        assert exact.value == number
        assert 0 <= exact.scale <= 9
        assert abs(exact.unscaled) <= MAX_LONG
    else:
        assert exact in {RejectReason.TOO_LARGE, RejectReason.TOO_PRECISE}


@given(st.fractions(), st.integers(0, 9))
def test_rounding_is_off_by_at_most_half_a_unit_of_the_last_place(value: Fraction, decimals: int) -> None:
    exact = rounded(value, decimals)
    if isinstance(exact, Exact):
        assert exact.scale <= decimals
        assert abs(Fraction(exact.value) - value) <= Fraction(1, 2 * 10**decimals)


@pytest.mark.parametrize(
    ("text", "unscaled", "scale"),
    [
        ("8.50", 850, 2),
        ("0.0", 0, 1),
        ("-0.0", 0, 1),
        ("+7", 7, 0),
        (".5", 5, 1),
        ("5.", 5, 0),
        ("1E2", 100, 0),
        ("1.5e-3", 15, 4),
        (" 3.06 ", 306, 2),
        ("0.1234567890000", 123456789, 9),
        ("9223372036854775807", MAX_LONG, 0),
        ("1000000000000.000000000", 10**18, 6),
    ],
)
def test_digits_stay_as_written(text: str, unscaled: int, scale: int) -> None:
    number = parse_number(text)
    assert isinstance(number, Decimal)
    assert as_written(number) == Exact(unscaled, scale)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", RejectReason.MISSING_VALUE),
        ("n/a", RejectReason.NOT_A_NUMBER),
        ("1_000", RejectReason.NOT_A_NUMBER),
        ("1,000", RejectReason.NOT_A_NUMBER),
        ("٣", RejectReason.NOT_A_NUMBER),
        ("0x10", RejectReason.NOT_A_NUMBER),
        ("1" * 65, RejectReason.NOT_A_NUMBER),
        ("NaN", RejectReason.NOT_FINITE),
        ("-inf", RejectReason.NOT_FINITE),
        ("0.30000000000000004", RejectReason.TOO_PRECISE),
        ("1e-999", RejectReason.TOO_PRECISE),
        ("9223372036854775808", RejectReason.TOO_LARGE),
        ("1e999", RejectReason.TOO_LARGE),
        ("-0.1", RejectReason.OUT_OF_RANGE),
    ],
)
def test_a_bad_number_is_refused_by_name(text: str, reason: RejectReason) -> None:
    outcome = normalise(SPEED, v=text)
    assert outcome.record is None
    assert outcome.rejected == (Rejected(7, "v", reason),)


def test_a_decimal_comma_is_read_where_the_mapping_says_so() -> None:
    settings = mapping_with("decimal_mark", ",")
    assert only_value(normalise(settings, v="12,5")).exact == Decimal("12.5")
    assert only_reason(normalise(settings, v="12.5")) is RejectReason.NOT_A_NUMBER


def test_a_marker_of_the_mapping_is_a_missing_value() -> None:
    assert only_reason(normalise(mapping_with("missing", ["-999"]), v="-999")) is RejectReason.MISSING_VALUE


def test_rounding_happens_where_the_mapping_asks_for_it() -> None:
    settings = mapping_with("values.0.decimals", 2)
    assert only_value(normalise(settings, v="0.30000000000000004")).exact == Decimal("0.3")
    assert [only_value(normalise(settings, v=text)).unscaled for text in ("0.125", "0.135")] == [12, 14]


# Units and ranges


@pytest.mark.parametrize(
    ("indicator", "point", "unit", "text", "result", "target"),
    [
        ("LOCAL:TRAFFIC_SPEED", "", "KMH", "1.609344", "1", "HM"),
        ("LOCAL:TEMPERATURE_MAX", "", "FAH", "100", "37.777777778", "CEL"),
        ("EC: ICT: ICT: 1C", "", "C62", "0.875", "87.5", "P1"),
        ("EC: ICT: PS: 1A", "number", "C62", "431", "431", "C62"),
        ("EN: EN: AQ: 1C", "no2", "ppb", "10", "19", "GQ"),
        ("EN: EN: AQ: 1C", "so2", "61", "10", "26.2", "GQ"),
        ("EN: EN: AQ: 1C", "o3", "mg/m3", "0.05", "50", "GQ"),
    ],
)
def test_values_arrive_in_the_catalogues_unit(
    indicator: str, point: str, unit: str, text: str, result: str, target: str
) -> None:
    rule = {"column": "v", "indicator": indicator, "unit": unit, "data_point": point}
    value = only_value(normalise(mapping_with("values", [rule]), v=text))
    assert (value.exact, value.unit, value.data_point) == (Decimal(result), target, point)


def test_a_factor_scales_before_the_unit_converts() -> None:
    rule = {"column": "v", "indicator": "LOCAL:WATER_FLOW", "unit": "MQH", "factor": "3.6"}
    assert only_value(normalise(mapping_with("values", [rule]), v="25")).exact == 25


@pytest.mark.parametrize(
    ("text", "is_good"), [("0", True), ("100", True), ("100.01", False), ("-0.01", False)]
)
def test_the_range_of_the_definition_is_inclusive_and_enforced(text: str, is_good: bool) -> None:
    rule = {"column": "v", "indicator": "LOCAL:TRAFFIC_OCCUPANCY", "unit": "P1"}
    outcome = normalise(mapping_with("values", [rule]), v=text)
    assert (outcome.record is not None) == is_good
    assert is_good or only_reason(outcome) is RejectReason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("furlong", RejectReason.UNKNOWN_UNIT),
        ("", RejectReason.UNKNOWN_UNIT),
        ("KGM", RejectReason.UNIT_MISMATCH),
    ],
)
def test_a_unit_given_per_row_is_checked_per_row(unit: str, reason: RejectReason) -> None:
    rule = {"column": "v", "indicator": "LOCAL:TRAFFIC_SPEED", "unit_column": "u"}
    settings = mapping_with("values", [rule])
    assert only_value(normalise(settings, v="1.609344", u="km/h")).exact == 1
    assert only_reason(normalise(settings, v="1", u=unit)) is reason


def test_a_bad_value_does_not_take_its_neighbour_with_it() -> None:
    rules = [*SPEED["values"], {"column": "o", "indicator": "LOCAL:TRAFFIC_OCCUPANCY", "unit": "P1"}]
    outcome = normalise(mapping_with("values", rules), v="60", o="oops")
    assert outcome.record is not None
    assert [value.indicator for value in outcome.record.values] == ["LOCAL:TRAFFIC_SPEED"]
    assert outcome.rejected == (Rejected(7, "o", RejectReason.NOT_A_NUMBER),)


def test_rows_of_another_site_are_skipped_not_refused() -> None:
    settings = mapping_with("keep", {"road": ["A1"]})
    assert normalise(settings, road="A2", v="oops") == Outcome(skipped=True)
    assert normalise(settings, road="A1").record is not None


# Times


@given(
    ANY_TIME, st.sampled_from(["iso8601", "epoch_s", "epoch_ms", "%Y-%m-%d %H:%M"]), st.sampled_from(DstRule)
)
def test_any_text_is_a_time_in_bounds_or_a_reason(text: str, form: str, dst: DstRule) -> None:
    when = parse_time(text, form, ROME, dst)
    assert isinstance(when, RejectReason) or 0 <= when.time_ms <= MAX_TIME_MS


@given(ANY_NUMBER, st.sampled_from(["epoch_s", "epoch_ms"]))
def test_any_text_is_an_epoch_time_in_bounds_or_a_reason(text: str, form: str) -> None:
    when = parse_time(text, form, None, DstRule.BEFORE)
    assert isinstance(when, RejectReason) or 0 <= when.time_ms <= MAX_TIME_MS


@given(st.datetimes(min_value=DAY_ONE, max_value=LAST_DAY), st.timezones())
def test_a_time_with_offset_is_the_instant_it_names(naive: datetime, zone: ZoneInfo) -> None:
    aware = naive.replace(tzinfo=zone)
    when = parse_time(aware.isoformat(), "iso8601", None, DstRule.REJECT)
    offset = aware.utcoffset()
    assert offset is not None
    assert when == Instant((naive - offset - EPOCH) // timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2022-03-20T11:00:00+01:00", "iso8601", gmt(2022, 3, 20, 10)),
        ("2022-05-16T22:00:00+02:00", "iso8601", gmt(2022, 5, 16, 20)),
        ("2022-07-01 12:00", "%Y-%m-%d %H:%M", gmt(2022, 7, 1, 10)),
        ("2022-01-01 12:00", "%Y-%m-%d %H:%M", gmt(2022, 1, 1, 11)),
        ("1.5", "epoch_s", 1500),
        ("1500.9", "epoch_ms", 1500),
        ("2022-01-01T00:00:00.123999Z", "iso8601", gmt(2022, 1, 1) + 123),
        ("9999-12-31T23:59:59.999Z", "iso8601", MAX_TIME_MS),
        ("1970-01-01T00:00:00Z", "iso8601", 0),
    ],
)
def test_a_time_becomes_gmt_milliseconds(text: str, form: str, expected: int) -> None:
    assert parse_time(text, form, ROME, DstRule.BEFORE) == Instant(expected)


@pytest.mark.parametrize(
    ("text", "form", "reason"),
    [
        ("", "iso8601", RejectReason.MISSING_TIME),
        ("yesterday", "iso8601", RejectReason.BAD_TIME),
        ("2022-02-30", "iso8601", RejectReason.BAD_TIME),
        ("2022-01-01 25:00", "%Y-%m-%d %H:%M", RejectReason.BAD_TIME),
        ("noon", "epoch_s", RejectReason.BAD_TIME),
        ("0001-01-01T00:00:00+14:00", "iso8601", RejectReason.TIME_OUT_OF_RANGE),
        ("1969-12-31T23:59:59Z", "iso8601", RejectReason.TIME_OUT_OF_RANGE),
        ("9999-12-31T23:59:59-14:00", "iso8601", RejectReason.TIME_OUT_OF_RANGE),
        ("-1", "epoch_ms", RejectReason.TIME_OUT_OF_RANGE),
        ("1e400", "epoch_s", RejectReason.TIME_OUT_OF_RANGE),
    ],
)
def test_a_bad_time_is_refused_by_name(text: str, form: str, reason: RejectReason) -> None:
    assert parse_time(text, form, ROME, DstRule.BEFORE) is reason


def test_a_local_time_without_zone_is_uncertain() -> None:
    assert parse_time("2022-01-01T00:00", "iso8601", None, DstRule.BEFORE) is RejectReason.UNCERTAIN_TIME


@pytest.mark.parametrize(
    ("text", "dst", "hour"),
    [
        ("2022-10-30T02:30", "before", (2022, 10, 30, 0, 30)),
        ("2022-10-30T02:30", "after", (2022, 10, 30, 1, 30)),
        ("2022-03-27T02:30", "before", (2022, 3, 27, 1, 30)),
        ("2022-03-27T02:30", "after", (2022, 3, 27, 0, 30)),
    ],
)
def test_a_reading_inside_a_clock_change_follows_the_rule_and_says_so(
    text: str, dst: str, hour: tuple[int, int, int, int, int]
) -> None:
    outcome = normalise(mapping_with("time.dst", dst), t=text)
    assert outcome.record is not None
    assert outcome.record.time_ms == gmt(*hour)
    assert outcome.record.extending.quality is QualityCode.ASSUMPTION_ESTIMATE


@pytest.mark.parametrize("text", ["2022-10-30T02:30", "2022-03-27T02:30"])
def test_a_reading_inside_a_clock_change_can_be_refused(text: str) -> None:
    assert only_reason(normalise(mapping_with("time.dst", "reject"), t=text)) is RejectReason.UNCERTAIN_TIME


@pytest.mark.parametrize("text", ["2022-10-30T02:30+02:00", "2022-10-30T01:59", "2022-10-30T03:00"])
def test_a_certain_time_keeps_the_sites_quality(text: str) -> None:
    outcome = normalise(SPEED, t=text)
    assert outcome.record is not None
    assert outcome.record.extending.quality is QualityCode.ACCURATE_MEASUREMENT


def test_an_assumed_time_never_makes_a_bad_quality_better() -> None:
    outcome = normalise(mapping_with("quality", "not_traceable"), t="2022-10-30T02:30")
    assert outcome.record is not None
    assert outcome.record.extending.quality is QualityCode.NOT_TRACEABLE


# Settings


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sensor", None, "mapping.sensor: is missing"),
        ("sensor", "two words", "mapping.sensor: .*without spaces"),
        ("quality", "good", "mapping.quality: is 'good'; choose one of 'accurate_measurement'"),
        ("colour", "red", "mapping.colour: is not a setting; the ones known here are"),
        ("delimiter", "x", "mapping.delimiter: .*choose one of"),
        ("finished", "yes", "mapping.finished: .*true or false"),
        ("missing", "NA", "mapping.missing: must be a list"),
        ("time", "t", "mapping.time: must be a table"),
        ("time.column", None, "mapping.time.column: is missing"),
        ("time.format", "%H:%M", "mapping.time.format: .*pattern with %Y"),
        ("time.format", "%Q", "mapping.time.format: "),
        ("time.format", "%Y-%m-%m", "mapping.time.format: .*pattern with %Y"),
        ("time.zone", "Mars/Olympus", "mapping.time.zone: .*America/Chicago"),
        ("time.zone", "../etc", "mapping.time.zone: "),
        ("time.dst", "guess", "mapping.time.dst: .*'before', 'after', 'reject'"),
        ("values", [], r"mapping.values: needs 1 to 1024 entries; add one \[\[mapping.values\]\]"),
        ("values", "v", "mapping.values: must be a list of tables"),
        ("values", SPEED["values"] * 2, "mapping.values: two entries feed the same"),
        ("values.0.indicator", "LOCAL:NOPE", r"mapping.values\[0\].indicator: .*catalogue does not have"),
        ("values.0.data_point", "x", r"mapping.values\[0\].data_point: .*leave the key out"),
        ("values.0.unit", "furlong", r"mapping.values\[0\].unit: .*'HM'"),
        ("values.0.unit", "KGM", r"mapping.values\[0\].unit: 'KGM' does not convert to 'HM'"),
        ("values.0.unit", None, r"mapping.values\[0\].unit: or unit_column must be given"),
        (
            "values.0.unit_column",
            "u",
            r"mapping.values\[0\].unit: or unit_column must be given, and not both",
        ),
        ("values.0.factor", "0", r"mapping.values\[0\].factor: .*other than 0"),
        ("values.0.factor", 0.001, r"mapping.values\[0\].factor: must be text in quotes"),
        ("values.0.decimals", 10, r"mapping.values\[0\].decimals: .*from 0 to 9"),
    ],
)
def test_a_wrong_setting_names_its_key_and_the_remedy(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        read_mapping(mapping_with(path, value))


def test_a_pattern_without_zone_asks_for_one() -> None:
    settings = mapping_with("time", {"column": "t", "format": "%Y-%m-%d"})
    with pytest.raises(ConfigError, match=r"^mapping.time.zone: is missing; name the zone"):
        read_mapping(settings)


@settings(deadline=None)
@given(st.from_regex(r"[+-]?[0-9]{1,10}(\.[0-9]{0,10})?", fullmatch=True))
def test_a_plain_number_keeps_the_digits_that_any_number_keeps(text: str) -> None:
    number = parse_number(text)
    assert isinstance(number, Decimal)
    assert parse_plain(text) in (None, as_written(number))


@pytest.mark.parametrize("text", ["", "-", ".", "1e3", " 1", "1 ", "\u0661", "1_0", "1.2.3", "+-1"])
def test_what_is_no_plain_number_is_left_to_the_general_reader(text: str) -> None:
    assert parse_plain(text) is None
