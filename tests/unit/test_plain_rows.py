"""The short way for usual rows gives what the general way gives, whatever the rows are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connectors import plain_rows
from connectors.mapping import TimeRule, read_mapping
from connectors.parsing import ISO, DstRule
from connectors.plain_rows import Hours
from connectors.records import Batch
from connectors.sources import csv_source
from connectors.sources.base import START
from connectors.sources.csv_rows import plain_lines
from connectors.sources.csv_source import CsvSource
from pipeline.core.errors import ConfigError

SPEED: dict[str, Any] = {"column": "v", "indicator": "LOCAL:TRAFFIC_SPEED", "unit": "HM"}
SETTINGS: dict[str, Any] = {
    "sensor": "s1",
    "source": "test",
    "quality": "accurate_measurement",
    "missing": ["-999"],
    "time": {"column": "t", "zone": "Europe/Rome"},
    "values": [SPEED],
    "keep": {"who": ["me", "I"]},
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"keep": {}},
    {"delimiter": ";", "decimal_mark": ","},
    {"decimal_mark": ","},
    {"keep": {"v": ["1", "7.5"]}},
    {"time": {"column": "t", "zone": "Africa/Monrovia", "dst": "reject"}},
    {"time": {"column": "t"}},
    {"values": [SPEED | {"decimals": 1}]},
    {"values": [SPEED, SPEED | {"column": "w", "indicator": "LOCAL:TRAFFIC_OCCUPANCY", "unit": "P1"}]},
    {"values": [SPEED | {"indicator": "SC: SH: SA: 3A", "unit": "C62"}]},
    {"encoding": "iso-8859-1"},
]
HOUR = st.sampled_from(
    [
        "2026-03-29T02:",
        "2026-10-25 02:",
        "2022-01-01T11:",
        "1972-01-07T00:",
        "1969-12-31T23:",
        "2022-W01-1T05:",
    ]
)
WITHIN = st.one_of(
    st.sampled_from(["00:00", "44:29", "44:30", "59:59", "60:00", "7:5"]),
    st.from_regex(r"[0-5][0-9]:[0-5][0-9]", fullmatch=True),
)
OFFSET = st.sampled_from(["", "", "Z", "+01:00", "-00:30:15", ".25", " ", "x"])
TIME = st.one_of(
    st.builds(lambda hour, within, offset: hour + within + offset, HOUR, WITHIN, OFFSET),
    st.sampled_from(["2022W01T00+00:00:05", "20220101T110000Z", "nope", ""]),
)
NUMBER = st.one_of(
    st.from_regex(r"[+-]?[0-9]{1,10}([.,][0-9]{0,10})?", fullmatch=True),
    st.sampled_from(["", " 7", "-999", "1e3", "\u0661", "1_0", "250.000", "1.0", "100", "nan", "\x1c1"]),
)
ROW = st.one_of(
    st.tuples(TIME, NUMBER, st.sampled_from(["me", "I", "you", "\u00e9", '"q"']), NUMBER),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=5).map(tuple),
)
END = st.sampled_from(["\n", "\n", "\r\n", "\r\r\n"])


def outcome(read: Callable[[], Batch]) -> Batch | str:
    try:
        return read()
    except ConfigError as error:
        return str(error)


def line_by_line(file: BinaryIO, offset: int, most: int) -> tuple[bytes, int]:
    """Say of the next lines that each has to be read as a row."""
    return b"", plain_lines(file, offset, most)[1]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.sampled_from(CHANGES),
    rows=st.lists(st.tuples(ROW, END), max_size=12),
    limit=st.integers(1, 9),
    final=st.booleans(),
)
@example(changes={}, rows=[(("2022W01T00+00:00:05", "1", "me", "1"), "\n")] * 3, limit=9, final=True)
@example(changes=CHANGES[5], rows=[(("1972-01-07T00:44:59", "1", "me", "1"), "\n")] * 3, limit=9, final=True)
@example(
    changes=CHANGES[2], rows=[(("2022-01-01T11:00:00", "1,5", "me", "1"), "\n")] * 3, limit=9, final=True
)
def test_rows_read_alike_by_either_way(
    tmp_path: Path, changes: dict[str, Any], rows: list[Any], limit: int, *, final: bool
) -> None:
    mapping = read_mapping(SETTINGS | changes)
    lines = [(("t", "v", "who", "w"), "\n"), *rows]
    text = "".join(mapping.delimiter.join(fields) + end for fields, end in lines)
    file = tmp_path / "site.csv"
    file.write_bytes(text.encode("utf-8"))
    short, general, position = CsvSource(file, mapping), CsvSource(file, mapping), START
    for _ in range(len(text) + 2):
        found = outcome(lambda: short.read(position, limit, final=final))  # noqa: B023
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_source, "plain_lines", line_by_line)
            wanted = outcome(lambda: general.read(position, limit, final=final))  # noqa: B023
        assert found == wanted
        if isinstance(found, str) or found.at_end:
            return
        position = found.next_position
    pytest.fail("reading does not come to an end")


def test_usual_rows_take_the_short_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first of an hour, no row of a plain file is read by the general way."""
    file = tmp_path / "site.csv"
    rows = [f"2022-01-01T11:{second // 60:02}:{second % 60:02}Z,{second}.5,me,x\n" for second in range(200)]
    file.write_text("t,v,who,w\n" + "".join(rows), "ascii")
    source = CsvSource(file, read_mapping(SETTINGS))
    asked: list[int] = []
    normalised = source._normaliser.normalise

    def count(row: int, cells: Any) -> Any:
        asked.append(row)
        return normalised(row, cells)

    monkeypatch.setattr(source._normaliser, "normalise", count)
    assert len(source.read(START, 500).records) == 200
    assert asked == [2]


def test_hours_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_rows, "_MOST_HOURS", 4)
    hours = Hours(TimeRule("t", ISO, None, DstRule.BEFORE))
    for day in range(1, 29):
        for _ in range(2):
            start = hours.learn(f"2022-01-{day:02}T11:", "Z")
        assert start == 1_640_995_200_000 + 11 * 3_600_000 + (day - 1) * 86_400_000
        assert len(hours.starts) <= 4
