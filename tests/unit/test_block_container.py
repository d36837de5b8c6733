"""A container file gives blocks only in the form that we write; no other makes the reader work without end."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.write import Writer

from pipeline.adapters.block_container import read_container
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.errors import ConfigError
from tests.fuzz.material import material
from tests.property.test_core_totality import varint

SYNC = bytes(16)


def container(schema: Any, payload: bytes, count: int = 1) -> bytes:
    """Return a container file with one data block."""
    file = BytesIO()
    Writer(file, schema, codec="null", sync_marker=SYNC)
    return file.getvalue() + varint(count) + varint(len(payload)) + payload + SYNC


def nested_schema() -> Any:
    """Return the schema of certified blocks with every named type in place, as it is in files."""
    return fastavro.reader(BytesIO(material().container)).writer_schema


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "blocks.avro"
    path.write_bytes(material().container)
    assert list(read_container(path)) == material().certified


def test_a_schema_that_lets_the_reader_count_is_refused(tmp_path: Path) -> None:
    """An array of nulls takes no bytes: a file of a few bytes could announce 2^62 of them."""
    path, schema = tmp_path / "blocks.avro", json.loads(json.dumps(nested_schema()))
    schema["fields"].append({"name": "more", "type": {"type": "array", "items": "null"}})
    path.write_bytes(container(schema, material().certified[0] + varint(2**62) + b"\0"))
    with pytest.raises(ConfigError, match="other records"):
        list(read_container(path))


def test_a_packed_file_is_refused(tmp_path: Path) -> None:
    path, file = tmp_path / "blocks.avro", BytesIO()
    records = list(fastavro.reader(BytesIO(material().container)))
    fastavro.writer(file, CERTIFIED_BLOCK.parsed, records, codec="deflate")
    path.write_bytes(file.getvalue())
    with pytest.raises(ConfigError, match="packed"):
        list(read_container(path))


def test_a_forged_number_of_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blocks.avro"
    path.write_bytes(container(nested_schema(), material().certified[0], count=2**62))
    found = read_container(path)
    assert next(found) == material().certified[0]
    with pytest.raises(ConfigError, match="damaged after 1"):
        next(found)
