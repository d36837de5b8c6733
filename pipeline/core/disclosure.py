"""Disclosure of single records of a packet: bytes, salt and path to the packet's digest, nothing of the neighbours.

Salts come from a seed that stays sealed, so a disclosed record tells nothing of those beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.merkle import inclusion_path, is_included, root_of
from pipeline.core.names import site_id_text
from pipeline.core.packet import Opened, Packet, leaf_salt, record_context, record_leaf
from pipeline.core.record import UnifiedRecord, decode_record
from pipeline.core.state import Site
from pipeline.core.storage import observations, record_mismatch


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One record of a packet: its index, encoded bytes, salt (32 bytes), and path to the packet's digest."""

    index: int
    record: bytes
    salt: bytes
    path: tuple[bytes, ...]


def disclose(packet: Packet, opened: Opened, indexes: Iterable[int]) -> tuple[Disclosed, ...]:
    """Return records of an opened packet, in order of their indexes, each once.

    Raises:
        ValueError: the packet has no such record.
    """
    chosen = sorted(set(indexes))
    if chosen and not 0 <= chosen[0] <= chosen[-1] < len(opened.records):
        raise ValueError(f"the packet has records 0 to {len(opened.records) - 1}")
    context = _context(packet)
    leaves = [
        record_leaf(context, i, leaf_salt(opened.seed, i), record) for i, record in enumerate(opened.records)
    ]

    def node(level: int, index: int) -> bytes:
        return root_of(leaves[index << level : (index + 1) << level])

    return tuple(
        Disclosed(
            i, opened.records[i], leaf_salt(opened.seed, i), tuple(inclusion_path(i, len(leaves), node))
        )
        for i in chosen
    )


def check_disclosed(packet: Packet, site: Site, item: Disclosed) -> UnifiedRecord | str:
    """Return a record that is in the packet and fits what its site signed outside and was granted.

    Else what is wrong with it, for people. Total.
    """
    count = packet.record_count
    leaf = record_leaf(_context(packet), min(item.index, count), item.salt, item.record)
    if not is_included(leaf, item.index, count, item.path, packet.digest):
        return "not in the packet"
    record = decode_record(item.record)
    if record is None:
        return "no unified KPI record"
    mismatch = record_mismatch(packet, site, record)
    return record if mismatch is None else mismatch.replace("_", " ")


def records_json(disclosed: Sequence[tuple[int, UnifiedRecord]]) -> list[dict[str, Any]]:
    """Return disclosed records (index, record) as JSON values; times in GMT milliseconds, values exact."""
    return [
        {
            "index": index,
            "site_id": site_id_text(record.site.site_id),
            "time": record.time_ms,
            "values": [
                {
                    "indicator": value.indicator,
                    "data_point": value.data_point,
                    "exact": value.exact,
                    "unit": value.unit,
                    "sensor": value.sensor,
                    "quality": value.quality,
                    "source": value.source,
                }
                for value in observations([record])
            ],
        }
        for index, record in disclosed
    ]


def _context(packet: Packet) -> bytes:
    return record_context(
        packet.chain, packet.site.site_id, packet.site_key, packet.sequence, packet.record_count
    )
