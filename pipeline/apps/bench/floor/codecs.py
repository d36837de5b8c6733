"""Primitives of encoding: Avro by the compiled library, and by our own ways where they are cheaper; rows of a source.

A stage's list takes whichever way is cheapest, so that a slow library does not raise the floor.
"""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from io import BytesIO
from typing import Any, Final

import fastavro

from pipeline.apps.bench.floor.shape import Shape
from pipeline.apps.bench.floor.timing import Primitive, local
from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, parse_certified
from pipeline.core.packet import parse_packet
from pipeline.core.record import decode_record, encode_record
from pipeline.core.storage import OBSERVATIONS, publication
from schemas import Schema, schema

_PACKET: Final = schema("Packet")
_RECORD: Final = schema("UnifiedRecord")
_RECORD_ARRAY: Final = fastavro.parse_schema({"type": "array", "items": "bytes"})
_SOURCE_ROW: Final = "2026-11-21T00:00:00+00:00,sensor-1,43.21"
_SOURCE_ROWS: Final = 100


def encoded(schema_: Schema, value: dict[str, Any]) -> bytes:
    """Return the frame and encoding of a value, as topics hold it."""
    return avro.frame(schema_, avro.encode(schema_, value))


def _decoding(parsed: Any, data: bytes) -> Callable[[], object]:
    return lambda: fastavro.schemaless_reader(BytesIO(data), parsed, None)


def _encoding(parsed: Any, value: Any) -> Callable[[], object]:
    def encode() -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        return out.getvalue()

    return encode


def _both(name: str, schema_: Schema, data: bytes) -> Iterator[Primitive]:
    value = fastavro.schemaless_reader(BytesIO(data), schema_.parsed, None)
    yield local(f"{name} encode by fastavro", _encoding(schema_.parsed, value))
    yield local(f"{name} decode by fastavro", _decoding(schema_.parsed, data))


def of_shape(shape: Shape) -> Iterator[Primitive]:
    """Yield every primitive of this kind that a stage needs for packets of a shape."""
    raw, record, coded = shape.packet.raw, shape.records[0], shape.record_bytes[0]
    yield from _both("packet", _PACKET, raw)
    yield local("packet decode by our reader", partial(parse_packet, raw))
    yield from _both("record", _RECORD, coded)
    yield local("record encode by our writer", partial(encode_record, record))
    yield local("record decode by our reader", partial(decode_record, coded))
    array, listed = shape.row_array, shape.record_bytes
    yield local("records array encode", _encoding(_RECORD_ARRAY, listed))
    yield local("records array decode", _decoding(_RECORD_ARRAY, array))
    yield from _both("block", CERTIFIED_BLOCK, shape.block)
    yield local("block decode by our reader", partial(parse_certified, shape.block))
    yield local("observations message encode by fastavro", _encoding(OBSERVATIONS.parsed, shape.message))
    found = shape.observations
    yield local("observations message encode by our writer", partial(publication, shape.stored, found))
    yield local("source row", _read_rows, _SOURCE_ROWS)


def _read_rows() -> list[tuple[float, str, Decimal]]:
    """Read rows of a source: split, time and value understood."""
    return [
        (datetime.fromisoformat(time).astimezone(UTC).timestamp(), sensor, Decimal(value))
        for time, sensor, value in csv.reader([_SOURCE_ROW] * _SOURCE_ROWS)
    ]
