"""Tracing: from a tracing code to site, time, block and bytes (Y.4907 10.3), with proof; plain values for the platform.

Owns the two documents: what anybody may see, and what the platform zone adds to it from its store.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.core.block import Block, Kind
from pipeline.core.errors import IntegrityError
from pipeline.core.followed import BlockInfo, StoredPacket
from pipeline.core.merkle import leaf_hash
from pipeline.core.names import site_id_text
from pipeline.core.packet import Packet
from pipeline.core.replica import parse_entry
from pipeline.core.tracing import TracingCode, parse_tracing_code
from pipeline.services.block_source import BlockSource
from pipeline.services.follower import in_thread
from pipeline.services.site_heads import LedgerView


class TraceProblem(StrEnum):
    """Why a code leads to no packet."""

    MISTYPED = "mistyped"
    OTHER_CHAIN = "other_chain"
    NOT_COMMITTED = "not_committed"
    NOT_A_PACKET = "not_a_packet"

    @property
    def advice(self) -> str:
        """What to tell the user."""
        return _ADVICE[self]


_ADVICE = {
    TraceProblem.MISTYPED: "this is no tracing code, or one with a typing error: its check character does not fit",
    TraceProblem.OTHER_CHAIN: "this tracing code is of another chain; use the settings of that chain",
    TraceProblem.NOT_COMMITTED: "nothing is committed at that place (yet)",
    TraceProblem.NOT_A_PACKET: "that place in the ledger holds a control record, not a packet",
}


def find_code(text: str, chain: bytes) -> TracingCode | TraceProblem:
    """Return the place that a code names on this chain (32 bytes), or why there is none."""
    code = parse_tracing_code(text)
    if code is None:
        return TraceProblem.MISTYPED
    return code if code.chain == chain[:5] else TraceProblem.OTHER_CHAIN


@dataclass(frozen=True, slots=True)
class _Found:
    """A block and the inclusion proof of one of its entries in the tree after ``last``."""

    info: BlockInfo
    last: BlockInfo
    path: list[bytes]


async def trace_in_ledger(
    text: str, chain: bytes, view: LedgerView, blocks: BlockSource
) -> dict[str, Any] | TraceProblem:
    """Return what anybody may know of a packet, as JSON, with its proof of inclusion; no plain values.

    Raises:
        IntegrityError: the blocks topic does not hold what was verified.
        TransientError: Kafka or the view are away.
    """
    code = find_code(text, chain)
    if isinstance(code, TraceProblem):
        return code
    found = await in_thread(lambda: _look_up(code, view))
    if found is None:
        return TraceProblem.NOT_COMMITTED
    block = await blocks.block(found.info.kafka_offset, found.info.hash)
    document = _packet_document(block, code, found.info.block_offset)
    if isinstance(document, TraceProblem):
        return document
    last = found.last
    proof = {
        "leaf_index": found.info.first_index + code.entry,
        "tree_size": last.tree_size,
        "path": [b64encode(item).decode() for item in found.path],
        "certificate": last.certificate.decode(),
    }
    return document | {"certified_first": found.info.certified_first, "proof": proof}


def _look_up(code: TracingCode, view: LedgerView) -> _Found | None:
    with view.snapshot() as snapshot:
        info, last = snapshot.block(code.height), snapshot.last_block()
        if info is None or last is None or code.entry >= info.entries:
            return None
        return _Found(info, last, snapshot.path(info.first_index + code.entry))


def _packet_document(block: Block, code: TracingCode, block_offset: int) -> dict[str, Any] | TraceProblem:
    entry = block.entries[code.entry]
    packet = parse_entry(entry)
    if entry.kind is not Kind.PACKET or not isinstance(packet, Packet):
        return TraceProblem.NOT_A_PACKET
    offset, length = list(block.places())[code.entry]
    return {
        "tracing_code": str(code),
        "chain": packet.chain.hex(),
        "chain_id": block.header.chain_id,
        "height": code.height,
        "entry": code.entry,
        "country": packet.site.country,
        "city": packet.site.city,
        "site_id": site_id_text(packet.site.site_id),
        "module_id": packet.module_id,
        "sequence": packet.sequence,
        "packet_id": packet.packet_id.hex(),
        "collected_from": packet.collected_from,
        "collected_to": packet.collected_to,
        "records": packet.record_count,
        "admitted": entry.time_ms,
        "log_offset": entry.offset,
        "data_recorder": {"offset": offset, "length": length},
        "block_recorder": {"offset": block_offset, "length": len(block.encoded)},
        "block_hash": block.hash.hex(),
        "check_code": leaf_hash(entry.leaf).hex(),
    }


async def trace_in_store(
    text: str, chain: bytes, find: Callable[[str], StoredPacket | None], blocks: BlockSource
) -> dict[str, Any] | TraceProblem:
    """Return all that the platform knows of a packet, plain values included, compared with the ledger's own bytes.

    ``matches`` tells for each stored field whether the block in the topic says the same: ``packet_bytes`` at the
    offsets of data recorder, ``check_code``, ``block_recorder``; ``bytes_match`` says that all do.

    Raises:
        TransientError: Kafka or the store are away.
    """
    code = find_code(text, chain)
    if isinstance(code, TraceProblem):
        return code
    stored = await in_thread(lambda: find(str(code)))
    if stored is None:
        return TraceProblem.NOT_COMMITTED
    matches = await _compare(stored, code, blocks)
    return (
        _summary(stored.document)
        | stored.document
        | {"matches": matches, "bytes_match": all(matches.values())}
    )


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return what most people ask for: the code, the site, and the packet's first value."""
    first = next(iter(document["values"]), {"time": None, "indicator": None, "exact": None})
    return {
        "code": document["tracing_code"],
        "site": f"{document['country']}/{document['city']}/{document['site_id']}",
        "time": first["time"],
        "indicator": first["indicator"],
        "value": first["exact"],
    }


async def _compare(stored: StoredPacket, code: TracingCode, blocks: BlockSource) -> dict[str, bool]:
    try:
        block = await blocks.block(stored.kafka_offset, stored.block_hash)
    except IntegrityError:
        return {"block": False, "packet_bytes": False, "check_code": False, "block_recorder": False}
    offset, length = (stored.document["data_recorder"][name] for name in ("offset", "length"))
    is_entry = code.entry < len(block.entries)
    return {
        "block": True,
        "packet_bytes": block.encoded[offset : offset + length] == stored.packet,
        "check_code": is_entry
        and leaf_hash(block.entries[code.entry].leaf).hex() == stored.document["check_code"],
        "block_recorder": stored.document["block_recorder"]["length"] == len(block.encoded),
    }
