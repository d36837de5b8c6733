"""The CSV source: restartable anywhere, patient with half-written rows, alert to another file in its place."""

import codecs
import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.mapping import read_mapping
from connectors.records import Batch, NormalisedRecord, Rejected, RejectReason
from connectors.samples import sample_sites
from connectors.sources.base import START, Source
from connectors.sources.csv_rows import MAX_ROW_BYTES, RawRow
from connectors.sources.csv_source import CsvSource, fields_of
from pipeline.core.errors import ConfigError, TransientError

HEADER = b"t,v,note\n"
A, B, C = b"2022-01-01T00:00:00Z,1,a\n", b"2022-01-01T00:00:01Z,2,b\n", b"2022-01-01T00:00:02Z,3,c\n"
ROW = st.one_of(
    st.sampled_from(
        [A, B, C, b"\n", b"\r\n", b"2022-01-01T00:00:03Z,4,d\r\n", b'2022-01-01T00:00:04Z,5,"x\ny"\n']
    ),
    st.sampled_from([b"oops\n", b'2022-01-01T00:00:05Z,"6\n', b"nope,7,e\n", b"\xff,\xff,\xff\n"]),
    st.binary(max_size=12).map(lambda data: data + b"\n"),
)
SETTINGS: dict[str, Any] = {
    "sensor": "s1",
    "source": "test",
    "quality": "accurate_measurement",
    "time": {"column": "t"},
    "values": [{"column": "v", "indicator": "LOCAL:TRAFFIC_SPEED", "unit": "HM"}],
}
MAPPING = read_mapping(SETTINGS)


def source(path: Path, **changes: Any) -> CsvSource:
    return CsvSource(path, read_mapping(SETTINGS | changes))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.csv"


def written(file: Path, *parts: bytes) -> CsvSource:
    file.write_bytes(b"".join(parts))
    return source(file)


def numbers(batch: Batch) -> list[int]:
    return [int(record.values[0].exact) for record in batch.records]


def read_all(from_source: Source, limit: int) -> tuple[list[NormalisedRecord], list[Rejected], str]:
    records: list[NormalisedRecord] = []
    rejected: list[Rejected] = []
    position, at_end = START, False
    while not at_end:
        batch = from_source.read(position, limit)
        records += batch.records
        rejected += batch.rejected
        position, at_end = batch.next_position, batch.at_end
    return records, rejected, position


# Restarting


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROW, max_size=20), limit=st.integers(1, 7))
def test_reading_in_pieces_equals_reading_at_once(file: Path, rows: list[bytes], limit: int) -> None:
    file.write_bytes(HEADER + b"".join(rows))
    # Each piece is read by a source that remembers nothing of the one before.
    assert read_all(_Forgetful(file), limit) == read_all(source(file), 10_000)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_a_bundled_file_reads_the_same_in_pieces(limit: int) -> None:
    sample = next(sample for sample in sample_sites() if sample.name == "iowa-electricity-nuclear")
    assert read_all(sample.source(), limit) == read_all(sample.source(), 10_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROW, max_size=10), cut=st.integers(0, 200))
def test_a_growing_file_reads_the_same_as_the_grown_one(file: Path, rows: list[bytes], cut: int) -> None:
    whole = HEADER + b"".join(rows)
    file.write_bytes(whole[:cut])
    try:
        early = source(file).read(START, 10_000)
    except ConfigError:
        pytest.fail("a half-written file is no wrong file")
    file.write_bytes(whole)
    late = source(file).read(early.next_position, 10_000)
    at_once = source(file).read(START, 10_000)
    assert early.records + late.records == at_once.records
    assert early.rejected + late.rejected == at_once.rejected


