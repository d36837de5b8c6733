"""The ledger as the oracle reads it: raw values of the blocks topic in, packets with their places out.

Checks every hash that needs no key: links, tree, roots, packet chains. Signatures are the audit's affair; that a
certificate states this very tree is checked here.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ops.oracle.avro_files import Schemas, unframe
from ops.oracle.hashes import (
    CONTROL_ENTRY,
    HEADER_LEAF,
    PACKET_ENTRY,
    Tree,
    block_hash,
    leaf_hash,
    packet_id,
    tracing_code,
)
from ops.oracle.plan import Place, address_text

_NO_PACKET: Final = bytes(32)
_NOTE_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class LedgerPacket:
    """A packet in the ledger: what the store should say of it, and what its digest needs."""

    row: dict[str, Any]
    place: Place
    tracing_code: str
    record_count: int
    digest: bytes
    chain: bytes
    site_id: bytes
    site_key: bytes
    sequence: int
    is_repeat: bool


@dataclass(slots=True)
class Ledger:
    """What the blocks hold: packets in order, one row per block, counts, and what is wrong with them."""

    packets: list[LedgerPacket] = field(default_factory=list)
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    repeats: int = 0
    set_aside: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Record:
    """One record of the topic: its position, decoded block, encodings and certificate."""

    number: int
    block: dict[str, Any]
    header: bytes
    encoded: bytes
    certificate: bytes

    @property
    def leaves(self) -> list[bytes]:
        """Hashes that the block adds to the tree: its entries, then its header."""
        header = self.block["header"]
        own = leaf_hash(HEADER_LEAF, header["source"]["next"], header["period_end"], self.header)
        return [*_entry_hashes(self.block), own]


def read_ledger(values: Iterable[bytes], schemas: Schemas, genesis: bytes | None = None) -> Ledger:
    """Read all values of the blocks topic, in order; ``genesis`` is the SHA-256 of the genesis file."""
    return _Reader(schemas, genesis).read(values)


class _Reader:
    def __init__(self, schemas: Schemas, genesis: bytes | None) -> None:
        self._schemas = schemas
        self._previous = genesis
        self._chain = genesis
        self._tree = Tree()
        self._bytes = 0
        self._last: dict[Place, tuple[int, bytes]] = {}
        self._seen: set[bytes] = set()
        self.ledger = Ledger()

    def read(self, values: Iterable[bytes]) -> Ledger:
        by_height: dict[int, list[_Record]] = defaultdict(list)
        for number, value in enumerate(values):
            try:
                record = self._record(number, value)
            except ValueError as error:
                self._problem(f"record {number} of the blocks topic: {error}")
            else:
                by_height[record.block["header"]["height"]].append(record)
        for height in range(1, max(by_height, default=0) + 1):
            if height not in by_height:
                self._problem(f"height {height} is missing from the blocks topic")
        for height in sorted(by_height):
            self._take(height, by_height[height])
        return self.ledger

    def _problem(self, text: str) -> None:
        self.ledger.problems.append(text)

    def _record(self, number: int, value: bytes) -> _Record:
        data = unframe(value)
        certified = self._schemas.decode("CertifiedBlock", data)
        block = certified["block"]
        encoded = self._schemas.encode("Block", block)
        if not data.startswith(encoded):
            raise ValueError("the encoded block is not a prefix of its record")
        header = block["header"]
        numbers = [header["height"], header["period_end"], header["source"]["next"]]
        numbers += [entry[name] for entry in block["entries"] for name in ("offset", "time")]
        if min(numbers) < 0 or header["height"] < 1:
            raise ValueError("a number in the block is negative")
        if any(entry["kind"] not in (PACKET_ENTRY, CONTROL_ENTRY) for entry in block["entries"]):
            raise ValueError("an entry is of unknown kind")
        encoded_header = self._schemas.encode("Header", header)
        return _Record(number, block, encoded_header, encoded, certified["certificate"])

    def _take(self, height: int, records: list[_Record]) -> None:
        """Take the first certified record at a height; others must repeat it or be without certificate."""
        fitting = [record for record in records if not self._certificate_problem(record)]
        chosen = (fitting or records)[0]
        for record in records:
            if record.encoded == chosen.encoded:
                self.ledger.repeats += record is not chosen
            elif record in fitting or not fitting:
                self._problem(f"block {height}: records {chosen.number} and {record.number} differ")
            else:
                self.ledger.set_aside += 1
        problem = self._certificate_problem(chosen)
        if problem:
            self._problem(f"block {height}: {problem}")
        self._extend(height, chosen)

    def _certificate_problem(self, record: _Record) -> str:
        grown = self._tree.copy()
        for leaf in record.leaves:
            grown.add(leaf)
        text, separator, signatures = record.certificate.partition(b"\n\n")
        lines = text.split(b"\n")
        if not separator or len(lines) != _NOTE_LINES or not signatures.startswith("\u2014 ".encode()):
            return "certificate is no signed checkpoint"
        try:
            stated = int(lines[1]), b64decode(lines[2], validate=True)
        except ValueError:
            return "certificate has no tree size or root"
        if stated != (grown.size, grown.root()):
            return "certificate is of another tree"
        return ""

    def _extend(self, height: int, record: _Record) -> None:
        header, entries = record.block["header"], record.block["entries"]
        chain = self._chain or header["chain"]
        claims = {
            "chain": (header["chain"], chain),
            "previous_hash": (header["previous_hash"], self._previous or chain),
            "first_index": (header["first_index"], self._tree.size),
            "entry_count": (header["entry_count"], len(entries)),
            "entries_root": (header["entries_root"], Tree(_entry_hashes(record.block)).root()),
        }
        for name, (stated, computed) in claims.items():
            if stated != computed:
                self._problem(f"block {height}: {name} is not that of the chain before it and its entries")
        self._chain, self._previous = chain, block_hash(record.header)
        self._packets(height, record)
        for leaf in record.leaves:
            self._tree.add(leaf)
        self.ledger.blocks[height] = {
            "height": height,
            "hash": self._previous,
            "first_index": header["first_index"],
            "tree_size": self._tree.size,
            "root": self._tree.root(),
            "entries": len(entries),
            "block_offset": self._bytes,
            "block_length": len(record.encoded),
        }
        self._bytes += len(record.encoded)

    def _packets(self, height: int, record: _Record) -> None:
        position = len(record.header)
        for index, entry in enumerate(record.block["entries"]):
            payload = entry["payload"]
            position = record.encoded.index(payload, position)
            if entry["kind"] == PACKET_ENTRY:
                place_in_block = {"entry": index, "data_offset": position, "data_length": len(payload)}
                try:
                    self._packet(record, entry, {"height": height} | place_in_block)
                except ValueError as error:
                    self._problem(f"block {height} entry {index}: {error}")
            position += len(payload)

    def _packet(self, record: _Record, entry: dict[str, Any], where: dict[str, Any]) -> None:
        header, payload = record.block["header"], entry["payload"]
        packet = self._schemas.decode("Packet", payload)
        place = Place(packet["country"], packet["city"], address_text(packet["site_id"]))
        identifier = packet_id(payload)
        code = tracing_code(header["chain"], where["height"], where["entry"])
        is_repeat = identifier in self._seen
        self._check_continuation(code, place, packet, identifier)
        copied = ("module_id", "sequence", "collected_from", "collected_to", "record_count")
        row = where | {
            "tracing_code": code,
            "block_offset": self._bytes,
            "block_length": len(record.encoded),
            "city_data": payload,
            "chain_id": header["chain_id"],
            "check_code": leaf_hash(PACKET_ENTRY, entry["offset"], entry["time"], payload),
            "packet_id": identifier,
            "log_offset": entry["offset"],
            "admitted": entry["time"],
            **place._asdict(),
            **{name: packet[name] for name in copied},
        }
        facts = (packet["digest"], packet["chain"], packet["site_id"], packet["site_key"], packet["sequence"])
        self.ledger.packets.append(
            LedgerPacket(row, place, code, packet["record_count"], *facts, is_repeat=is_repeat)
        )

    def _check_continuation(self, code: str, place: Place, packet: dict[str, Any], identifier: bytes) -> None:
        sequence, previous = self._last.get(place, (0, _NO_PACKET))
        if packet["chain"] != self._chain:
            self._problem(f"packet {code} of {place} is for another chain")
        if identifier in self._seen:
            self._problem(f"packet {code} of {place} is in the ledger twice")
        elif packet["previous_packet"] != previous:
            self._problem(f"packet {code} of {place} does not follow the site's packet before it")
        elif packet["sequence"] <= sequence:
            self._problem(f"packet {code} of {place}: sequence {packet['sequence']} after {sequence}")
        if identifier not in self._seen:
            self._seen.add(identifier)
            self._last[place] = (packet["sequence"], identifier)


def _entry_hashes(block: dict[str, Any]) -> list[bytes]:
    return [leaf_hash(e["kind"], e["offset"], e["time"], e["payload"]) for e in block["entries"]]
