"""Blocks: header, entries, leaves, encodings and the places of bytes inside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from struct import Struct
from typing import Any

from pipeline.core import avro
from pipeline.core.merkle import leaf_hash
from pipeline.core.strict_reader import CertifiedParts, read_certified
from schemas import schema

HEADER_VERSION = 1
MAX_CERTIFIED_BYTES = 900 * 1000
MAX_HEADER_BYTES = 4096
_LEAF_HEAD = Struct(">BQQ")
_HEADER = schema("Header")
_BLOCK = schema("Block")
CERTIFIED_BLOCK = schema("CertifiedBlock")
_HASH_PREFIX = b"bkdms/block/v1\x00"


class Kind(IntEnum):
    """Kind of a leaf; its first byte, so that no kind can pass for another."""

    PACKET = 1
    CONTROL = 2
    HEADER = 3


_ENTRY_KINDS = {int(kind): kind for kind in (Kind.PACKET, Kind.CONTROL)}


@dataclass(frozen=True, slots=True)
class LogSource:
    """Range [first, next) of the chain log that a block consumed."""

    incarnation: int
    topic: str
    partition: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Header:
    """Block header; times are broker times in milliseconds, hashes have 32 bytes."""

    version: int
    rules_version: int
    chain: bytes
    chain_id: str
    height: int
    period_start: int
    period_end: int
    part: int
    previous_hash: bytes
    first_index: int
    entry_count: int
    entries_root: bytes
    source: LogSource
    log_digest: bytes
    contract_hash: bytes

    @property
    def tree_size(self) -> int:
        """Size of the tree after the block: its entries and its header."""
        return self.first_index + self.entry_count + 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One admitted record: kind, offset and broker time (ms) in the chain log, bytes as received."""

    kind: Kind
    offset: int
    time_ms: int
    payload: bytes

    @property
    def leaf(self) -> bytes:
        """Leaf bytes: kind u8, log offset u64, broker time u64, payload."""
        return leaf_bytes(self.kind, self.offset, self.time_ms, self.payload)

    @property
    def leaf_hash(self) -> bytes:
        """Hash of the leaf, 32 bytes."""
        return leaf_hash(_LEAF_HEAD.pack(self.kind, self.offset, self.time_ms), self.payload)

    @property
    def encoded_size(self) -> int:
        """Size in an encoded block, bytes."""
        length = len(self.payload)
        # One byte for the kind, which is small.
        numbers = 1 + avro.long_size(self.offset) + avro.long_size(self.time_ms)
        return numbers + avro.long_size(length) + length


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its encodings; ``entry_hashes`` are its entries' leaf hashes, where somebody hashed them already."""

    header: Header
    entries: tuple[Entry, ...]
    header_bytes: bytes
    encoded: bytes
    entry_hashes: tuple[bytes, ...] = field(default=(), repr=False, compare=False)
    _leaves: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def hash(self) -> bytes:
        """Block hash, 32 bytes."""
        return block_hash(self.header_bytes)

    @property
    def leaf_hashes(self) -> list[bytes]:
        """Leaf hashes that the block adds to the tree: its entries, then its header."""
        if not self._leaves:  # hashed once, wanted by several
            self._leaves.extend(self.entry_hashes or [entry.leaf_hash for entry in self.entries])
            self._leaves.append(leaf_hash(header_leaf(self.header)))
        return list(self._leaves)

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of each entry's payload inside the encoded block, in order."""
        position = len(self.header_bytes) + avro.long_size(len(self.entries))
        for entry in self.entries:
            position += entry.encoded_size
            yield position - len(entry.payload), len(entry.payload)


def leaf_bytes(kind: Kind, offset: int, time_ms: int, payload: bytes) -> bytes:
    """Return the bytes that a leaf of the tree hashes."""
    return _LEAF_HEAD.pack(kind, offset, time_ms) + payload


def parse_leaf(data: bytes) -> tuple[Kind, int, int, bytes] | None:
    """Return kind, log offset, broker time (ms) and payload of a leaf's bytes, or None where they are none. Total."""
    if len(data) < _LEAF_HEAD.size or not Kind.PACKET <= data[0] <= Kind.HEADER:
        return None
    kind, offset, time_ms = _LEAF_HEAD.unpack_from(data)
    return Kind(kind), offset, time_ms, data[_LEAF_HEAD.size :]


def header_leaf(header: Header) -> bytes:
    """Return the leaf bytes of a header; its offset and time are where the block ends."""
    return leaf_bytes(Kind.HEADER, header.source.next, header.period_end, encode_header(header))


