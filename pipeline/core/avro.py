"""Canonical Avro: one value has exactly one accepted encoding.

fastavro alone accepts trailing bytes, over-long integers and more than one block per array,
so a decoded value counts only when encoding it again gives the same bytes. No array item of
our schemas is empty, which bounds what a forged count can cost by the size of the input.
"""

from io import BytesIO
from typing import Any

import fastavro

from pipeline.core.errors import ConfigError
from schemas import Schema

FRAME_BYTES = 5
# Everything that fastavro raises for bytes that encode nothing; its reader indexes past the end of some inputs.
DECODE_ERRORS = (EOFError, ValueError, TypeError, IndexError, OverflowError, KeyError, AttributeError)
ARRAY_END = b"\x00"
_MAGIC = 0
_LONG_BITS = 63
_LONG_END = 1 << _LONG_BITS
_ONE_BYTE_END = 128
_TWO_BYTES_END, _THREE_BYTES_END, _FIVE_BYTES_END, _SIX_BYTES_END = 1 << 14, 1 << 21, 1 << 35, 1 << 42


def require_compiled_reader() -> None:
    """Refuse to run on fastavro's pure Python reader, which reads some integers differently.

    Raises:
        ConfigError: the compiled reader is missing.
    """
    if fastavro.schemaless_reader.__module__ != "fastavro._read":
        raise ConfigError("fastavro has no compiled reader here; install its binary wheel for this platform")


def encode(schema: Schema, value: dict[str, Any]) -> bytes:
    """Return the Avro encoding of ``value``, without frame."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema.parsed, value)
    return out.getvalue()


def decode(schema: Schema, data: bytes) -> dict[str, Any] | None:
    """Return the value that ``data`` canonically encodes, or None if there is none.

    Total: no input raises, whatever its bytes. The caller bounds the size first.
    """
    try:
        value: dict[str, Any] = fastavro.schemaless_reader(BytesIO(data), schema.parsed, None)  # type: ignore[assignment]
        if encode(schema, value) == data:
            return value
    except DECODE_ERRORS:
        return None
    return None


def frame(schema: Schema, body: bytes) -> bytes:
    """Put the Confluent wire format's magic byte and schema id before ``body``."""
    return bytes((_MAGIC,)) + schema.id.to_bytes(4, "big") + body


def frame_id(value: bytes) -> int | None:
    """Return the schema id in front of ``value``, or None where there is no frame."""
    if len(value) < FRAME_BYTES or value[0] != _MAGIC:
        return None
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def unframe(schema: Schema, value: bytes) -> dict[str, Any] | None:
    """Return the canonical value behind a frame of exactly this schema, or None."""
    if frame_id(value) != schema.id:
        return None
    return decode(schema, value[FRAME_BYTES:])


def long_size(number: int) -> int:
    """Return how many bytes Avro takes for a non-negative ``number``."""
    return (number.bit_length() + 7) // 7


def long_bytes(number: int) -> bytes:
    """Return the encoding of a 64-bit number.

    Raises:
        OverflowError: it has more bits.
    """
    if not -_LONG_END <= number < _LONG_END:
        raise OverflowError(f"{number} does not fit into 64 bits")
    rest = (number << 1) ^ (number >> _LONG_BITS)
    if rest < _ONE_BYTE_END:
        return bytes((rest,))
    # The lengths that numbers of values, and times of our day, have; written out, since every value has both.
    if rest < _TWO_BYTES_END:
        return bytes((rest & 127 | 128, rest >> 7))
    if rest < _THREE_BYTES_END:
        return bytes((rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14))
    if _FIVE_BYTES_END <= rest < _SIX_BYTES_END:
        low, high = rest & 0x1FFFFF, rest >> 21
        return bytes(
            (
                low & 127 | 128,
                low >> 7 & 127 | 128,
                low >> 14 | 128,
                high & 127 | 128,
                high >> 7 & 127 | 128,
                high >> 14,
            )
        )
    out = bytearray()
    while rest >= _ONE_BYTE_END:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def text_bytes(text: str) -> bytes:
    """Return the encoding of a text: its length in bytes, then its bytes."""
    data = text.encode()
    return long_bytes(len(data)) + data


def bytes_size(length: int) -> int:
    """Return how many bytes Avro takes for a bytes value of that length."""
    return long_size(length) + length
