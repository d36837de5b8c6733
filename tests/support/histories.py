"""Two histories of one chain: the same genesis and the same keys, another past from some entry on."""

import copy
import json
from dataclasses import replace

from pipeline.core.checkpoint import sign_as_log
from pipeline.core.evidence import Evidence
from pipeline.core.merkle import Frontier
from pipeline.core.note import format_note
from pipeline.core.packet import Packet
from pipeline.core.proven import Proven
from pipeline.core.replica import parse_entry
from pipeline.core.site_head import SiteHeadDocument
from pipeline.core.tlog_proof import TlogProof
from tests.support.chain import Chain
from tests.support.tree import MemoryTree
from tests.support.world import World, control_value, packet_value


class History:
    """A chain with the anchors that somebody could have kept of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chain = Chain(world)

    @property
    def leaves(self) -> list[bytes]:
        """All leaf hashes."""
        return [leaf for derived in self.chain.blocks for leaf in derived.block.leaf_hashes]

    def index(self, height: int, entry: int) -> int:
        """Return the tree index of an entry."""
        return self.chain.blocks[height - 1].block.header.first_index + entry

    def checkpoint(self, height: int, nodes: list[str] | None = None) -> bytes:
        """Return the certificate of the tree after a block."""
        return self.world.certificate(self.chain.blocks[height - 1].checkpoint, nodes)

    def log_checkpoint(self, height: int) -> bytes:
        """Return a checkpoint that the log alone signed."""
        checkpoint = self.chain.blocks[height - 1].checkpoint
        return format_note(checkpoint.body(), [sign_as_log(checkpoint, self.world.log_signer)])

    def proven(self, height: int, entry: int, at: int) -> Proven:
        """Return an entry proven in the tree after block ``at``."""
        found = self.chain.blocks[height - 1].block.entries[entry]
        index = self.index(height, entry)
        path = tuple(self._tree(at).inclusion(index))
        return Proven(found.kind, found.payload, index, found.offset, found.time_ms, path)

    def proof(self, height: int, entry: int, at: int, *, evidence: bool = True) -> bytes:
        """Return the portable proof of a packet in the tree after block ``at``."""
        proven = self.proven(height, entry, at)
        block = self.chain.blocks[height - 1].block
        header_path = tuple(self._tree(at).inclusion(block.header.tree_size - 1))
        document = Evidence(
            self.world.genesis.raw,
            proven,
            block.header_bytes,
            header_path,
            self.proven(1, 0, at),
            self.proven(1, 1, at),
        )
        extra = document.encode() if evidence else None
        return TlogProof(proven.leaf_index, proven.path, self.checkpoint(at), extra).encode()

    def site_head(self, height: int, entry: int, at: int, *, packet: bool = True) -> SiteHeadDocument:
        """Return the head of a site whose last packet is the given one."""
        proven = self.proven(height, entry, at)
        block = self.chain.blocks[height - 1].block
        parsed = parse_entry(block.entries[entry])
        assert isinstance(parsed, Packet)
        return SiteHeadDocument(
            chain=self.world.genesis.chain,
            site=parsed.site,
            active=True,
            sequence=parsed.sequence,
            packet_id=parsed.packet_id,
            height=height,
            entry=entry,
            head=proven if packet else replace(proven, payload=None),
            header=block.header_bytes,
            header_path=tuple(self._tree(at).inclusion(block.header.tree_size - 1)),
            key_offers=(),
            tree_size=self.chain.blocks[at - 1].block.header.tree_size,
            certificate=self.checkpoint(at),
        )

    def receipt(self, height: int, entry: int, at: int, *, packet: bool = True) -> bytes:
        """Return a site head as a file."""
        return json.dumps(self.site_head(height, entry, at, packet=packet).as_json()).encode()

    def _tree(self, at: int) -> MemoryTree:
        return MemoryTree(self.leaves[: self.chain.blocks[at - 1].block.header.tree_size])


def rewritten(blocks: int = 12, height: int = 7, entry: int = 1) -> tuple[History, History]:
    """Return a history and the one that somebody with all keys put in its place, from an entry on.

    Block 1 enrols two sites (4 entries), every other block holds a packet of each.
    """
    world = World()
    true, false = History(world), History(world)
    sites = [world.site(1), world.site(2)]
    enrolments = [control_value(raw) for site in sites for raw in world.enrolment(site)]
    true.chain.block(*enrolments)
    false.chain.block(*enrolments)
    other = sites
    for at in range(2, blocks + 1):
        true_packets, false_packets = [], []
        for number in range(2):
            if (at, number) == (height, entry):
                other = copy.deepcopy(sites)
            raw = sites[number].packet([at])
            is_same = (at, number) < (height, entry)
            true_packets.append(packet_value(raw))
            false_packets.append(packet_value(raw if is_same else other[number].packet([1000 + at])))
        true.chain.block(*true_packets)
        false.chain.block(*false_packets)
    differing = [a == b for a, b in zip(true.leaves, false.leaves, strict=True)]
    assert differing.index(False) == true.index(height, entry)
    assert Frontier.EMPTY.extend(true.leaves).root() != Frontier.EMPTY.extend(false.leaves).root()
    return true, false
