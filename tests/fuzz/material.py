"""Genuine bytes of every kind from one small chain: what fuzzing starts from, and all that may be believed."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.adapters.block_container import BlockContainer
from pipeline.adapters.tile_files import TileFiles
from pipeline.core.block import Kind, header_leaf
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.disclosure import Disclosed, disclose
from pipeline.core.packet import Opened, Packet, open_packet
from pipeline.core.policy_file import policy_text
from pipeline.core.sealing import Suite
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tracing import TracingCode
from pipeline.services.accounting.votes import Candidate, vote_message
from pipeline.services.follower import Follower, follow_to_end
from pipeline.services.tile_prover import MadeProof, TileProver, open_prover
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.histories import History
from tests.support.tiles import exported_files, exporter
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value

TIME_S = NOW_MS // 1000
LAST_HEIGHT = 3
CACHE = Path(__file__).parents[2] / ".cache" / "fuzz"


@dataclass(frozen=True)
class Material:
    """A chain of three sites, one a cipher suite, with all that outsiders get of it.

    ``notes`` are the exported checkpoint, a certificate, and a checkpoint that the log alone signed; ``votes`` what two
    nodes send about two blocks; ``site_heads`` those of two sites. All signed once: ML-DSA signatures never repeat.
    """

    history: History
    certified: list[bytes]
    policy_file: bytes
    policy: TlogPolicy
    files: dict[str, bytes]
    container: bytes
    proofs: dict[TracingCode, bytes]
    notes: list[bytes]
    votes: list[bytes]
    site_heads: list[bytes]

    @property
    def world(self) -> World:
        """The chain's authorities."""
        return self.history.world

    @property
    def checkpoints(self) -> dict[int, Checkpoint]:
        """The checkpoints that were certified, by tree size."""
        return {derived.checkpoint.size: derived.checkpoint for derived in self.history.chain.blocks}

    @property
    def leaves(self) -> list[bytes]:
        """The bytes of all leaves of the tree."""
        blocks = [derived.block for derived in self.history.chain.blocks]
        return [
            leaf for b in blocks for leaf in (*(entry.leaf for entry in b.entries), header_leaf(b.header))
        ]

    def payloads(self, kind: Kind) -> list[bytes]:
        """Return the packets or the control records in the chain."""
        entries = [entry for derived in self.history.chain.blocks for entry in derived.block.entries]
        return [entry.payload for entry in entries if entry.kind is kind]


@cache
def material() -> Material:
    """Return the chain; made once a process."""
    history = History(World(mldsa44=True))
    chain, world = history.chain, history.world
    sites = [world.site(number, suite) for number, suite in enumerate(Suite, 1)]
    chain.enrol(*sites)
    first, *others, last = _packets(sites)
    chain.packets(first, *others)
    chain.block(control_value(world.backfill(sites[0], 0, 10)), packet_value(last))
    certified, topic = chain.certified, MemoryTopic()
    topic.publish(certified)
    policy_file = policy_text(world.genesis).encode()
    policy = parse_policy(policy_file)
    assert isinstance(policy, TlogPolicy)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worker = exporter(folder, world, topic)
        container = BlockContainer(folder / ".state" / "blocks.avro", world.genesis)
        asyncio.run(_follow(worker.follower))
        asyncio.run(_follow(Follower(world.genesis, MemoryReader(topic), container)))
        container.finish()
        contained = (folder / ".state" / "blocks.avro").read_bytes()
        files = exported_files(folder)
        prover = open_prover(world.genesis, policy, TileFiles(folder).read)
        assert isinstance(prover, TileProver)
        proofs = {
            TracingCode(world.genesis.chain[:5], height, entry): b""
            for height, entry in ((2, 0), (2, 1), (2, 2), (3, 1))
        }
        for code in proofs:
            site = sites[code.entry] if code.height == 2 else sites[1]
            made = prover.prove(code, _discloser(site) if code.entry else None)
            assert isinstance(made, MadeProof)
            proofs[code] = made.data
    notes = [files["checkpoint"], history.checkpoint(LAST_HEIGHT), history.log_checkpoint(2)]
    heads = [history.receipt(2, 3, LAST_HEIGHT), history.receipt(3, 1, LAST_HEIGHT)]
    return Material(
        history, certified, policy_file, policy, files, contained, proofs, notes, _votes(history), heads
    )


def _packets(sites: list[TestSite]) -> list[bytes]:
    """Return the packets, sealed once and kept: sealing is random, and what was found shall be found again."""
    kept = CACHE / f"packets-{sites[0].chain.hex()[:16]}.json"
    if not kept.exists():
        packets = [*(site.packet([1, 2, 3]) for site in sites), sites[0].packet([4]), sites[1].packet([5])]
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps([raw.hex() for raw in packets]))
        draft.replace(kept)
    return [bytes.fromhex(item) for item in json.loads(kept.read_text())]


def _votes(history: History) -> list[bytes]:
    found, world = [], history.world
    for derived in history.chain.blocks[:2]:
        about = Candidate(derived.block.header.height, derived.block.hash, derived.checkpoint)
        for node in list(world.node_signers)[:2]:
            found.append(vote_message(world.genesis.chain, about, node, world.signers(node), TIME_S))
    return found


def _discloser(site: TestSite) -> Callable[[Packet], tuple[Disclosed, ...]]:
    """Return what discloses the first record of a site's packet."""

    def first(packet: Packet) -> tuple[Disclosed, ...]:
        opened = open_packet(packet, site.platform_key)
        assert isinstance(opened, Opened)
        return tuple(disclose(packet, opened, [0]))

    return first


async def _follow(follower: Follower) -> None:
    await follow_to_end(follower)
    await follower.close()
