"""An exported chain that proofs are made from: two sites, several blocks, a packet under a backfill grant."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.tile_files import TileFiles
from pipeline.core.policy_file import policy_text
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tracing import TracingCode
from pipeline.services.follower import follow_to_end
from pipeline.services.tile_prover import TileProver, open_prover
from pipeline.services.tile_reader import Read
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import exporter
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value

OLD_MS = NOW_MS - 60 * 86_400_000


@dataclass
class ExportedChain:
    """The chain, its sites, and the folder with its tiles; height 5 holds the packet that needed a grant."""

    world: World
    chain: Chain
    first: TestSite
    second: TestSite
    folder: Path

    @property
    def policy(self) -> TlogPolicy:
        """The auditors' policy of the chain."""
        policy = parse_policy(policy_text(self.world.genesis).encode())
        assert isinstance(policy, TlogPolicy)
        return policy

    def code(self, height: int, entry: int) -> TracingCode:
        """The tracing code of a place in the chain."""
        return TracingCode(self.world.genesis.chain[:5], height, entry)

    def prover(self, read: Read | None = None) -> TileProver:
        """A prover of the exported log, read as given."""
        prover = open_prover(self.world.genesis, self.policy, read or TileFiles(self.folder).read)
        assert isinstance(prover, TileProver)
        return prover


def export_chain(folder: Path, world: World | None = None) -> ExportedChain:
    """Derive, certify and export a chain of some 800 leaves."""
    chain = Chain(world)
    first, second = chain.world.site(1), chain.world.site(2)
    chain.enrol(first)
    chain.packets(*(first.packet([1]) for _ in range(300)))
    chain.block(*map(control_value, chain.world.enrolment(second)), packet_value(first.packet([2])))
    chain.packets(*(second.packet([1, 2, 3]) for _ in range(450)), first.packet([5, 6, 7, 8, 9]))
    grant = chain.world.backfill(first, OLD_MS - 1, OLD_MS + 1)
    chain.block(control_value(grant), packet_value(first.packet([3], time_ms=OLD_MS)))
    return exported(chain, first, second, folder)


def exported(chain: Chain, first: TestSite, second: TestSite, folder: Path) -> ExportedChain:
    """Export a chain of two sites into a folder."""
    topic = MemoryTopic()
    topic.publish(chain.certified)
    worker = exporter(folder, chain.world, topic)

    async def export() -> None:
        await follow_to_end(worker.follower)
        await worker.close()

    asyncio.run(export())
    return ExportedChain(chain.world, chain, first, second, folder)
