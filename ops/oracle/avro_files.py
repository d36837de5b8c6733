"""Avro by fastavro alone, with the schema texts of a folder, and the Confluent frame around values in Kafka."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from ops.oracle.input_error import InputError

CERTIFIED_BLOCK_ID: Final = 7
"""Published id of the schema of the blocks topic's values."""
_FRAME_BYTES: Final = 5
_BAD_BYTES: Final = (EOFError, ValueError, OverflowError, IndexError, TypeError, KeyError, MemoryError)


class Schemas:
    """All schemas of a folder of ``.avsc`` files that name one another.

    Raises:
        InputError: the folder has no schemas, or they do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        named: dict[str, Any] = {}
        waiting = sorted(folder.glob("*.avsc"))
        if not waiting:
            raise InputError(f"{folder} holds no .avsc files; name the folder of the Avro schemas")
        while waiting:
            later = [path for path in waiting if not _parse(path, named)]
            if len(later) == len(waiting):
                raise InputError(f"{later[0]} names a type that no file in its folder defines")
            waiting = later
        self._named = named

    def decode(self, name: str, data: bytes) -> dict[str, Any]:
        """Return the value that ``data`` canonically encodes.

        Raises:
            ValueError: it encodes none, or another encoding of the value is the canonical one.
        """
        try:
            value: Any = fastavro.schemaless_reader(BytesIO(data), self._schema(name), None)
            canonical = self.encode(name, value) == data
        except _BAD_BYTES as error:
            raise ValueError(f"no {name}: {error!r}") from None
        if not canonical:
            raise ValueError(f"not the canonical encoding of a {name}")
        found: dict[str, Any] = value
        return found

    def encode(self, name: str, value: Any) -> bytes:
        """Return the encoding of a value."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self._schema(name), value)
        return out.getvalue()

    def _schema(self, name: str) -> Any:
        return self._named[f"bkdms.v1.{name}"]


def unframe(value: bytes, schema_id: int = CERTIFIED_BLOCK_ID) -> bytes:
    """Return what follows the five bytes of the Confluent wire format.

    Raises:
        ValueError: the value has no such frame or another schema id.
    """
    if value[:_FRAME_BYTES] != b"\x00" + schema_id.to_bytes(4, "big"):
        raise ValueError(f"frame is {value[:_FRAME_BYTES].hex()}, not that of schema {schema_id}")
    return value[_FRAME_BYTES:]


def _parse(path: Path, named: dict[str, Any]) -> bool:
    """Add the type of a file to those known, unless it names one that is not known yet."""
    known = dict(named)
    try:
        parsed: Any = fastavro.parse_schema(json.loads(path.read_text("utf-8")), known)
    except UnknownType:
        return False
    except (OSError, ValueError, SchemaParseException) as error:
        raise InputError(f"{path} is no Avro schema: {error!r}") from None
    named.update(known)
    named[parsed["name"]] = parsed
    return True
