"""Unified records and names: ranges of every field, and exact values."""

from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import avro
from pipeline.core.names import (
    MAX_LONG,
    MAX_TIME_MS,
    SiteName,
    is_country,
    is_text,
    parse_site_id,
    site_id_text,
)
from pipeline.core.record import (
    MAX_RECORD_BYTES,
    Extending,
    KpiValue,
    QualityCode,
    UnifiedRecord,
    decode_generally,
    decode_record,
    encode_generally,
    encode_record,
)
from schemas import schema
from tests.support.world import NOW_MS, site_name

TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
LONGS = st.integers(-MAX_LONG, MAX_LONG)
VALUES = st.builds(KpiValue, TEXTS, TEXTS | st.just(""), LONGS, st.integers(0, 9), TEXTS)
RECORDS = st.builds(
    UnifiedRecord,
    st.builds(SiteName, st.just("IT"), TEXTS, st.binary(min_size=16, max_size=16)),
    st.integers(0, MAX_TIME_MS),
    st.lists(VALUES, min_size=1, max_size=5).map(tuple),
    st.none() | st.builds(Extending, TEXTS | st.just(""), st.sampled_from(QualityCode), TEXTS | st.just("")),
)
GOOD: dict[str, Any] = {
    "country": "US",
    "city": "unlocode:USMES",
    "site_id": site_name(1).site_id,
    "time": NOW_MS,
    "kpi_data": [
        {"indicator": "EC: ICT: ICT: 1C", "data_point": "", "unscaled": 1, "scale": 0, "unit": "P1"}
    ],
    "extending": avro.encode(schema("Extending"), {"sensor": "s", "quality": 1, "source": ""}),
}


@given(RECORDS)
def test_a_record_is_read_back(record: UnifiedRecord) -> None:
    assert decode_record(encode_record(record)) == record


@given(RECORDS)
def test_the_short_way_encodes_as_the_general_codec_does(record: UnifiedRecord) -> None:
    assert encode_record(record) == encode_generally(record)


@given(RECORDS, st.data())
def test_the_short_way_decodes_damaged_bytes_as_the_general_codec_does(
    record: UnifiedRecord, data: st.DataObject
) -> None:
    encoded = encode_record(record)
    first = data.draw(st.integers(0, len(encoded) - 1))
    removed = data.draw(st.integers(0, 3))
    damaged = encoded[:first] + data.draw(st.binary(max_size=4)) + encoded[first + removed :]
    assert decode_record(damaged) == decode_generally(damaged)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_is_encoded_as_the_general_codec_does(number: int) -> None:
    out = BytesIO()
    schemaless_writer(out, "long", number)
    assert avro.long_bytes(number) == out.getvalue()


@given(LONGS, st.integers(0, 9))
def test_a_value_is_exact(unscaled: int, scale: int) -> None:
    value = KpiValue("i", "", unscaled, scale, "u")
    assert value.exact * 10**scale == Decimal(unscaled)
    assert value.exact_text == f"{value.exact:f}"


def extending(**changes: Any) -> bytes:
    """Return an encoded extending part."""
    return avro.encode(schema("Extending"), {"sensor": "s", "quality": 1, "source": ""} | changes)


def value(**changes: Any) -> list[dict[str, Any]]:
    """Return KPI data of one value with something changed."""
    return [GOOD["kpi_data"][0] | changes]


def test_the_record_that_is_changed_here_is_good() -> None:
    assert decode_record(avro.encode(schema("UnifiedRecord"), GOOD)) is not None


OUT_OF_RANGE: list[tuple[str, Any]] = [
    *(("country", text) for text in ("", "us", "USA", "ÄÖ", "U\0")),
    *(("city", text) for text in ("", "two words", "x" * 65, "a\tb", "\x7f", "é", "\u2066")),
    *(("time", number) for number in (-1, MAX_TIME_MS + 1, MAX_LONG, -(2**63))),
    ("kpi_data", []),
    ("kpi_data", GOOD["kpi_data"] * 1025),
    *(("kpi_data", value(indicator=text)) for text in ("", " ", "a  b", "a ", "x" * 65, "é", "a\0")),
    *(("kpi_data", value(data_point=text)) for text in ("a b", "x" * 65, "é")),
    *(("kpi_data", value(unit=text)) for text in ("", "a b", "é")),
    *(("kpi_data", value(scale=number)) for number in (-1, 10, MAX_LONG)),
    ("kpi_data", value(unscaled=-(2**63))),
    *(("extending", extending(quality=number)) for number in (0, 7, -1, MAX_LONG)),
    *(("extending", extending(sensor=text)) for text in ("a b", "x" * 65, "\n")),
    *(("extending", extending(source=text)) for text in ("a b", "x" * 65, "é")),
    ("extending", extending() + b"\0"),
    ("extending", extending()[:-1]),
]


@pytest.mark.parametrize(("field", "changed"), OUT_OF_RANGE, ids=[str(n) for n in range(len(OUT_OF_RANGE))])
def test_a_field_out_of_range_makes_no_record(field: str, changed: Any) -> None:
    assert decode_record(avro.encode(schema("UnifiedRecord"), GOOD | {field: changed})) is None


def test_a_record_over_its_limit_is_not_read() -> None:
    assert decode_record(bytes(MAX_RECORD_BYTES + 1)) is None


@given(st.text(max_size=70))
def test_text_fields_hold_printable_ascii_without_spaces(text: str) -> None:
    printable = all("!" <= symbol <= "~" for symbol in text)
    assert is_text(text) == (printable and 1 <= len(text) <= 64)
    assert is_text(text, empty=True) == (printable and len(text) <= 64)


@given(st.text(max_size=4))
def test_a_country_is_two_capital_letters(text: str) -> None:
    assert is_country(text) == (len(text) == 2 and all("A" <= symbol <= "Z" for symbol in text))


@given(
    st.binary(min_size=16, max_size=16)
    | st.binary(min_size=4, max_size=4).map(lambda v: bytes(10) + b"\xff\xff" + v)
)
def test_a_site_identifier_is_read_back_from_its_text(site_id: bytes) -> None:
    assert parse_site_id(site_id_text(site_id)) == site_id


def test_an_ipv4_identifier_is_written_as_ipv4() -> None:
    assert site_id_text(bytes(10) + b"\xff\xff\x0a\0\0\1") == "10.0.0.1"
    assert parse_site_id("10.0.0.1") == parse_site_id("::ffff:10.0.0.1")
    assert site_id_text(bytes(15) + b"\1") == "::1"


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "g::1", "10.0.0.1/8", "::1::", "1.2.3.4.5"])
def test_other_text_is_no_site_identifier(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_site_id(text)