def block_hash(header_bytes: bytes) -> bytes:
    """Return the hash of an encoded header, 32 bytes."""
    return sha256(_HASH_PREFIX + header_bytes).digest()


def _source_fields(source: LogSource) -> dict[str, Any]:
    return {name: getattr(source, name) for name in LogSource.__slots__}


def encode_header(header: Header) -> bytes:
    """Return the encoding of a header."""
    fields = {name: getattr(header, name) for name in Header.__slots__}
    return avro.encode(_HEADER, fields | {"source": _source_fields(header.source)})


def make_block(header: Header, entries: Sequence[Entry], leaf_hashes: Iterable[bytes] = ()) -> Block:
    """Encode header and entries to a block; ``leaf_hashes`` of all entries save hashing them again."""
    header_bytes = encode_header(header)
    encoded = b"".join((header_bytes, _encode_entries(entries)))
    return Block(header, tuple(entries), header_bytes, encoded, tuple(leaf_hashes))


def _encode_entries(entries: Sequence[Entry]) -> bytes:
    """Return the Avro array of a block's entries."""
    if not entries:
        return avro.ARRAY_END
    parts, long_bytes = [avro.long_bytes(len(entries))], avro.long_bytes
    time_ms, time = -1, b""
    for entry in entries:
        if entry.time_ms != time_ms:  # records of one batch have the same
            time_ms, time = entry.time_ms, long_bytes(entry.time_ms)
        payload = entry.payload
        parts += (long_bytes(entry.kind), long_bytes(entry.offset), time, long_bytes(len(payload)), payload)
    parts.append(avro.ARRAY_END)
    return b"".join(parts)


def encode_certified(block: Block, certificate: bytes) -> bytes:
    """Return block and certificate as published; the block's encoding is its prefix."""
    return block.encoded + bytes_value(certificate)


def bytes_value(data: bytes) -> bytes:
    """Return the Avro encoding of a bytes value."""
    return avro.long_bytes(len(data)) + data


def parse_header(data: bytes) -> Header | None:
    """Return the header that ``data`` canonically encodes, or None. Total."""
    if len(data) > MAX_HEADER_BYTES:
        return None
    fields = avro.decode(_HEADER, data)
    return None if fields is None else _header(fields)


def parse_block(encoded: bytes) -> Block | None:
    """Return the block that ``encoded`` canonically encodes, or None. Total."""
    if len(encoded) > MAX_CERTIFIED_BYTES:
        return None
    value = avro.decode(_BLOCK, encoded)
    return None if value is None else _built(value, encoded)


def certified_body(value: bytes | None) -> bytes:
    """Return the certified block in a record of the blocks topic; empty for anything else."""
    if value is None or avro.frame_id(value) != CERTIFIED_BLOCK.id:
        return b""
    return value[avro.FRAME_BYTES :]


def parse_certified(data: bytes) -> tuple[Block, bytes] | None:
    """Return block and certificate that ``data`` canonically encodes, or None. Total."""
    if len(data) > MAX_CERTIFIED_BYTES:
        return None
    parts = read_certified(data)
    if parts is not None:
        return _put_together(parts, data)
    value = avro.decode(CERTIFIED_BLOCK, data)
    if value is None:
        return None
    certificate: bytes = value["certificate"]
    block = _built(value["block"], data[: len(data) - avro.bytes_size(len(certificate))])
    return None if block is None else (block, certificate)


def _built(value: dict[str, Any], encoded: bytes) -> Block | None:
    header = _header(value["header"])
    entries = _entries((e["kind"], e["offset"], e["time"], e["payload"]) for e in value["entries"])
    if header is None or entries is None:
        return None
    return Block(header, entries, encode_header(header), encoded)


def _put_together(parts: CertifiedParts, data: bytes) -> tuple[Block, bytes] | None:
    header, entries = _header(parts.header), _entries(parts.entries)
    if header is None or entries is None:
        return None
    return Block(header, entries, data[: parts.header_end], data[: parts.block_end]), parts.certificate


def _entries(found: Iterable[tuple[int, int, int, bytes]]) -> tuple[Entry, ...] | None:
    entries = []
    for number, offset, time_ms, payload in found:
        kind = _ENTRY_KINDS.get(number)
        if kind is None or offset < 0 or time_ms < 0:
            return None
        entries.append(Entry(kind, offset, time_ms, payload))
    return tuple(entries)


def _header(fields: dict[str, Any]) -> Header | None:
    numbers = [item for item in (*fields.values(), *fields["source"].values()) if isinstance(item, int)]
    if min(numbers) < 0:
        return None
    return Header(**(fields | {"source": LogSource(**fields["source"])}))
