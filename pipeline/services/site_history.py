"""A site's own history in an exported log: every packet under its name, one after the other, each proven.

Goes through the whole log backwards, so that what somebody else sent in the site's name shows, too. Nothing read is
believed: each packet counts by the proof that anybody could check (``tile_prover``), no packet can be left out because
all entries have to hash to the certified root, and that tree has to extend the one that the site's last receipt proved.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.block import Kind, parse_header, parse_leaf
from pipeline.core.delivery import StoredPacket, StoredReceipt, VerifiedHead
from pipeline.core.merkle import consistency_path, is_consistent, leaf_hash, root_of
from pipeline.core.names import SiteName
from pipeline.core.packet import FIRST_PREVIOUS, Packet, parse_packet
from pipeline.core.proof_problem import ProofProblem
from pipeline.core.tiles import TILE_WIDTH
from pipeline.core.tracing import TracingCode
from pipeline.services.tile_prover import LogProblem, MadeProof, TileProver
from pipeline.services.tile_reader import TileReader, UnreadableError
from pipeline.services.trace import TraceProblem

_CHAIN_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class FoundPacket:
    """A packet under the site's name, proven to be in the log."""

    code: TracingCode
    packet: Packet


@dataclass(frozen=True, slots=True)
class History:
    """What the log holds of a site: packets and records, first and last tracing code; ``problem`` says what is wrong.

    ``is_behind`` says that the log ends before the site's last receipt.
    """

    packets: int = 0
    records: int = 0
    first: TracingCode | None = None
    last: TracingCode | None = None
    is_behind: bool = False
    problem: str | None = None


class SiteHistory:
    """Reads one site's history from one checkpoint of a log; ``see`` hears of each packet, the newest first."""

    def __init__(
        self, prover: TileProver, site: SiteName, see: Callable[[FoundPacket], None] = lambda _found: None
    ) -> None:
        self._prover, self._tiles, self._site, self._see = prover, prover.tiles, site, see
        self._roots: list[bytes] = []

    def verify(self, head: VerifiedHead | None) -> History:
        """Return the whole history, up to the first thing that is wrong; ``head`` is the site's last receipt.

        Raises:
            TransientError: the log can't be read right now.
        """
        try:
            return self._verify(head)
        except UnreadableError as error:
            return History(problem=f"{error.file}: {error.detail}")

    def _verify(self, head: VerifiedHead | None) -> History:
        is_behind = head is not None and self._tiles.size < head.tree_size
        if head is not None and not is_behind and not self._extends(head):
            return History(problem="the log does not extend the tree of the last receipt: it was rewritten")
        self._roots.clear()
        packets = records = 0
        first: TracingCode | None = None
        last: TracingCode | None = None
        newer: Packet | None = None
        for code, packet in self._backwards():
            problem = self._problem(code, packet, newer)
            if problem is None and newer is None and head is not None and not is_behind:
                problem = _missing(packet, head)
            if problem is not None:
                return History(packets, records, first, last, is_behind, f"{code}: {problem}")
            self._see(FoundPacket(code, packet))
            packets, records = packets + 1, records + packet.record_count
            first, last, newer = code, last or code, packet
        problem = None
        if root_of(self._roots[::-1]) != self._prover.root:
            problem = "the entries of the log do not hash to its certified root"
        elif newer is not None and newer.previous != FIRST_PREVIOUS:
            problem = f"{first}: the packet before it is not in the log"
        elif newer is None and head is not None and head.sequence and not is_behind:
            problem = "the log holds no packet of this site, though its receipt proves some"
        return History(packets, records, first, last, is_behind, problem)

    def _extends(self, head: VerifiedHead) -> bool:
        size = self._tiles.size
        path = consistency_path(head.tree_size, size, self._tiles.node)
        return is_consistent(head.tree_size, size, head.root, self._prover.root, path)

    def _problem(self, code: TracingCode, packet: Packet, newer: Packet | None) -> str | None:
        if newer is not None and newer.previous != packet.packet_id:
            return "the next packet of this site does not name this one as the one before"
        if newer is not None and newer.sequence <= packet.sequence:
            return "its sequence is not below that of the next packet"
        made = self._prover.prove(code)
        match made:
            case MadeProof():
                return None if made.proof.packet == packet else "the proof is of another packet"
            case TraceProblem():
                return made.advice
            case LogProblem() | ProofProblem():
                return str(made)

    def _backwards(self) -> Iterator[tuple[TracingCode, Packet]]:
        """Yield the packets under the site's name with their codes, the last first."""
        marker = self._site.city.encode() + self._site.site_id
        place = _Blocks(self._tiles)
        for number in range((self._tiles.size - 1) // TILE_WIDTH, -1, -1):
            bundle = self._tiles.bundle(number)
            self._roots.append(root_of([leaf_hash(bundle[item]) for item in range(len(bundle))]))
            for item in reversed(range(len(bundle))):
                index, data = number * TILE_WIDTH + item, bundle[item]
                if data[0] == Kind.HEADER:
                    place.enter(index, data)
                elif data[0] == Kind.PACKET and marker in data:
                    leaf = parse_leaf(data)
                    packet = None if leaf is None else parse_packet(leaf[3])
                    if isinstance(packet, Packet) and packet.site == self._site:
                        yield place.code(packet.chain, index), packet


class _Blocks:
    """Where a walk from the end is: in the block whose header it met last."""

    def __init__(self, tiles: TileReader) -> None:
        self._height = self._first = 0
        self._end = tiles.size

    def enter(self, index: int, data: bytes) -> None:
        """Go into the block whose header is leaf ``index``."""
        leaf = parse_leaf(data)
        header = None if leaf is None else parse_header(leaf[3])
        if header is None or header.tree_size != index + 1:
            raise UnreadableError(f"leaf {index}", "it is no block header of this tree")
        self._height, self._first, self._end = header.height, header.first_index, index

    def code(self, chain: bytes, index: int) -> TracingCode:
        """Return the tracing code of a leaf of this block."""
        if not self._height or not self._first <= index < self._end:
            raise UnreadableError(f"leaf {index}", "it is in no block")
        return TracingCode(chain[:_CHAIN_BYTES], self._height, index - self._first)


def _missing(newest: Packet, head: VerifiedHead) -> str | None:
    """Return what is wrong if the newest packet of the log is older than the receipt's, or another of its number."""
    if newest.sequence < head.sequence:
        return f"the log ends with this packet, though the receipt proves packet {head.sequence}"
    if newest.sequence == head.sequence and newest.packet_id != head.packet_id:
        return "the receipt proves another packet of this sequence"
    return None


def waiting_problem(
    site: SiteName, receipt: StoredReceipt | None, waiting: Sequence[StoredPacket]
) -> str | None:
    """Return what is wrong with the packets of a spool that are not confirmed, or None. Needs no key and no network.

    They have to be this site's, in order, and those that are to be sent have to go on from the receipt.
    """
    previous = FIRST_PREVIOUS if receipt is None or not receipt.head.sequence else receipt.head.packet_id
    for stored in waiting:
        packet, number = parse_packet(stored.raw), stored.made.sequence
        if not isinstance(packet, Packet) or packet.site != site or packet.packet_id != stored.made.packet_id:
            return f"packet {number} in the spool is none of this site's"
        if stored.made.live:
            if packet.previous != previous or packet.sequence != number:
                return f"packet {number} in the spool does not go on from the one before it"
            previous = packet.packet_id
    return None
