"""Packets and certified blocks straight from their bytes: what the general Avro decoder gives, in a third of its time.

Only encodings that are certainly canonical are read here, because each part has one form that is accepted: shortest
numbers, one block of items, nothing after the end. Anything else is left to the general decoder, which decides; so
this reader can be too strict, never too lax.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

_LAST_SHIFT: Final = 56
"""Numbers of ten bytes, which can overflow, are left to the general decoder."""
_SIGNATURE_BYTES: Final = 64
_CHAIN_END: Final = 33
_KEYS_BYTES: Final = 48
_CACHED_HEADS: Final = 4096


class PacketHead(NamedTuple):
    """The first fields of a packet, by the names of the schema, and how many bytes they take."""

    version: int
    chain: bytes
    country: str
    city: str
    site_id: bytes
    site_key: bytes
    module_id: str
    size: int


class PacketParts(NamedTuple):
    """The fields of a packet but its signature, by the names of the schema; ``recipients`` are pairs."""

    head: PacketHead
    sequence: int
    previous_packet: bytes
    collected_from: int
    collected_to: int
    record_count: int
    suite: int
    digest: bytes
    recipients: tuple[tuple[bytes, bytes], ...]
    encrypted_kpi_data: bytes


class CertifiedParts(NamedTuple):
    """A certified block taken apart: where header and block end, and the rest by the names of the schemas.

    ``entries`` are kind, log offset, broker time and payload of each.
    """

    header: dict[str, Any]
    header_end: int
    entries: list[tuple[int, int, int, bytes]]
    block_end: int
    certificate: bytes


class UnusualError(Exception):
    """Not a form that this reader takes."""


def read_packet(data: bytes) -> PacketParts | None:
    """Return the fields of an encoded packet; None leaves the decision to the caller. Total."""
    try:
        return _packet(data)
    except (UnusualError, IndexError, UnicodeDecodeError):
        return None


def read_certified(data: bytes) -> CertifiedParts | None:
    """Return the parts of an encoded certified block; None leaves the decision to the caller. Total."""
    try:
        return _certified(data)
    except (UnusualError, IndexError, UnicodeDecodeError):
        return None


def _packet(data: bytes) -> PacketParts:
    head = _head(data[: _head_end(data)])
    at = head.size
    sequence, at = read_long(data, at)
    previous, at = data[at : at + 32], at + 32
    collected_from, at = read_long(data, at)
    collected_to, at = read_long(data, at)
    record_count, at = read_long(data, at)
    suite, at = read_long(data, at)
    digest, at = data[at : at + 32], at + 32
    recipients, at = _recipients(data, at)
    encrypted, at = _bytes(data, at)
    # Slices past the end would have come out short: the one length that fits shows that none did.
    if at + _SIGNATURE_BYTES != len(data):
        raise UnusualError
    return PacketParts(
        head,
        sequence,
        previous,
        collected_from,
        collected_to,
        record_count,
        suite,
        digest,
        recipients,
        encrypted,
    )


def _head_end(data: bytes) -> int:
    """Return where the fields end that a site writes in the same way every time, by the lengths of its three texts."""
    at = _CHAIN_END
    at += 1 + (data[at] >> 1)
    at += 1 + (data[at] >> 1) + _KEYS_BYTES
    return at + 1 + (data[at] >> 1)


@lru_cache(maxsize=_CACHED_HEADS)
def _head(data: bytes) -> PacketHead:
    """Return the first fields of a packet, which all packets of a site's module have in common."""
    version, at = read_long(data, 0)
    chain, at = data[at : at + 32], at + 32
    country, at = _text(data, at)
    city, at = _text(data, at)
    site_id, site_key, at = data[at : at + 16], data[at + 16 : at + 48], at + 48
    module_id, at = _text(data, at)
    if at != len(data):
        raise UnusualError
    return PacketHead(version, chain, country, city, site_id, site_key, module_id, at)


def _recipients(data: bytes, at: int) -> tuple[tuple[tuple[bytes, bytes], ...], int]:
    count, at = read_long(data, at)
    if count < 1:
        raise UnusualError
    found: list[tuple[bytes, bytes]] = []
    for _ in range(count):
        key, at = data[at : at + 32], at + 32
        sealed, at = _bytes(data, at)
        found.append((key, sealed))
    return tuple(found), _end(data, at)


def _certified(data: bytes) -> CertifiedParts:
    header, header_end = _header(data)
    count, at = read_long(data, header_end)
    if count < 1:
        raise UnusualError
    entries: list[tuple[int, int, int, bytes]] = []
    for _ in range(count):
        kind, at = read_long(data, at)
        offset, at = read_long(data, at)
        time, at = read_long(data, at)
        payload, at = _bytes(data, at)
        entries.append((kind, offset, time, payload))
    block_end = _end(data, at)
    certificate, at = _bytes(data, block_end)
    if at != len(data):
        raise UnusualError
    return CertifiedParts(header, header_end, entries, block_end, certificate)


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    version, at = read_long(data, 0)
    rules_version, at = read_long(data, at)
    chain, at = data[at : at + 32], at + 32
    chain_id, at = _bytes(data, at)
    height, at = read_long(data, at)
    period_start, at = read_long(data, at)
    period_end, at = read_long(data, at)
    part, at = read_long(data, at)
    previous, at = data[at : at + 32], at + 32
    first_index, at = read_long(data, at)
    entry_count, at = read_long(data, at)
    entries_root, at = data[at : at + 32], at + 32
    source, at = _source(data, at)
    end = at + 64
    fields = {
        "version": version,
        "rules_version": rules_version,
        "chain": chain,
        "chain_id": chain_id.decode(),
        "height": height,
        "period_start": period_start,
        "period_end": period_end,
        "part": part,
        "previous_hash": previous,
        "first_index": first_index,
        "entry_count": entry_count,
        "entries_root": entries_root,
        "source": source,
        "log_digest": data[at : at + 32],
        "contract_hash": data[at + 32 : end],
    }
    return fields, end


def _source(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    incarnation, at = read_long(data, at)
    topic, at = _bytes(data, at)
    partition, at = read_long(data, at)
    first, at = read_long(data, at)
    following, at = read_long(data, at)
    return {
        "incarnation": incarnation,
        "topic": topic.decode(),
        "partition": partition,
        "first": first,
        "next": following,
    }, at


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    byte = data[at]
    at += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at
    number, shift = byte & 127, 0
    while byte > 127:
        byte = data[at]
        at += 1
        shift += 7
        number |= (byte & 127) << shift
    if byte == 0 or shift > _LAST_SHIFT:
        raise UnusualError
    return (number >> 1) ^ -(number & 1), at


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Return a text of less than 64 bytes with its length before it, and where it ends."""
    size = data[at]
    if size & 129:
        raise UnusualError
    end = at + 1 + (size >> 1)
    return data[at + 1 : end].decode(), end


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Return a value with its length before it, and where it ends."""
    size, at = read_long(data, at)
    if size < 0:
        raise UnusualError
    return data[at : at + size], at + size


def _end(data: bytes, at: int) -> int:
    """Step over the end of an array."""
    if data[at]:
        raise UnusualError
    return at + 1
