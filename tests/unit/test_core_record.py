"""The unified KPI record: its extending part may be empty (Y.4907 Table 10-1, Length 0), down to rows and back."""

import json
from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.record import (
    Extending,
    KpiValue,
    QualityCode,
    UnifiedRecord,
    decode_record,
    encode_record,
)
from pipeline.core.storage import NOT_STATED, observations
from schemas import schema
from tests.vectors.core_world import FOLDER

VALUES = (KpiValue("LOCAL:TRAFFIC_SPEED", "", -246, 2, "HM"), KpiValue("LOCAL:FLOW", "out", 0, 0, "MQH"))
ADDRESSES = pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])


def record(address: str = "fd00::1", extending: Extending | None = None) -> UnifiedRecord:
    return UnifiedRecord(SiteName("US", "unlocode:USMES", parse_site_id(address)), 1, VALUES, extending)


def with_extending(part: bytes) -> bytes:
    """The stored record with another extending part."""
    raw = bytes.fromhex(json.loads((FOLDER / "core_record.json").read_text())["raw"])
    fields: Any = avro.decode(schema("UnifiedRecord"), raw)
    return avro.encode(schema("UnifiedRecord"), fields | {"extending": part})


@ADDRESSES
def test_a_record_with_an_empty_extending_part_goes_round(address: str) -> None:
    encoded = encode_record(record(address))
    assert encoded[-1:] == b"\0"
    assert decode_record(encoded) == record(address)


def test_an_empty_part_is_another_than_one_with_empty_texts() -> None:
    filled = record(extending=Extending("", QualityCode.NOT_TRACEABLE, ""))
    assert decode_record(encode_record(filled)) == filled
    assert encode_record(filled) != encode_record(record())


def test_the_stored_record_without_its_part_decodes_and_encodes_to_the_same_bytes() -> None:
    raw = with_extending(b"")
    found = decode_record(raw)
    assert found is not None
    assert found.extending is None
    assert encode_record(found) == raw


@pytest.mark.parametrize("part", [b"\0", b"\0\0\0", b"\0\x0e\0", b"junk"])
def test_a_part_that_is_neither_empty_nor_an_extending_record_is_refused(part: bytes) -> None:
    """``00 00 00`` is one of quality 0, which rows alone use."""
    assert decode_record(with_extending(part)) is None


def test_observations_of_an_empty_part_state_nothing() -> None:
    found = observations([record()])
    assert [(item.sensor, item.quality, item.source) for item in found] == [("", NOT_STATED, "")] * 2
