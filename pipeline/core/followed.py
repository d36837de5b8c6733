"""What stores that follow the blocks know of blocks, entries and sites. Plain data; owns no rule and no I/O."""

from dataclasses import dataclass
from typing import Any

from pipeline.core.names import SiteName
from pipeline.core.replica import Extended


@dataclass(frozen=True, slots=True)
class Applied:
    """A verified block and the offset of its record in the blocks topic."""

    extended: Extended
    kafka_offset: int


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A verified block: header and coordinates, no entries. Offsets and lengths in bytes, hashes raw."""

    height: int
    hash: bytes
    header: bytes
    first_index: int
    entries: int
    tree_size: int
    root: bytes
    block_offset: int
    block_length: int
    certificate: bytes
    certified_first: int
    kafka_offset: int

    @property
    def header_index(self) -> int:
        """Tree index of the block's header."""
        return self.first_index + self.entries


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """An entry of the ledger: where it is, leaf fields, its payload where the view keeps it."""

    height: int
    entry: int
    leaf_index: int
    log_offset: int
    time_ms: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """What the view holds of a site: enrolment, newest key offers and changes of rights (oldest first), last packet."""

    name: SiteName
    active: bool
    enrolment: EntryInfo
    key_offers: tuple[EntryInfo, ...]
    sequence: int
    packet_id: bytes
    packet: EntryInfo | None
    records: tuple[EntryInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """A packet in the platform's store: its row and values as JSON, its bytes, and where its block is in Kafka."""

    document: dict[str, Any]
    packet: bytes
    block_hash: bytes
    kafka_offset: int