class _Forgetful:
    """A source made anew for every read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        source(self._path).check()

    def read(self, position: str, limit: int, *, final: bool = False) -> Batch:
        return source(self._path).read(position, limit, final=final)


def test_repeated_timestamps_are_kept(file: Path) -> None:
    assert numbers(written(file, HEADER, A, A, A).read(START, 10)) == [1, 1, 1]


def test_an_empty_batch_at_the_end_keeps_the_position(file: Path) -> None:
    reader = written(file, HEADER, A)
    position = reader.read(START, 10).next_position
    assert reader.read(position, 10) == Batch((), (), position, at_end=True, rows=0, skipped=0)


# Half-written rows


def test_a_row_without_line_end_waits(file: Path) -> None:
    reader = written(file, HEADER, A, B[:-1])
    first = reader.read(START, 10)
    assert (numbers(first), first.at_end) == ([1], True)
    file.write_bytes(HEADER + A + B + C)
    assert numbers(reader.read(first.next_position, 10)) == [2, 3]


def test_a_row_without_line_end_is_read_when_final(file: Path) -> None:
    assert numbers(written(file, HEADER, A, B[:-1]).read(START, 10, final=True)) == [1, 2]


def test_a_row_without_line_end_is_read_where_the_mapping_says_finished(file: Path) -> None:
    file.write_bytes(HEADER + A + B[:-1])
    assert numbers(source(file, finished=True).read(START, 10)) == [1, 2]


@pytest.mark.parametrize("head", [b"", b"t,v", codecs.BOM_UTF8])
def test_a_header_that_is_not_written_yet_waits(file: Path, head: bytes) -> None:
    assert written(file, head).read(START, 10) == Batch((), (), START, at_end=True, rows=0, skipped=0)


def test_a_quoted_line_break_that_is_not_closed_yet_waits(file: Path) -> None:
    reader = written(file, HEADER, A, b'2022-01-01T00:00:01Z,2,"first\n')
    first = reader.read(START, 10)
    assert (numbers(first), first.rejected) == ([1], ())
    file.write_bytes(file.read_bytes() + b'second"\n' + C)
    assert numbers(reader.read(first.next_position, 10)) == [2, 3]


# Forms of CSV


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + HEADER + A + B,
        (HEADER + A + B).replace(b"\n", b"\r\n"),
        HEADER + b"\n" + A + b"\r\n" + B + b"\n\n",
        b'"t", v ,note\n' + A + B,
        b'v,"t",note\n1,"2022-01-01T00:00:00Z","a ""b"", c"\n"2",2022-01-01T00:00:01Z,\xc3\xa9\n',
    ],
    ids=["bom", "crlf", "blank-lines", "quoted-header", "quoted-fields"],
)
def test_usual_forms_of_csv_are_read(file: Path, data: bytes) -> None:
    batch = written(file, data).read(START, 10)
    assert ([record.time_ms for record in batch.records], numbers(batch), batch.rejected) == (
        [1640995200000, 1640995201000],
        [1, 2],
        (),
    )


def test_a_european_spreadsheet_is_read(file: Path) -> None:
    file.write_bytes("Zeit;Größe\n2022-01-01T00:00:00Z;1,5\n".encode("cp1252"))
    values = [{"column": "Größe", "indicator": "LOCAL:TRAFFIC_SPEED", "unit": "HM"}]
    reader = source(
        file, delimiter=";", decimal_mark=",", encoding="cp1252", time={"column": "Zeit"}, values=values
    )
    assert str(reader.read(START, 10).records[0].values[0].exact) == "1.5"


# Bad rows


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2022-01-01T00:00:01Z,2\n", RejectReason.FIELD_COUNT),
        (b"2022-01-01T00:00:01Z,2,b,c\n", RejectReason.FIELD_COUNT),
        (b"2022-01-01T00:00:01Z,2,\xff\n", RejectReason.BAD_ENCODING),
        (b'2022-01-01T00:00:01Z,2,"b"x\n', RejectReason.BAD_QUOTES),
        (b"2022-01-01T00:00:01Z,2,b\rc\n", RejectReason.BAD_QUOTES),
        (b"x" * (MAX_ROW_BYTES + 1) + b"\n", RejectReason.ROW_TOO_LONG),
        (b"x" * (5 * MAX_ROW_BYTES) + b"\n", RejectReason.ROW_TOO_LONG),
        (b"\x00\x01\x02\n", RejectReason.FIELD_COUNT),
    ],
)
def test_a_bad_row_costs_itself_only(file: Path, row: bytes, reason: RejectReason) -> None:
    batch = written(file, HEADER, A, row, C).read(START, 10)
    assert numbers(batch) == [1, 3]
    assert batch.rejected == (Rejected(3, "", reason),)


def test_a_quote_that_never_closes_costs_its_line_only(file: Path) -> None:
    batch = written(file, HEADER, A, b'2022-01-01T00:00:01Z,2,5" pipe\n', C * 4000).read(START, 10_000)
    assert batch.rejected == (Rejected(3, "", RejectReason.BAD_QUOTES),)
    assert numbers(batch) == [1] + [3] * 4000


def test_a_quote_that_never_closes_costs_its_line_only_at_the_final_end(file: Path) -> None:
    batch = written(file, HEADER, b'2022-01-01T00:00:01Z,2,5" pipe\n', C).read(START, 10, final=True)
    assert (numbers(batch), batch.rejected) == ([3], (Rejected(2, "", RejectReason.BAD_QUOTES),))


def test_rejected_rows_are_numbered_by_their_line_in_the_file(file: Path) -> None:
    reader = written(file, HEADER, b'2022-01-01T00:00:00Z,1,"a\nb"\n', b"\n", b"nope,2,b\n", b"oops\n")
    batch = reader.read(START, 10)
    assert [(rejected.row, rejected.field) for rejected in batch.rejected] == [(5, "t"), (6, "")]


# The wrong file


def test_a_shrunk_file_is_refused(file: Path) -> None:
    reader = written(file, HEADER, A, B)
    position = reader.read(START, 10).next_position
    file.write_bytes(HEADER + A)
    with pytest.raises(ConfigError, match="fewer than") as refused:
        reader.read(position, 10)
    assert refused.value.code == "source_replaced"


@pytest.mark.parametrize("data", [HEADER + B + A + C, b"t,v,nota\n" + A + B + C])
def test_a_replaced_file_is_refused(file: Path, data: bytes) -> None:
    reader = written(file, HEADER, A, B)
    position = reader.read(START, 10).next_position
    file.write_bytes(data)
    with pytest.raises(ConfigError, match="no longer holds the bytes already read") as refused:
        reader.read(position, 10)
    assert refused.value.code == "source_replaced"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"time,v\n", "needs exactly one column 't' in its first row, which has 'time', 'v'"),
        (b"t;v;note\n", "correct the mapping or its delimiter"),
        (b"t,v,v\n", "needs exactly one column 'v'"),
        (b"", "is empty"),
        (codecs.BOM_UTF16_LE + "t,v\n".encode("utf-16-le"), "save it as UTF-8"),
        (b"t,v,\xff\n", "no CSV in utf-8"),
    ],
)
def test_a_header_that_does_not_fit_is_named(file: Path, data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        written(file, data).check()


def test_a_missing_file_is_an_error_at_start_and_awaited_later(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        source(file).check()
    with pytest.raises(TransientError, match="cannot be read now"):
        source(file).read(START, 10)


@pytest.mark.parametrize(
    "position", ["x", "csv1:1:2", "csv2:1:2:00", "csv1:-1:2:00", "csv1:a:2:00", "csv1:9:0:00"]
)
def test_a_foreign_position_is_refused(file: Path, position: str) -> None:
    with pytest.raises(ConfigError, match="no position in a CSV file"):
        written(file, HEADER, A).read(position, 10)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=20))
def test_a_row_is_cut_as_the_csv_module_cuts_it(text: str) -> None:
    found = fields_of(RawRow(2, text.encode(), 0, 3), MAPPING)
    try:
        [wanted] = csv.reader([text], strict=True)
    except csv.Error:
        assert found is RejectReason.BAD_QUOTES
    else:
        assert found == wanted
